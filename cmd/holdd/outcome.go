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

func (c *changeFlags) addWaitFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&c.wait, "wait", 20*time.Second,
		"how long to wait for the outcome; 0: return as soon as holdd has accepted the request")
}

// waitAndPrintOutcome waits until an accepted capture or cancel has the state
// want, and prints the hold. An outcome that does not arrive in time is exit
// code 6.
func (c *changeFlags) waitAndPrintOutcome(
	ctx context.Context, client *api.Client, v hold.View, want string,
) error {
	v, err := pollHoldUntil(ctx, client, v, c.wait, func(*hold.View) bool { return false })
	if printErr := c.printHold(&v); printErr != nil {
		return printErr
	}
	fail := func(code int, err error) error {
		return &exitError{code: code, err: err, hint: "holdd show " + v.ID}
	}
	cause := ""
	if v.Cause != "" {
		cause = " (" + v.Cause + ")"
	}
	name := holdDisplayName(&v)
	switch {
	case v.State == want:
		return nil
	case want == "canceled" && v.State == "captured" && v.Cause == "trigger":
		return nil // parts were captured before, and the rest is released
	case ctx.Err() != nil:
		return fail(exitUnknown, fmt.Errorf(
			"interrupted: holdd has accepted the request, and %s is not %s yet", name, want))
	case err != nil:
		return fail(exitUnknown, fmt.Errorf(
			"holdd has accepted the request, and its outcome is unknown: %w", err))
	case v.SettledAt != nil:
		return fail(exitConflict, fmt.Errorf("%s is %s, not %s%s", name, v.State, want, cause))
	case v.State == "attention":
		return fail(exitFailed,
			fmt.Errorf("%s is not %s: it needs attention%s", name, want, cause))
	}
	return fail(exitUnknown, fmt.Errorf(
		"holdd has accepted the request, and after %s %s is not %s yet", c.wait, name, want))
}

// pollHoldUntil reads the hold, less and less often, until it is settled
// or needs attention, isDone reports true, or the time is over. It returns the
// hold as last read.
func pollHoldUntil(
	ctx context.Context, client *api.Client, v hold.View, wait time.Duration,
	isDone func(*hold.View) bool,
) (hold.View, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last error
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		seen, err := client.Get(ctx, v.ID)
		switch {
		case err == nil:
			v, last = seen, nil
			v.History, v.HistoryOmitted = nil, 0 // as in the answer to the change
			if v.SettledAt != nil || v.State == "attention" || isDone(&v) {
				return v, nil
			}
		case ctx.Err() != nil:
			return v, last
		default:
			last = err
			// Polling again helps only against an absent answer.
			if p, ok := errors.AsType[*api.Problem](err); ok && p.Code != api.Unavailable {
				return v, err
			}
		}
		if !sleepUnlessCanceled(ctx, pause) {
			return v, last
		}
	}
}

// sleepUnlessCanceled reports whether d passed before ctx ended.
func sleepUnlessCanceled(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
