package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newPlanCommand(out *terminal, env environList) *cobra.Command {
	var next string
	cmd := &cobra.Command{
		Use: "plan", Short: "Show upcoming captures and releases, and holds at risk",
		Args: cobra.NoArgs,
		Long: `Show the captures and releases of the time ahead, hour by hour with sums, and the
holds that may expire in it, with the reason.

The first hour has the holds that are due or in progress. An action of on_expiry is in the hour in
which it happens. On a terminal a chart of the number of holds follows. -o csv has the
hours alone.`,
		Example: `  holdd plan --next 7d
  holdd plan --json | jq '.at_risk[].hold.reference'`,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.Flags().StringVar(&next, "next", "24h", "the time ahead: 24h, 7d")
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, _ []string) error {
		span, err := api.ParseLookahead(next)
		if err != nil {
			return usageErrorf("", "invalid --next: %w", err)
		}
		p, err := client.GetPlan(ctx, span)
		if err != nil {
			return err
		}
		return c.printObject(p, func(times timeFormatter, f outputFormat) error {
			times.now = p.From
			return printPlan(out, &p, times, f)
		})
	})
	c.addOutputFlag(cmd)
	return cmd
}

// printPlan prints the hours and the holds at risk. CSV has the hours alone.
func printPlan(out *terminal, p *api.Plan, times timeFormatter, format outputFormat) error {
	hours := &listPrinter[hourlyPlanRow]{out: out, format: format, columns: planColumns(times)}
	if format == formatCSV {
		if n := len(p.AtRisk); n > 0 {
			defer out.printNote("%s at risk, which csv leaves out: see -o wide or json",
				hold.FormatCount(n, "hold is", "holds are"))
		}
		return hours.print(splitPlanRowsByCurrency(newHourlyPlanRows(p)[:len(p.Hours)]))
	}
	out.printLiveModeNotice(p.Livemode)
	if len(p.Hours) == 0 {
		fmt.Fprintf(out.stdout, "Nothing is due until %s.\n", times.formatMinute(p.Until))
	} else {
		if err := hours.print(newHourlyPlanRows(p)); err != nil {
			return err
		}
		if out.width > 0 {
			printHourlyForecastChart(out, p, times)
		}
	}
	if p.Truncated {
		defer out.printNote("the plan is incomplete: shorten --next")
	}
	if len(p.AtRisk) == 0 {
		return nil
	}
	fmt.Fprintf(out.stdout, "\n%s\n", out.colorTextForStdout(boldRed, "At risk:"))
	rows := &listPrinter[api.AtRiskHold]{out: out, format: format, columns: riskColumns(times)}
	return rows.print(p.AtRisk)
}

// hourlyPlanRow is an hour of a plan, or the sum of all.
type hourlyPlanRow struct {
	start           *time.Time // nil for the sum
	capture, cancel []api.CurrencyTotal
}

func newHourlyPlanRows(p *api.Plan) (rows []hourlyPlanRow) {
	for i := range p.Hours {
		h := &p.Hours[i]
		rows = append(rows, hourlyPlanRow{&h.Start, h.Capture, h.Cancel})
	}
	if len(rows) > 1 {
		rows = append(rows, hourlyPlanRow{nil, p.Capture, p.Cancel})
	}
	return rows
}

// splitPlanRowsByCurrency returns rows of one currency each: a cell of CSV has one amount.
func splitPlanRowsByCurrency(rows []hourlyPlanRow) (split []hourlyPlanRow) {
	for _, r := range rows {
		of := map[string]*hourlyPlanRow{}
		for _, t := range slices.Concat(r.capture, r.cancel) {
			of[t.Currency] = &hourlyPlanRow{start: r.start}
		}
		for _, t := range r.capture {
			of[t.Currency].capture = append(of[t.Currency].capture, t)
		}
		for _, t := range r.cancel {
			of[t.Currency].cancel = append(of[t.Currency].cancel, t)
		}
		for _, currency := range slices.Sorted(maps.Keys(of)) {
			split = append(split, *of[currency])
		}
	}
	return split
}

func planColumns(times timeFormatter) []column[hourlyPlanRow] {
	hour := func(format func(time.Time) string) func(r *hourlyPlanRow) string {
		return func(r *hourlyPlanRow) string {
			if r.start == nil {
				return "all"
			}
			return format(*r.start)
		}
	}
	part := func(of func(r *hourlyPlanRow) []api.CurrencyTotal, money bool) func(r *hourlyPlanRow) string {
		return func(r *hourlyPlanRow) string {
			count, sums := formatCurrencyTotals(of(r))
			if money {
				return sums
			}
			return count
		}
	}
	amount := func(of func(r *hourlyPlanRow) []api.CurrencyTotal) func(r *hourlyPlanRow) string {
		return func(r *hourlyPlanRow) string { // of a row of one currency
			if totals := of(r); len(totals) > 0 {
				return hold.FormatMajor(totals[0].Amount, totals[0].Currency)
			}
			return ""
		}
	}
	captures := func(r *hourlyPlanRow) []api.CurrencyTotal { return r.capture }
	releases := func(r *hourlyPlanRow) []api.CurrencyTotal { return r.cancel }
	toCapture, toRelease := wrapped("to capture", part(captures, true)),
		wrapped("to release", part(releases, true))
	toCapture.csv, toRelease.csv = amount(captures), amount(releases)
	return []column[hourlyPlanRow]{
		{title: "hour", table: hour(times.formatMinute), wide: hour(times.formatMinute),
			csv: hour(func(t time.Time) string { return t.UTC().Format(time.RFC3339) })},
		everywhere("captures", part(captures, false)), toCapture,
		everywhere("releases", part(releases, false)), toRelease,
		csvOnly("currency", func(r *hourlyPlanRow) string {
			return strings.ToUpper(slices.Concat(r.capture, r.cancel)[0].Currency)
		}),
	}
}

