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

func newReconcileCommand(out *terminal, env environList) *cobra.Command {
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
	c.addOutputFlag(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list differences and change nothing")
	cmd.Flags().StringArrayVar(&accounts, "account", nil,
		"a connected account to compare besides those with open holds; may be repeated")
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, _ []string) error {
		run, started, err := client.StartReconcile(ctx, dryRun, accounts)
		if err != nil {
			return err
		}
		if !started {
			out.printNote("joined a run in progress, started by %s", sanitize(run.By))
		}
		if run, err = waitForReconciliation(ctx, out, client, run); err != nil {
			return err
		}
		err = c.printObject(run, func(times timeFormatter, f outputFormat) error {
			return printReconciliation(out, &run, times, f)
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
	ctx context.Context, out *terminal, client *api.Client, run api.Reconciliation,
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
		if !sleepUnlessCanceled(ctx, reconcilePollInterval) {
			return run, ctx.Err()
		}
		next, err := client.GetReconciliation(ctx, run.ID)
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

func printReconciliation(
	out *terminal, r *api.Reconciliation, times timeFormatter, format outputFormat,
) error {
	if format.isText() {
		out.printLiveModeNotice(r.Livemode)
	}
	slices.SortStableFunc(r.Findings, func(x, y api.Finding) int {
		return cmp.Compare(cmp.Or(findingOrder[x.Kind], 9), cmp.Or(findingOrder[y.Kind], 9))
	})
	rows := &listPrinter[api.Finding]{out: out, format: format, columns: findingColumns(times)}
	if err := rows.print(r.Findings); err != nil {
		return err
	}
	if r.FindingsOmitted > 0 {
		out.printSummary("%s counted and not listed",
			hold.FormatCount(r.FindingsOmitted, "more is", "more are"))
	}
	out.printSummary("%s", summarizeReconciliation(r))
	return nil
}

func findingColumns(times timeFormatter) []column[api.Finding] {
	kind := everywhere("finding", func(f *api.Finding) string { return f.Kind })
	kind.color = func(f *api.Finding) string { return findingColors[f.Kind] }
	expires := timeColumn("expires", times, func(f *api.Finding) *time.Time { return f.ExpiresAt })
	expires.table = nil
	columns := []column[api.Finding]{kind,
		wideOnly("booking", func(f *api.Finding) string { return f.Reference }),
		everywhere("intent", func(f *api.Finding) string { return f.PaymentIntent }),
		wideOnly("account", func(f *api.Finding) string { return f.Account })}
	columns = append(columns, amountColumns(amountOfFinding)...)
	return append(columns, expires,
		column[api.Finding]{title: "what", narrow: 22, wraps: true, table: func(f *api.Finding) string {
			if f.Reference != "" { // the booking has no column of its own in 80 columns
				return f.Reference + ": " + f.Detail
			}
			return f.Detail
		},
			wide: func(f *api.Finding) string { return f.Detail },
			csv:  func(f *api.Finding) string { return f.Detail }})
}

func amountOfFinding(f *api.Finding) (minor int64, currency string) { return f.Amount, f.Currency }

func summarizeReconciliation(r *api.Reconciliation) string {
	compared := "compared"
	if r.DryRun {
		compared = "dry run, nothing was changed: compared"
	}
	parts := []string{fmt.Sprintf("%s %s, %d of them scheduled", compared,
		hold.FormatCount(r.Listed, "PaymentIntent", "PaymentIntents"), r.Compared)}
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
