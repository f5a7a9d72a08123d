package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newAdoptCommand(out *terminal, env environList) *cobra.Command {
	var t termFlags
	var dryRun bool
	var account string
	cmd := &cobra.Command{
		Use: "adopt PAYMENT_INTENT", Short: "Schedule a hold that another system placed",
		Long: `Schedule a PaymentIntent that holds money and that no system has scheduled, or whose terms
in Stripe's metadata are invalid, with terms of your own. "holdd list --not-scheduled" lists them as
of the last comparison with Stripe, and "holdd reconcile" compares again. PAYMENT_INTENT is its id
(pi_…) or its reference.

The account and the reference are those that the last comparison with Stripe found, unless --account
and --reference give others. Money moves at once as with "holdd schedule", after a question.`,
		Example: `  holdd list --not-scheduled
  holdd adopt pi_3PxYzA2eZvKYlo2C1gQmT0aC --capture-at +36h --reference BK-2071`,
	}
	c := addConnectionFlags(cmd, out, env)
	p := &confirmationPrompt{out: out}
	p.addYesFlag(cmd)
	addDryRunFlag(cmd, &dryRun)
	t.addFlags(cmd)
	cmd.Flags().StringVar(&account, "account", "", "connected account (acct_…) of the PaymentIntent")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New("give one PaymentIntent: its id (pi_…) or its reference")
		}
		return nil
	}
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		f, err := findIntentWithoutHold(ctx, client, args[0])
		if err != nil {
			return err
		}
		if err := t.resolveTimes(time.Now()); err != nil {
			return err
		}
		req := hold.ScheduleRequest{PaymentIntent: f.PaymentIntent, TimeZone: c.timeZoneName()}
		currency := cmp.Or(f.Currency, firstCurrencyOfAmountFlags(t.amountFlags()...))
		if err := t.setTerms(&req, currency); err != nil {
			return err
		}
		req.Account = cmp.Or(account, f.Account)
		req.Reference = cmp.Or(req.Reference, f.Reference)
		if dryRun {
			return c.printScheduleDryRun(ctx, client, &req, &f, givenTermFlagLines(cmd, currency))
		}
		return scheduleOne(ctx, c, p, client, &req, &f)
	})
	return cmd
}

// listIntentsWithoutHold returns what holds money and is not scheduled, as of the
// newest comparison, nearest deadline first.
func listIntentsWithoutHold(
	ctx context.Context, client *api.Client,
) (api.Reconciliation, error) {
	run, err := client.ListReconciliationFindingsOfKind(ctx, "orphan")
	if err != nil {
		return run, err
	}
	for _, kind := range []string{"rejected", "recent"} {
		more, err := client.ListReconciliationFindingsOfKind(ctx, kind)
		if err != nil {
			return run, err
		}
		run.Findings = append(run.Findings, more.Findings...)
		run.FindingsOmitted += more.FindingsOmitted
	}
	slices.SortStableFunc(run.Findings, func(x, y api.Finding) int {
		if x.ExpiresAt == nil || y.ExpiresAt == nil {
			return 0
		}
		return x.ExpiresAt.Compare(*y.ExpiresAt)
	})
	return run, nil
}

// findIntentWithoutHold finds an intent without a hold by its id or reference. An id
// that the last comparison did not find is left for Stripe to know. If a hold has the
// id or the reference, it returns the intent that was scheduled.
func findIntentWithoutHold(
	ctx context.Context, client *api.Client, name string,
) (api.Finding, error) {
	run, err := listIntentsWithoutHold(ctx, client)
	if noRun := errors.Is(err, &api.Problem{Code: api.ReconcileRunNotFound}); err != nil && !noRun {
		return api.Finding{}, err
	}
	var found []api.Finding
	for _, f := range run.Findings {
		if f.PaymentIntent == name || f.Reference == name && name != "" {
			found = append(found, f)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return api.Finding{}, usageErrorf("give the id of one (pi_…)",
			"%d PaymentIntents have the reference %s", len(found), sanitize(name))
	}
	v, err := findHold(ctx, client, name)
	if err == nil { // it is scheduled: the command may repeat the request
		return api.Finding{PaymentIntent: v.ID, Account: v.Account, Reference: v.Reference,
			Currency: v.Currency}, nil
	}
	if errors.Is(err, &api.Problem{Code: hold.HoldNotFound}) && strings.HasPrefix(name, "pi_") {
		return api.Finding{PaymentIntent: name}, nil
	}
	if e := (*exitError)(nil); !errors.As(err, &e) || e.code != exitNotFound {
		return api.Finding{}, err
	}
	hint := "holdd reconcile compares with Stripe, for the first time"
	if !run.UpdatedAt.IsZero() {
		hint = "holdd list --not-scheduled lists what the last comparison found (" +
			formatRelative(time.Until(run.UpdatedAt)) + "); holdd reconcile compares again"
	}
	return api.Finding{}, &exitError{code: exitNotFound, hint: hint,
		err: fmt.Errorf("no unscheduled PaymentIntent and no hold has the reference %q", name)}
}

// listAndPrintIntentsWithoutHold prints what holds money and is not scheduled.
func listAndPrintIntentsWithoutHold(
	ctx context.Context,
	c *connectionFlags,
	client *api.Client,
) error {
	run, err := listIntentsWithoutHold(ctx, client)
	if err != nil {
		return err
	}
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return err
	}
	rows := &listPrinter[api.Finding]{out: c.out, format: c.outputFormat(),
		columns: intentWithoutHoldColumns(times)}
	if rows.format.isText() {
		c.out.printLiveModeNotice(run.Livemode)
	}
	if err := rows.print(run.Findings); err != nil {
		return err
	}
	if !rows.format.isText() {
		return nil
	}
	if run.FindingsOmitted > 0 {
		c.out.printSummary("%s counted and not listed",
			hold.FormatCount(run.FindingsOmitted, "more is", "more are"))
	}
	c.out.printSummary("%d not scheduled, as of %s; holdd adopt schedules one, and holdd reconcile "+
		"compares again", len(run.Findings), times.formatWithRelative(run.UpdatedAt))
	return nil
}

func intentWithoutHoldColumns(times timeFormatter) []column[api.Finding] {
	booking := everywhere("booking", func(f *api.Finding) string { return f.Reference })
	booking.narrow = 20
	columns := []column[api.Finding]{booking,
		everywhere("intent", func(f *api.Finding) string { return f.PaymentIntent }),
		wideOnly("account", func(f *api.Finding) string { return f.Account })}
	columns = append(columns, amountColumns(amountOfFinding)...)
	return append(columns,
		timeColumn("expires", times, func(f *api.Finding) *time.Time { return f.ExpiresAt }),
		wrapped("what", func(f *api.Finding) string { return f.Detail }))
}
