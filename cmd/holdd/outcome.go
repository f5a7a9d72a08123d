package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 20*time.Second, "how long to wait for the outcome; 0: go as soon as holdd has accepted")
}

// outcome waits until an accepted capture or cancel has ended, and tells how. An outcome that isn't there in time is no success: exit code 6.
func (c *change) outcome(ctx context.Context, client *api.Client, v hold.View, want string, wait time.Duration) error {
	if wait <= 0 {
		return c.tell(&v)
	}
	v, err := poll(ctx, client, v, wait)
	if told := c.tell(&v); told != nil {
		return told
	}
	look := "holdd show " + v.ID
	switch {
	case v.State == want:
		return nil
	case ctx.Err() != nil:
		return &exit{code: exitUnknown, err: fmt.Errorf("interrupted: holdd has accepted this and goes on with it, and %s is not %s yet", booking(&v), want), hint: look}
	case err != nil:
		return &exit{code: exitUnknown, err: fmt.Errorf("holdd has accepted this, and can't be asked for the outcome: %w", err), hint: look}
	case v.SettledAt != nil:
		return &exit{code: exitConflict, err: fmt.Errorf("%s is %s, not %s%s", booking(&v), v.State, want, because(&v)), hint: look}
	case v.State == "attention":
		return &exit{code: exitFailed, err: fmt.Errorf("%s is not %s: a person must look%s", booking(&v), want, because(&v)), hint: look}
	}
	return &exit{code: exitUnknown, err: fmt.Errorf("holdd has accepted this and goes on with it, and after %s %s is not %s yet", wait, booking(&v), want), hint: look}
}

func because(v *hold.View) string {
	if v.Cause == "" {
		return ""
	}
	return " (" + v.Cause + ")"
}

// poll looks at the hold, ever less often, until it has ended or needs a person, or the time is over. It returns the last that was seen.
func poll(ctx context.Context, client *api.Client, v hold.View, wait time.Duration) (hold.View, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last error
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		seen, err := client.Get(ctx, v.ID)
		switch {
		case err == nil:
			v, last = seen, nil
			v.History, v.HistoryOmitted = nil, 0 // as in the answer to the change itself
			if v.SettledAt != nil || v.State == "attention" {
				return v, nil
			}
		case ctx.Err() != nil:
			return v, last
		default:
			last = err
			// Only an absent answer can get better by itself.
			if p, ok := errors.AsType[*api.Problem](err); ok && p.Code != api.Unavailable {
				return v, err
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return v, last
		case <-timer.C:
		}
	}
}
