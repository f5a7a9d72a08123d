package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// listFlags is the flags of holdd list.
type listFlags struct {
	query         api.ListQuery
	state, within string
	limit         int
	all           bool
	notScheduled  bool
	open, watch   bool
	metadata      []string
}

const (
	// openWithin is the longest lookahead of the API. No authorization lasts
	// longer, so every open hold expires within it.
	openWithin = 90 * 24 * time.Hour
	// watchInterval is how often --watch lists again.
	watchInterval = 2 * time.Second
)

func newListCommand(out *terminal, env environList) *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List holds", Args: cobra.NoArgs,
		Long: `List holds. A table fits 80 columns and shows the booking, or the id of a hold without one;
-o wide adds ids, accounts and times, and -o csv also on_expiry, revision and metadata. With -o json
(--json) the output is NDJSON: one hold a line, printed as it arrives.`,
		Example: `  holdd list --state attention
  holdd list --expiring-within 24h
  holdd list --requires-action
  holdd list --metadata property=lyon --metadata room=12
  holdd list --open --watch
  holdd list --all -o csv > holds.csv
  holdd list --all --json | jq -r 'select(.state=="scheduled").id'`,
	}
	c := addConnectionFlags(cmd, out, env)
	l.addFlags(cmd, c)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, _ []string) error {
		if err := l.fillQueryFromFlags(); err != nil {
			return err
		}
		list := func() error { return listAndPrintHolds(ctx, c, client, l.query, l.limit) }
		if l.notScheduled {
			list = func() error { return listAndPrintIntentsWithoutHold(ctx, c, client) }
		}
		if !l.watch {
			return list()
		}
		if !c.outputFormat().isText() {
			return usageErrorf("", "cannot combine --watch with -o %s: want table or wide", c.format)
		}
		return relistUntilInterrupted(ctx, out, list)
	})
	return cmd
}

// addFlags adds the flags, apart from those of the connection.
func (l *listFlags) addFlags(cmd *cobra.Command, c *connectionFlags) {
	f := cmd.Flags()
	f.StringVar(&l.state, "state", "",
		"only holds in this state: "+strings.Join(stateNames(), ", "))
	f.StringVar(&l.query.Reference, "reference", "", "only references with this prefix")
	f.StringVar(&l.query.Account, "account", "", "only holds of this connected account")
	f.StringVar(&l.within, "expiring-within", "",
		"only open holds whose authorization expires within: 24h, 3d")
	f.BoolVar(&l.query.RequiresAction, "requires-action", false,
		"only holds whose renewal requires their cardholder")
	f.StringArrayVar(&l.metadata, "metadata", nil,
		"only holds whose metadata has this pair, as key=value; may be repeated")
	f.IntVar(&l.limit, "limit", 50, "at most this many")
	f.BoolVar(&l.all, "all", false, "all holds")
	f.BoolVar(&l.notScheduled, "not-scheduled", false,
		"PaymentIntents that hold money and are not scheduled, as the last reconcile found them")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	f.BoolVar(&l.open, "open", false, "only holds that are not settled, nearest deadline first")
	f.BoolVarP(&l.watch, "watch", "w", false, "list again every two seconds, until Ctrl-C")
	cmd.MarkFlagsMutuallyExclusive("watch", "json")
	c.addOutputFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("open", "expiring-within")
	for _, name := range []string{"open", "state", "reference", "account", "expiring-within",
		"requires-action", "metadata", "limit", "all"} {
		cmd.MarkFlagsMutuallyExclusive("not-scheduled", name)
	}
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateNames(),
		cobra.ShellCompDirectiveNoFileComp))
}

// relistUntilInterrupted lists again until ctx ends. On a terminal each list replaces the one
// before.
func relistUntilInterrupted(ctx context.Context, out *terminal, list func() error) error {
	for {
		if out.colorStdout {
			fmt.Fprint(out.stdout, "\x1b[H\x1b[2J")
		}
		if err := list(); err != nil {
			return err
		}
		if !sleepUnlessCanceled(ctx, watchInterval) {
			return ctx.Err()
		}
	}
}

func stateNames() (names []string) {
	for _, s := range hold.States() {
		names = append(names, s.String())
	}
	return names
}

