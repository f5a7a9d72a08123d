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
	reconcilePollInterval = 300 * time.Millisecond // between two looks at a run
	// looks in a row that may go wrong: a daemon that restarts goes on with the
	// run
	maxFailedPolls = 20
)

func (a *app) reconcileCommand() *cobra.Command {
	var dry bool
	var accounts []string
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Compare Stripe with the schedule, and put right what differs",
		Args: cobra.NoArgs,
		Long: `Compare Stripe with the schedule, both ways, and list what differed.

Holds whose terms stand in Stripe and that the schedule has lost are scheduled anew. Those that somebody settled in the Dashboard are settled.
PaymentIntents that hold money and have no terms are listed ("orphan") and left alone. The daemon does the same by itself every quarter of an hour.

If a comparison is under way already, its progress and findings are shown.`,
		Example: "  holdd reconcile --dry-run\n  holdd reconcile --json | jq '.findings[] | select(.kind==\"orphan\")'",
	}
	c := a.addConnectionFlags(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would be done")
	cmd.Flags().StringArrayVar(&accounts, "account", nil,
		"a connected account to look at besides those that have open holds; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		run, started, err := client.Reconcile(cmd.Context(), dry, accounts)
		if err != nil {
			return addExitCode(err, "")
		}
		if !started {
			a.printNote("a comparison is under way already, begun by %s: this is it",
				sanitize(run.By))
		}
		if run, err = a.waitForReconciliation(cmd.Context(), client, run); err != nil {
			return addExitCode(err, "")
		}
		if c.asJSON {
			err = a.printJSONLine(run)
		} else {
			a.printReconciliation(&run)
		}
		if run.State != "finished" {
			return &exitError{code: exitUnknown,
				err:  fmt.Errorf("the comparison did not get to its end: %s", sanitize(run.Error)),
				hint: "it goes on by itself; holdd reconcile shows it again"}
		}
		return err
	}
	return cmd
}

// waitForReconciliation follows a run to its end.
func (a *app) waitForReconciliation(
	ctx context.Context, client *api.Client, run api.Reconciliation,
) (api.Reconciliation, error) {
	b := a.newProgressBar("comparing with Stripe", 100)
	ended := false
	defer func() { b.stop(ended) }()
	shown, failing := 0, 0
	for {
		if run.Percent > shown {
			b.add(int64(run.Percent - shown))
			shown = run.Percent
		}
		if run.State != "running" {
			ended = run.State == "finished"
			return run, nil
		}
		t := time.NewTimer(reconcilePollInterval)
		select {
		case <-ctx.Done():
			t.Stop()
			return run, ctx.Err()
		case <-t.C:
		}
		next, err := client.Reconciliation(ctx, run.ID)
		var unreachable *api.UnreachableError
		if err != nil && (!errors.As(err, &unreachable) &&
			!errors.Is(err, &api.Problem{Code: api.Unavailable}) || failing >= maxFailedPolls) {
			return run, err
		}
		if err != nil {
			failing++
			continue
		}
		failing, run = 0, next
	}
}

func (a *app) printReconciliation(r *api.Reconciliation) {
	printLiveModeNotice(a.stdout, a.terminal.colorStdout, r.Livemode)
	if len(r.Findings) > 0 {
		// What needs a person first.
		rank := map[string]int{"unreadable": 1, "rejected": 2, "orphan": 3, "attention": 4}
		slices.SortStableFunc(r.Findings, func(x, y api.Finding) int {
			return cmp.Compare(cmp.Or(rank[x.Kind], 9), cmp.Or(rank[y.Kind], 9))
		})
		colors := map[string]string{"unreadable": boldRed, "rejected": red, "orphan": yellow,
			"attention": boldRed, "scheduled": cyan, "captured": green,
			"canceled": faint, "expired": red}
		for block := range slices.Chunk(r.Findings, rowsPerTable) {
			t := a.newTable("finding", "booking", "intent", "account", "amount", "what")
			for _, f := range block {
				money := ""
				if f.Currency != "" {
					money = hold.FormatAmount(f.Amount, f.Currency)
				}
				t.AppendRow([]any{a.colorizeStdout(colors[f.Kind], f.Kind), sanitize(f.Reference),
					f.PaymentIntent, f.Account, money, sanitize(f.Detail)})
			}
			t.Render()
		}
		if r.FindingsOmitted > 0 {
			a.printNote("%d more are counted and not listed", r.FindingsOmitted)
		}
	}
	did := "compared"
	if r.DryRun {
		did = "dry run, nothing was changed: compared"
	}
	parts := []string{fmt.Sprintf("%s %d intents of Stripe's, %d of them scheduled",
		did, r.Listed, r.Compared)}
	if r.Retrieved > 0 {
		parts = append(parts, fmt.Sprintf("%d holds read one by one", r.Retrieved))
	}
	if len(r.CountsByKind) == 0 {
		parts = append(parts, "no differences")
	}
	for _, k := range slices.Sorted(maps.Keys(r.CountsByKind)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.CountsByKind[k], k))
	}
	a.printNote("%s", strings.Join(parts, ", "))
}
