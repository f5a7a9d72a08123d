package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// rows that are laid out together; a longer list is several tables, so that
// memory stays bounded
const rowsPerTable = 500

func (a *app) listCommand() *cobra.Command {
	var state, within string
	var q api.ListQuery
	var limit int
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "Holds, as a table or with --json one a line", Args: cobra.NoArgs,
		Long:    `List holds. With --json it is NDJSON: one hold a line, as they come, so that a list of any length can be piped.`,
		Example: "  holdd list --state attention\n  holdd list --expiring-within 24h\n  holdd list --all --json | jq -r 'select(.state==\"scheduled\").id'",
	}
	c := a.addConnectionFlags(cmd)
	f := cmd.Flags()
	var names []cobra.Completion
	for _, s := range hold.States() {
		names = append(names, s.String())
	}
	f.StringVar(&state, "state", "", "only holds in this state: "+strings.Join(names, ", "))
	f.StringVar(&q.Reference, "reference", "", "only references that begin so")
	f.StringVar(&q.Account, "account", "", "only those of this connected account")
	f.StringVar(&within, "expiring-within", "",
		"only open holds whose authorization ends within: 24h, 3d")
	f.IntVar(&limit, "limit", 50, "at most this many")
	f.BoolVar(&all, "all", false, "all of them")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(names,
		cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if state != "" {
			var ok bool
			if q.State, ok = hold.ParseState(state); !ok {
				return usageErrorf("", "the state %.40q is unknown: give one of %s", state,
					strings.Join(names, ", "))
			}
		}
		if within != "" {
			var err error
			if q.ExpiringWithin, err = api.ParseDuration(within); err != nil {
				return usageErrorf("", "--expiring-within %w", err)
			}
		}
		if limit < 1 {
			return usageErrorf("--all lists all", "--limit %d is no number of holds", limit)
		}
		q.Limit = api.MaxPageSize
		if !all {
			q.Limit = min(limit+1, api.MaxPageSize) // one more tells that there is more
		} else {
			limit = 0
		}
		return c.printHolds(cmd.Context(), q, limit)
	}
	return cmd
}

// printHolds shows up to limit holds; 0 means all.
func (c *connectionFlags) printHolds(ctx context.Context, q api.ListQuery, limit int) error {
	client, err := c.newClient()
	if err != nil {
		return err
	}
	defer client.Close()
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return err
	}
	var block []hold.View
	flush := func() {
		if len(block) > 0 {
			c.printHoldTable(block, times)
			block = block[:0]
		}
	}
	n := 0
	for v, err := range client.ListAll(ctx, q) {
		if err != nil {
			flush()
			return addExitCode(err, "")
		}
		if limit > 0 && n == limit {
			flush()
			c.app.printNote("there are more: --limit for more of them, --all for all")
			return nil
		}
		n++
		if c.asJSON {
			if err := c.app.printJSONLine(v); err != nil {
				return err
			}
			continue
		}
		if block = append(block, v); len(block) == rowsPerTable {
			flush()
		}
	}
	flush()
	if n == 0 {
		c.app.printNote("no holds match")
	}
	return nil
}

func (c *connectionFlags) printHoldTable(views []hold.View, times timeFormatter) {
	a := c.app
	printLiveModeNotice(a.stdout, a.terminal.colorStdout,
		slices.ContainsFunc(views, func(v hold.View) bool { return v.Livemode }))
	t := a.newTable("booking", "hold", "account", "amount", "state", "next", "expires")
	for i := range views {
		v := &views[i]
		expires := ""
		if v.SettledAt == nil {
			expires = times.formatWithRelative(v.ExpiresAt)
		}
		t.AppendRow([]any{sanitize(v.Reference), v.ID, v.Account, formatHoldAmount(v),
			a.colorizeStdout(stateColors[v.State], v.State), sanitize(describeNext(v, times)),
			expires})
	}
	t.Render()
}

func (a *app) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show HOLD", Short: "One hold, with all that happened to it", Args: requireOneHold,
		Example: "  holdd show BK-2071\n  holdd show pi_3PxYzA2eZvKYlo2C1gQmT0aB --json",
	}
	c := a.addConnectionFlags(cmd)
	cmd.ValidArgsFunction = c.completeHolds
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		v, err := c.getHold(cmd.Context(), client, args[0])
		if err != nil {
			return err
		}
		if c.asJSON {
			return a.printJSONLine(v)
		}
		times, err := c.newTimeFormatter(time.Now())
		if err != nil {
			return err
		}
		a.printHoldDetails(&v, times)
		return nil
	}
	return cmd
}

func (a *app) printHoldDetails(v *hold.View, times timeFormatter) {
	printLiveModeNotice(a.stdout, a.terminal.colorStdout, v.Livemode)
	f := holdSummary(v, times)
	if v.CapturedAmount > 0 {
		f = append(f, labeledValue{"captured", hold.FormatAmount(v.CapturedAmount, v.Currency)})
	}
	if v.CapturedElsewhere > 0 {
		f = append(f, labeledValue{"captured elsewhere",
			hold.FormatAmount(v.CapturedElsewhere, v.Currency)})
	}
	for i := range f {
		if f[i].label == "state" {
			f[i].value = a.colorizeStdout(stateColors[v.State], v.State)
			if v.Cause != "" && v.Cause != "schedule" {
				f[i].value += " (" + v.Cause + ")"
			}
		}
	}
	if v.SettledAt == nil {
		f = append(f, labeledValue{"on expiry", v.OnExpiry},
			labeledValue{"next", sanitize(describeNext(v, times))})
		if !v.Verified {
			f = append(f, labeledValue{"checked", "not yet: Stripe has not confirmed amount and deadline"})
		}
		if v.Acknowledged {
			f = append(f, labeledValue{"warnings", "acknowledged"})
		}
	} else {
		f = append(f, labeledValue{"ended", times.formatWithRelative(*v.SettledAt)})
	}
	f = append(f, labeledValue{"revision", fmt.Sprint(v.Revision)})
	keys := make([]string, 0, len(v.Metadata))
	for k := range v.Metadata {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f = append(f, labeledValue{"metadata", sanitize(k) + " = " + sanitize(v.Metadata[k])})
	}
	printLabeledValues(a.stdout, f)
	if len(v.History) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	t := a.newTable("when", "what", "by", "how", "request")
	for i, e := range v.History {
		t.AppendRow([]any{times.formatMillisecond(e.At), strings.TrimSpace(e.Kind + " " + e.Op),
			sanitize(e.By), describeHistoryEntry(&e), sanitize(e.RequestID)})
		if i == 0 && v.HistoryOmitted > 0 {
			t.AppendRow([]any{fmt.Sprintf("… %d more", v.HistoryOmitted)})
		}
	}
	t.Render()
}

// describeHistoryEntry is an entry's answer, cause and note in one cell.
func describeHistoryEntry(e *hold.HistoryEntryView) string {
	var parts []string
	for _, s := range []string{e.Answer, e.Cause, e.Note} {
		if s != "" {
			parts = append(parts, sanitize(s))
		}
	}
	return strings.Join(parts, ", ")
}
