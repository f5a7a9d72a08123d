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

func addWaitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 20*time.Second,
		"how long to wait for the outcome; 0: go as soon as holdd has accepted")
}

// waitForOutcome waits until an accepted capture or cancel has ended, and tells
// how. An outcome that isn't there in time is no success: exit code 6.
func (c *changeFlags) waitForOutcome(
	ctx context.Context, client *api.Client, v hold.View, want string, wait time.Duration,
) error {
	if wait <= 0 {
		return c.printHold(&v)
	}
	v, err := pollHold(ctx, client, v, wait)
	if printErr := c.printHold(&v); printErr != nil {
		return printErr
	}
	showCommand := "holdd show " + v.ID
	switch {
	case v.State == want:
		return nil
	case ctx.Err() != nil:
		return &exitError{code: exitUnknown,
			err: fmt.Errorf(
				"interrupted: holdd has accepted this and goes on with it, and %s is not %s yet",
				holdName(&v), want), hint: showCommand}
	case err != nil:
		return &exitError{code: exitUnknown,
			err: fmt.Errorf("holdd has accepted this, and can't be asked for the outcome: %w",
				err),
			hint: showCommand}
	case v.SettledAt != nil:
		return &exitError{code: exitConflict, err: fmt.Errorf("%s is %s, not %s%s", holdName(&v),
			v.State, want, causeSuffix(&v)), hint: showCommand}
	case v.State == "attention":
		return &exitError{code: exitFailed, err: fmt.Errorf("%s is not %s: a person must look%s",
			holdName(&v), want, causeSuffix(&v)), hint: showCommand}
	}
	return &exitError{code: exitUnknown,
		err: fmt.Errorf(
			"holdd has accepted this and goes on with it, and after %s %s is not %s yet", wait,
			holdName(&v), want), hint: showCommand}
}

func causeSuffix(v *hold.View) string {
	if v.Cause == "" {
		return ""
	}
	return " (" + v.Cause + ")"
}

// pollHold looks at the hold, ever less often, until it has ended or needs a
// person, or the time is over. It returns the last that was seen.
func pollHold(
	ctx context.Context, client *api.Client, v hold.View, wait time.Duration,
) (hold.View, error) {
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
