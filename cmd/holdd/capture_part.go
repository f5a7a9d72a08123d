package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// capturePartAndKeepRest captures a part of a hold, keeps the rest held, and
// waits for the outcome. An empty key is drawn. If the request may have been
// accepted and its outcome is not known, the hint has the key: the command that
// repeats the request with it takes the amount once.
func capturePartAndKeepRest(
	ctx context.Context, c *changeFlags, client *api.Client, name, key string,
	req hold.CaptureRequest,
) error {
	if req.Amount == 0 {
		return usageErrorf("", "give --amount with --not-final: how much to capture now")
	}
	final := false
	req.Final, req.RequestKey = &final, cmp.Or(key, rand.Text())
	err := c.runChange(ctx, client, name, holdChange{
		question: func(v *hold.View) ([]labeledValue, string) { return captureAndKeepRestQuestion(v, req.Amount) },
		request: func(id string, _ bool) (hold.View, error) {
			return client.Capture(ctx, id, req, c.revision)
		},
		decide: decideCapture(req),
		finish: func(accepted hold.View) error {
			return c.waitAndPrintPartCapture(ctx, client, accepted, req)
		},
	})
	if e, ok := errors.AsType[*exitError](err); ok && mayHaveTakenEffect(e) {
		e.hint = "repeat the command with --idempotency-key " + req.RequestKey +
			": the amount is captured once"
	}
	return err
}

// mayHaveTakenEffect reports whether a request that failed with e may have been
// accepted all the same: its outcome is unknown, the command was interrupted, or
// holdd could not say whether Redis wrote it.
func mayHaveTakenEffect(e *exitError) bool {
	if e.code == exitUnknown || e.code == exitInterrupted {
		return true
	}
	_, notSent := errors.AsType[*api.UnreachableError](e.err)
	return e.code == exitUnreachable && !notSent
}

// isPartPending reports whether a part that was accepted has no outcome yet. A
// repeated request is accepted after the outcome as well.
func isPartPending(accepted *hold.View) bool {
	return accepted.Next == hold.OpCapture.String() &&
		accepted.Cause == hold.CauseTrigger.String() && accepted.SettledAt == nil
}

// waitAndPrintPartCapture waits until an accepted part is captured, and prints the
// hold.
func (c *changeFlags) waitAndPrintPartCapture(
	ctx context.Context, client *api.Client, accepted hold.View, req hold.CaptureRequest,
) error {
	if !isPartPending(&accepted) {
		return c.printHold(&accepted)
	}
	want := accepted.CapturedAmount + req.Amount
	isDone := func(v *hold.View) bool { return v.CapturedAmount >= want }
	v, err := pollHoldUntil(ctx, client, accepted, c.wait, isDone)
	if printErr := c.printHold(&v); printErr != nil {
		return printErr
	}
	switch {
	case isDone(&v):
		return nil
	case v.State == "attention" || v.SettledAt != nil:
		err = fmt.Errorf("%s was not captured: %s is %s (%s)",
			hold.FormatAmount(req.Amount, v.Currency), holdDisplayName(&v), v.State, v.Cause)
		return &exitError{code: exitFailed, err: err, hint: "holdd show " + v.ID}
	case err == nil:
		err = fmt.Errorf("no answer of Stripe after %s", c.wait)
	}
	return &exitError{code: exitUnknown, hint: "holdd show " + v.ID, err: fmt.Errorf(
		"holdd has accepted the request, and its outcome is unknown: %w", err)}
}

// captureAndKeepRestQuestion asks whether to capture a part of a hold now.
func captureAndKeepRestQuestion(v *hold.View, amount int64) ([]labeledValue, string) {
	var details []labeledValue
	if v.Amount > amount {
		details = []labeledValue{{"stays held", hold.FormatAmount(v.Amount-amount, v.Currency)}}
	}
	return details, fmt.Sprintf("Capture %s of %s now?", hold.FormatAmount(amount, v.Currency),
		holdDisplayName(v))
}
