package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

const (
	reconcilePollInterval = 300 * time.Millisecond
	// maxFailedPolls is how many polls in a row may fail. A daemon that
	// restarts continues the run.
	maxFailedPolls = 20
)

func newReconcileCommand(out *console, env environmentVars) *cobra.Command {
	var dryRun bool
	var accounts []string
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Compare the schedule with Stripe and fix differences",
		Args: cobra.NoArgs,
		Long: `Compare the schedule with Stripe, both ways, and list the differences.

A hold that is missing from the schedule and has its terms in Stripe's metadata is scheduled again.
A hold that was captured or canceled in the Dashboard is settled. A PaymentIntent that holds money
and has no terms is listed as "orphan" and not changed: "holdd adopt" schedules one. In the first ten
minutes it is skipped and listed as "recent", because it may still be scheduled. The daemon does the
same every 15 minutes.

If a run is in progress, the command shows its progress and findings.`,
		Example: `  holdd reconcile --dry-run
  holdd reconcile --json | jq '.findings[] | select(.kind=="orphan")'`,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list differences and change nothing")
	cmd.Flags().StringArrayVar(&accounts, "account", nil,
		"a connected account to compare besides those with open holds; may be repeated")
	cmd.RunE = c.clientRunE(func(ctx context.Context, client *api.Client, _ []string) error {
		run, started, err := client.Reconcile(ctx, dryRun, accounts)
		if err != nil {
			return err
		}
		if !started {
			out.printNote("joined a run in progress, started by %s", sanitize(run.By))
		}
		if run, err = waitForReconciliation(ctx, out, client, run); err != nil {
			return err
		}
		err = c.printJSONOrText(run, func(times timeFormatter) {
			printReconciliation(out, &run, times)
		})
		if run.State != "finished" {
			return &exitError{code: exitUnknown,
				err:  fmt.Errorf("the run did not finish: %s", sanitize(run.Error)),
				hint: "holdd continues it; holdd reconcile shows it again"}
		}
		return err
	})
	return cmd
}

// waitForReconciliation polls a run until it ends.
func waitForReconciliation(
	ctx context.Context, out *console, client *api.Client, run api.Reconciliation,
) (api.Reconciliation, error) {
	bar := out.newProgressBar("comparing with Stripe", 100)
	finished := false
	defer func() { bar.stop(finished) }()
	shown, failed := 0, 0
	for {
		if run.Percent > shown {
			bar.add(int64(run.Percent - shown))
			shown = run.Percent
		}
		if run.State != "running" {
			finished = run.State == "finished"
			return run, nil
		}
		if !sleep(ctx, reconcilePollInterval) {
			return run, ctx.Err()
		}
		next, err := client.Reconciliation(ctx, run.ID)
		if err == nil {
			failed, run = 0, next
			continue
		}
		_, unreachable := errors.AsType[*api.UnreachableError](err)
		retryable := unreachable || errors.Is(err, &api.Problem{Code: api.Unavailable})
		if !retryable || failed >= maxFailedPolls {
			return run, err
		}
		failed++
	}
}

// findingOrder lists first the findings that need the operator.
var findingOrder = map[string]int{"unreadable": 1, "rejected": 2, "orphan": 3,
	"contradiction": 4, "attention": 5, "released": 6}

var findingColors = map[string]string{"unreadable": boldRed, "rejected": red, "orphan": yellow,
	"contradiction": boldRed, "attention": boldRed, "scheduled": cyan, "captured": green, "canceled": faint,
	"expired": red, "released": yellow}

func printReconciliation(out *console, r *api.Reconciliation, times timeFormatter) {
	out.printLiveModeNotice(r.Livemode)
	slices.SortStableFunc(r.Findings, func(x, y api.Finding) int {
		return cmp.Compare(cmp.Or(findingOrder[x.Kind], 9), cmp.Or(findingOrder[y.Kind], 9))
	})
	for block := range slices.Chunk(r.Findings, rowsPerTable) {
		t := out.newTable("finding", "booking", "intent", "account", "amount", "expires", "what")
		for _, f := range block {
			amount := ""
			if f.Currency != "" {
				amount = hold.FormatAmount(f.Amount, f.Currency)
			}
			t.AppendRow(
				[]any{out.colorizeStdout(findingColors[f.Kind], f.Kind), sanitize(f.Reference),
					f.PaymentIntent, f.Account, amount, formatDeadline(f.ExpiresAt, times),
					sanitize(f.Detail)},
			)
		}
		t.Render()
	}
	if r.FindingsOmitted > 0 {
		out.printNote("%d more are counted and not listed", r.FindingsOmitted)
	}
	out.printNote("%s", summarizeReconciliation(r))
}

func summarizeReconciliation(r *api.Reconciliation) string {
	compared := "compared"
	if r.DryRun {
		compared = "dry run, nothing was changed: compared"
	}
	parts := []string{fmt.Sprintf("%s %d PaymentIntents, %d of them scheduled", compared, r.Listed,
		r.Compared)}
	if r.Retrieved > 0 {
		parts = append(parts, fmt.Sprintf("%d retrieved one by one", r.Retrieved))
	}
	skipped := r.CountsByKind["recent"]
	if len(r.CountsByKind) == 0 || len(r.CountsByKind) == 1 && skipped > 0 {
		parts = append(parts, "no differences")
	}
	for _, k := range slices.Sorted(maps.Keys(r.CountsByKind)) {
		if k != "recent" {
			parts = append(parts, fmt.Sprintf("%d %s", r.CountsByKind[k], k))
		}
	}
	if skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped (created in the last ten minutes, "+
			"not scheduled yet)", skipped))
	}
	return strings.Join(parts, ", ")
}
