package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newShowCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show HOLD", Short: "Show one hold with its history", Args: requireOneHoldArg,
		Example: `  holdd show BK-2071
  holdd show pi_3PxYzA2eZvKYlo2C1gQmT0aB --json`,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.ValidArgsFunction = c.completeHolds
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		v, err := findHold(ctx, client, args[0])
		if err != nil {
			return err
		}
		return c.printObject(v, func(times timeFormatter, f outputFormat) error {
			if f == formatCSV {
				rows := &listPrinter[hold.View]{out: out, format: f, columns: holdColumns(times)}
				return rows.print([]hold.View{v})
			}
			out.printLiveModeNotice(v.Livemode)
			printLabeledValues(out.stdout, holdDetailLines(out, &v, times))
			return printHistory(out, &v, times, f)
		})
	})
	c.addOutputFlag(cmd)
	return cmd
}

func holdDetailLines(out *terminal, v *hold.View, times timeFormatter) []labeledValue {
	details := holdSummaryValues(v, times)
	for i := range details {
		if details[i].label != "state" {
			continue
		}
		details[i].value = out.colorTextForStdout(stateColors[v.State], v.State)
		if v.Cause != "" && v.Cause != "schedule" {
			details[i].value += " (" + v.Cause + ")"
		}
	}
	add := func(label, value string) { details = append(details, labeledValue{label, value}) }
	if v.CapturedAmount > 0 {
		add("captured", hold.FormatAmount(v.CapturedAmount, v.Currency))
	}
	if v.CapturedElsewhere > 0 {
		add("captured elsewhere", hold.FormatAmount(v.CapturedElsewhere, v.Currency))
	}
	if len(v.Features) > 0 {
		add("features", sanitize(strings.Join(v.Features, ", ")))
	}
	if v.Increment != nil {
		add("increment", "to "+hold.FormatAmount(v.Increment.Amount, v.Currency)+
			", no answer yet; given up "+times.formatWithRelative(v.Increment.Until))
	}
	if v.CancellationReason != "" {
		add("cancellation reason", sanitize(v.CancellationReason))
	}
	if v.SettledAt != nil {
		add("settled", times.formatWithRelative(*v.SettledAt))
	} else {
		add("on expiry", v.OnExpiry)
		add("next", sanitize(describeNextAction(v, times)))
		if !v.Verified {
			add("verified", "not yet: Stripe has not confirmed amount and deadline")
		}
		if v.Acknowledged {
			add("warnings", "acknowledged")
		}
	}
	for _, w := range v.Warnings {
		add("warning", sanitize(w.Field+": "+w.Detail))
	}
	add("revision", fmt.Sprint(v.Revision))
	for _, k := range slices.Sorted(maps.Keys(v.Metadata)) {
		add("metadata", sanitize(k)+" = "+sanitize(v.Metadata[k]))
	}
	return details
}

// historyRow is an entry of a hold's history, or says how many were dropped.
type historyRow struct{ when, what, by, how, request string }

func printHistory(out *terminal, v *hold.View, times timeFormatter, format outputFormat) error {
	if len(v.History) == 0 {
		return nil
	}
	fmt.Fprintln(out.stdout)
	var rows []historyRow
	for i, e := range v.History {
		rows = append(rows, historyRow{times.formatMillisecond(e.At),
			strings.TrimSpace(e.Kind + " " + e.Op), e.By, describeHistoryEntry(&e), e.RequestID})
		if i == 0 && v.HistoryOmitted > 0 {
			rows = append(rows, historyRow{when: fmt.Sprintf("… %d more", v.HistoryOmitted)})
		}
	}
	by := wrapped("by", func(r *historyRow) string { return r.by })
	by.narrow = 10
	how := wrapped("how", func(r *historyRow) string { return r.how })
	how.table = func(r *historyRow) string { return joinNonEmpty(r.how, r.request) }
	p := &listPrinter[historyRow]{out: out, format: format, columns: []column[historyRow]{
		everywhere("when", func(r *historyRow) string { return r.when }),
		wrapped("what", func(r *historyRow) string { return r.what }), by, how,
		wideOnly("request", func(r *historyRow) string { return r.request })}}
	return p.print(rows)
}

// describeHistoryEntry returns an entry's answer, cause and note.
func describeHistoryEntry(e *hold.HistoryEntryView) string {
	return joinNonEmpty(e.Answer, e.Cause, e.Note)
}

func joinNonEmpty(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), ", ")
}