func riskColumns(times timeFormatter) []column[api.AtRiskHold] {
	state := wideOnly("state", func(r *api.AtRiskHold) string { return r.Hold.State })
	state.color = func(r *api.AtRiskHold) string { return stateColors[r.Hold.State] }
	return []column[api.AtRiskHold]{
		{title: "booking", narrow: 20,
			table: func(r *api.AtRiskHold) string { return holdDisplayName(&r.Hold) },
			wide:  func(r *api.AtRiskHold) string { return r.Hold.Reference }},
		wideOnly("hold", func(r *api.AtRiskHold) string { return r.Hold.ID }),
		{title: "amount", narrow: 24, wraps: true,
			table: func(r *api.AtRiskHold) string { return shortHoldAmount(&r.Hold) },
			wide:  func(r *api.AtRiskHold) string { return formatHoldAmount(&r.Hold) }},
		state,
		timeColumn("expires", times, func(r *api.AtRiskHold) *time.Time { return &r.Hold.ExpiresAt }),
		wrapped("why", func(r *api.AtRiskHold) string { return r.Reason }),
	}
}

func formatCurrencyTotals(in []api.CurrencyTotal) (count, money string) {
	n := 0
	var parts []string
	for _, s := range in {
		n += s.Count
		if s.Currency == "" {
			parts = append(parts, fmt.Sprintf("%d of unknown amount", s.Count))
		} else {
			parts = append(parts, hold.FormatAmount(s.Amount, s.Currency))
		}
	}
	if n == 0 {
		return "", ""
	}
	return fmt.Sprint(n), strings.Join(parts, " + ")
}

// printHourlyForecastChart draws the number of holds by hour. On a narrow terminal a
// column stands for several hours.
func printHourlyForecastChart(out *terminal, p *api.Plan, times timeFormatter) {
	const margin = len("captures  ")
	first := p.From.Truncate(time.Hour)
	if s := p.Hours[0].Start; s.Before(first) {
		first = s
	}
	hours := int(p.Until.Sub(first)/time.Hour) + 1
	room := out.width - margin - 1 // the last column wraps on some terminals
	if room < 8 {
		return
	}
	each := (hours + room - 1) / room // hours in a column
	columns := (hours + each - 1) / each
	captures, releases := make([]int, columns), make([]int, columns)
	for _, h := range p.Hours {
		i := min(int(h.Start.Sub(first)/time.Hour)/each, columns-1)
		captures[i] += sumCurrencyTotalCounts(h.Capture)
		releases[i] += sumCurrencyTotalCounts(h.Cancel)
	}
	top := max(slices.Max(captures), slices.Max(releases))
	unit := "an hour"
	if each > 1 {
		unit = fmt.Sprintf("in %d h", each)
	}
	fmt.Fprintln(out.stdout)
	for _, row := range []struct {
		name, color string
		numbers     []int
	}{{"captures", green, captures}, {"releases", blue, releases}} {
		if slices.Max(row.numbers) > 0 {
			fmt.Fprintf(out.stdout, "%-*s%s\n", margin, row.name,
				out.colorTextForStdout(row.color, formatSparkline(row.numbers, top)))
		}
	}
	fmt.Fprintf(out.stdout, "%*s%s\n%*sholds %s, at most %d\n", margin, "",
		formatTimeAxis(first, each, columns, times), margin, "", unit, top)
}

func sumCurrencyTotalCounts(sums []api.CurrencyTotal) (n int) {
	for _, s := range sums {
		n += s.Count
	}
	return n
}

// formatSparkline draws numbers as eighths of a line's height, at least one
// eighth for a number above zero.
func formatSparkline(numbers []int, top int) string {
	const eighths = "▁▂▃▄▅▆▇█"
	levels := []rune(eighths)
	var b strings.Builder
	for _, n := range numbers {
		if n == 0 || top == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(levels[(n*len(levels)+top-1)/top-1])
	}
	return strings.TrimRight(b.String(), " ")
}

// formatTimeAxis labels the columns, as many as fit: with days for plans of more
// than two days, with hours otherwise.
func formatTimeAxis(first time.Time, each, columns int, times timeFormatter) string {
	line := []byte(strings.Repeat(" ", columns))
	free := 0
	for i := range columns {
		at := first.Add(time.Duration(i*each) * time.Hour).In(times.location)
		label := at.Format("15:04")
		if columns*each > 48 {
			label = at.Format("Jan 2")
			if i > 0 && at.YearDay() == at.Add(-time.Duration(each)*time.Hour).YearDay() {
				continue // in the middle of a day
			}
		} else if i > 0 && at.Hour()%6 != 0 {
			continue
		}
		if i < free || i+len(label) > columns && i > 0 {
			continue
		}
		line = append(line[:i], append([]byte(label), line[min(len(line), i+len(label)):]...)...)
		free = i + len(label) + 1
	}
	return strings.TrimRight(string(line), " ")
}
