package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// renewalFlags is the flags for a hold's renewal terms.
type renewalFlags struct {
	hold.RenewalRequest
	maxAmount amountFlag
}

// renewalFlagNames are the flags, as messages name them.
var renewalFlagNames = []string{"renew-until", "renew-max-amount", "renew-max", "renew-on-failure",
	"renew-release-first"}

func (r *renewalFlags) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.Until, "renew-until", "",
		"keep the amount held until then, by new authorizations of the saved card")
	f.Var(&r.maxAmount, "renew-max-amount",
		"the most that the cardholder agreed to: "+amountHelp+" (default: the amount of the hold)")
	f.Int64Var(&r.MaxRenewals, "renew-max", 0, "renew at most this often (default 12)")
	f.StringVar(&r.OnFailure, "renew-on-failure", "",
		"what to do near the deadline with a hold that could not be renewed: alert, cancel or capture")
	f.BoolVar(&r.ReleaseFirst, "renew-release-first", false,
		"if the card lacks funds for both, release the old authorization first; the amount is not "+
			"held in between")
	_ = cmd.RegisterFlagCompletionFunc("renew-on-failure",
		cobra.FixedCompletions([]cobra.Completion{"alert", "cancel", "capture"},
			cobra.ShellCompDirectiveNoFileComp))
}

func (r *renewalFlags) makeUntilAbsolute(now time.Time) (err error) {
	r.Until, err = resolveTimeFlag(r.Until, now)
	return err
}

// newRenewalRequest returns the renewal terms of a new hold, nil without any.
func (r *renewalFlags) newRenewalRequest(currency string) (_ *hold.RenewalRequest, err error) {
	if r.Until == "" {
		if r.maxAmount.text != "" || r.MaxRenewals != 0 || r.OnFailure != "" || r.ReleaseFirst {
			return nil, usageErrorf("", "give --renew-until with the other --renew flags")
		}
		return nil, nil
	}
	r.MaxAmount, err = r.maxAmount.minorUnits("renew-max-amount", currency)
	return &r.RenewalRequest, err
}

// newRenewalPatch returns the change of the renewal terms, nil without any.
func (r *renewalFlags) newRenewalPatch(
	given func(flag string) bool, currency string,
) (_ *hold.RenewalRequest, err error) {
	if given("renew-until") {
		r.MaxAmount, err = r.maxAmount.minorUnits("renew-max-amount", currency)
		return &r.RenewalRequest, err
	}
	for _, name := range renewalFlagNames {
		if given(name) {
			return nil, usageErrorf("", "give --renew-until with --%s", name)
		}
	}
	return nil, nil
}

// renewalLines describes a hold's renewal.
func renewalLines(v *hold.View, c timeFormatter) (f []labeledValue) {
	r := v.Renewal
	if r == nil {
		return nil
	}
	add := func(label, s string) { f = append(f, labeledValue{label, s}) }
	if r.Until != nil {
		s := "until " + c.formatTermOf(v, *r.Until)
		if r.Completed > 0 {
			s += fmt.Sprintf(", %d of %s made", r.Completed,
				hold.FormatCount(r.MaxRenewals, "renewal", "renewals"))
		}
		add("renewed", s)
	}
	open := v.SettledAt == nil
	switch {
	case open && r.StartsAt != nil:
		add("next renewal", c.formatWithRelative(*r.StartsAt))
	case open && r.ActBefore != nil:
		add("cardholder", "must act before "+c.formatWithRelative(*r.ActBefore)+": "+
			sanitize(r.DeclineCode))
	case r.Problem != "":
		add("not renewed", r.Problem+" "+sanitize(r.DeclineCode))
	}
	if r.Unprotected {
		add("unprotected", "the old authorization is released and the new one is not confirmed yet")
	}
	if r.PaymentIntent != "" {
		add("new intent", r.PaymentIntent+", step "+r.Step)
	}
	if r.Releasing != "" {
		add("releasing", r.Releasing+", which may hold the amount a second time")
	}
	return f
}