// fillQueryFromFlags checks the flags and completes the query. A limit of 0 is none.
func (l *listFlags) fillQueryFromFlags() (err error) {
	if l.state != "" {
		var ok bool
		if l.query.State, ok = hold.ParseState(l.state); !ok {
			return usageErrorf("", "invalid --state %.40q: want one of %s", l.state,
				strings.Join(stateNames(), ", "))
		}
	}
	if l.within != "" {
		if l.query.ExpiringWithin, err = api.ParseLookahead(l.within); err != nil {
			return usageErrorf("", "invalid --expiring-within: %w", err)
		}
	}
	if l.query.State.IsFinal() && (l.open || l.within != "") {
		return usageErrorf("", "cannot combine --state %s with --open or --expiring-within: "+
			"such a hold is settled", l.state)
	}
	for _, pair := range l.metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return usageErrorf("", "invalid --metadata %.60q: want key=value", pair)
		}
		if l.query.Metadata == nil {
			l.query.Metadata = map[string]string{}
		}
		l.query.Metadata[key] = value
	}
	if l.open {
		l.query.ExpiringWithin = openWithin
	}
	if l.limit < 1 {
		return usageErrorf("--all lists all holds", "invalid --limit %d: want at least 1", l.limit)
	}
	l.query.Limit = api.MaxPageSize
	if l.all {
		l.limit = 0
	} else {
		l.query.Limit = min(l.limit+1, api.MaxPageSize) // one more, to see whether there are more
	}
	return nil
}

func listAndPrintHolds(
	ctx context.Context, c *connectionFlags, client *api.Client, q api.ListQuery, limit int,
) error {
	times, err := c.newTimeFormatter(time.Now())
	if err != nil {
		return err
	}
	rows := &listPrinter[hold.View]{out: c.out, format: c.outputFormat(),
		columns: holdColumns(times)}
	var block []hold.View
	flush := func() error {
		if len(block) == 0 {
			return nil
		}
		if rows.format.isText() {
			c.out.printLiveModeNotice(
				slices.ContainsFunc(block, func(v hold.View) bool { return v.Livemode }))
		}
		err := rows.print(block)
		block = block[:0]
		return err
	}
	n := 0
	for v, err := range client.ListAll(ctx, q) {
		if err != nil {
			return errors.Join(flush(), err)
		}
		if limit > 0 && n == limit {
			err := flush()
			c.out.printNote("there are more holds: see --limit and --all")
			return err
		}
		n++
		// JSON is printed as it arrives.
		if block = append(block, v); len(block) == rowsPerTable || rows.format == formatJSON {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		c.out.printNote("no holds match")
		return rows.print(nil)
	}
	return flush()
}

// formatMetadataJSON writes the metadata as a JSON object, "" if there is none.
func formatMetadataJSON(v *hold.View) string {
	if len(v.Metadata) == 0 {
		return ""
	}
	b, _ := json.Marshal(v.Metadata) // strings alone cannot fail
	return string(b)
}

// holdColumns are the columns of a list of holds. A hold without a booking shows
// its id in the first column of a table.
func holdColumns(times timeFormatter) []column[hold.View] {
	state := everywhere("state", func(v *hold.View) string { return v.State })
	state.color = func(v *hold.View) string { return stateColors[v.State] }
	expires := timeColumn("expires", times, func(v *hold.View) *time.Time {
		if v.SettledAt != nil {
			return nil
		}
		return &v.ExpiresAt
	})
	csvTime := func(title string, at func(v *hold.View) *time.Time) column[hold.View] {
		return csvOnly(title, timeColumn(title, times, at).csv)
	}
	return []column[hold.View]{
		{title: "booking", narrow: 27, table: holdDisplayName,
			wide: func(v *hold.View) string { return v.Reference },
			csv:  func(v *hold.View) string { return v.Reference }},
		wideOnly("hold", func(v *hold.View) string { return v.ID }),
		wideOnly("account", func(v *hold.View) string { return v.Account }),
		{title: "amount", narrow: 24, wraps: true, table: shortHoldAmount, wide: formatHoldAmount},
		{title: "amount", csv: func(v *hold.View) string {
			return hold.FormatMajor(v.Amount, v.Currency)
		}},
		{title: "captured", csv: func(v *hold.View) string {
			return hold.FormatMajor(v.CapturedAmount, v.Currency)
		}},
		{title: "currency", csv: func(v *hold.View) string { return strings.ToUpper(v.Currency) }},
		state,
		{title: "next", narrow: 30, wraps: true, // an action without its time would mislead
			table: func(v *hold.View) string {
				return describeNextAction(v, times.withRelativeTimesOnly())
			},
			wide: func(v *hold.View) string { return describeNextAction(v, times) },
			csv:  func(v *hold.View) string { return v.Next }},
		expires,
		// "next" says these in tables.
		csvTime("settled", func(v *hold.View) *time.Time { return v.SettledAt }),
		csvTime("next at", func(v *hold.View) *time.Time { return v.NextAt }),
		csvOnly("on expiry", func(v *hold.View) string { return v.OnExpiry }),
		csvTime("created at", func(v *hold.View) *time.Time { return &v.CreatedAt }),
		csvOnly("revision", func(v *hold.View) string { return fmt.Sprint(v.Revision) }),
		csvOnly("metadata", formatMetadataJSON),
	}
}
