package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newRescheduleCommand(out *terminal, env environList) *cobra.Command {
	var t termFlags
	cmd := &cobra.Command{
		Use: "reschedule HOLD", Short: "Change a hold's time, amount or policy",
		Long: `Change a hold's terms. Terms that are not given stay. Setting one time clears the
other. An empty time ("") clears it, and the hold then waits for a trigger.

Money moves at once if the new time is now or past, or if on_expiry acts at once after the change.
The command then shows booking and amount and asks for confirmation.`,
		Example: `  holdd reschedule BK-2071 --capture-at '2026-12-02 11:00' \
    --time-zone Europe/Paris
  holdd reschedule BK-2071 --capture-at +6h --capture-amount 99.00`,
	}
	c := addChangeFlags(cmd, out, env)
	c.addYesFlag(cmd)
	t.addFlags(cmd)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		now := time.Now()
		if err := t.resolveTimes(now); err != nil {
			return err
		}
		currency, err := resolveCurrencyForAmountFlags(ctx, client, args[0], t.amountFlags()...)
		if err != nil {
			return err
		}
		p, err := newPatchFromFlags(cmd.Flags().Changed, &t, c.timeZoneName(), currency)
		if err != nil {
			return err
		}
		change := holdChange{action: "change", terms: givenTermFlagLines(cmd, ""),
			request: func(id string, confirmed bool) (hold.View, error) {
				p.Confirm = confirmed
				return client.Patch(ctx, id, p, c.revision)
			},
			decide: func(h hold.Hold, now time.Time) (hold.Decision, error) {
				return h.ApplyPatch(&p, "", now)
			}}
		change.question = newQuestionIfDueNow(&t, &p, c.timeZoneName(), now)
		return c.runChange(ctx, client, args[0], change)
	})
	return cmd
}

// newQuestionIfDueNow returns what to ask about new terms whose time is
// now, nil if it is not.
func newQuestionIfDueNow(
	t *termFlags, p *hold.Patch, zone string, now time.Time,
) func(*hold.View) ([]labeledValue, string) {
	switch stages := p.Captures; {
	case isTimeDueNow(t.cancelAt, zone, now):
		return cancelQuestion
	case len(stages) > 0 && isTimeDueNow(stages[0].At, zone, now):
		return func(v *hold.View) ([]labeledValue, string) {
			return captureAndKeepRestQuestion(v, stages[0].Amount)
		}
	case isTimeDueNow(t.captureAt, zone, now):
		return func(v *hold.View) ([]labeledValue, string) {
			return captureQuestion(v, captureAmountOfPatchOrZero(p))
		}
	}
	return nil
}

// captureAmountOfPatchOrZero returns the amount to capture that a change sets, 0 if
// none.
func captureAmountOfPatchOrZero(p *hold.Patch) int64 {
	if p.CaptureAmount == nil {
		return 0
	}
	return *p.CaptureAmount
}

// newPatchFromFlags returns the change of the flags that were given.
func newPatchFromFlags(
	given func(flag string) bool, t *termFlags, timeZone, currency string,
) (p hold.Patch, err error) {
	if given("capture-at") {
		p.CaptureAt, p.TimeZone = &t.captureAt, timeZone
	}
	if given("cancel-at") {
		p.CancelAt, p.TimeZone = &t.cancelAt, timeZone
	}
	if given("capture-amount") {
		amount, err := t.captureAmount.minorUnits("capture-amount", currency)
		if err != nil {
			return p, err
		}
		p.CaptureAmount = &amount
	}
	if given("on-expiry") {
		p.OnExpiry = &t.onExpiry
	}
	if given("reference") {
		p.Reference = &t.reference
	}
	if p.Metadata, err = t.metadataMap(); err != nil {
		return p, err
	}
	if p.CaptureParamsPatch, err = t.captureParams.newCaptureParamsPatch(given, currency); err != nil {
		return p, err
	}
	if p.Renewal, err = t.renewal.newRenewalPatch(given, currency); err != nil {
		return p, err
	}
	if p.Captures, err = t.stages.newStageRequests(currency); err != nil {
		return p, err
	}
	if p.Renewal != nil || p.Captures != nil {
		p.TimeZone = timeZone
	}
	if p.Renewal == nil && p.Captures == nil && p.CaptureAt == nil && p.CancelAt == nil &&
		p.CaptureAmount == nil && p.OnExpiry == nil && p.Reference == nil && p.Metadata == nil && p.CaptureParamsPatch.IsEmpty() {
		return p, usageErrorf("give --capture-at, --cancel-at, --capture-amount, --capture, "+
			"--on-expiry, --renew-until, --reference, --metadata or a parameter of the capture", "nothing to change")
	}
	return p, nil
}
