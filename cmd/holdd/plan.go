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

func newPlanCommand(out *console, env environmentVars) *cobra.Command {
	var next string
	cmd := &cobra.Command{
		Use: "plan", Short: "Show upcoming captures and releases, and holds at risk",
		Args: cobra.NoArgs,
		Long: `Show the captures and releases of the time ahead, hour by hour with sums, and the
holds that may expire in it, with the reason.

The first hour has the holds that are due or in progress. An action of on_expiry is in the hour in
which it happens. On a terminal a chart of the number of holds follows.`,
		Example: `  holdd plan --next 7d
  holdd plan --json | jq '.at_risk[].hold.reference'`,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.Flags().StringVar(&next, "next", "24h", "the time ahead: 24h, 7d")
	cmd.RunE = c.clientRunE(func(ctx context.Context, client *api.Client, _ []string) error {
		span, err := api.ParseLookahead(next)
		if err != nil {
			return usageErrorf("", "invalid --next: %w", err)
		}
		p, err := client.Plan(ctx, span)
		if err != nil {
			return err
		}
		return c.printJSONOrText(p, func(times timeFormatter) {
			times.now = p.From
			printPlan(out, &p, times)
		})
	})
	return cmd
}

func printPlan(out *console, p *api.Plan, times timeFormatter) {
	out.printLiveModeNotice(p.Livemode)
	if len(p.Hours) == 0 {
		fmt.Fprintf(out.stdout, "Nothing is due until %s.\n", times.formatMinute(p.Until))
	} else {
		printPlanHours(out, p, times)
	}
	if len(p.AtRisk) > 0 {
		fmt.Fprintf(out.stdout, "\n%s\n", out.colorizeStdout(boldRed, "At risk:"))
		t := out.newTable("booking", "hold", "amount", "state", "expires", "why")
		for i := range p.AtRisk {
			v := &p.AtRisk[i].Hold
			t.AppendRow([]any{sanitize(v.Reference), v.ID, formatHoldAmount(v),
				out.colorizeStdout(
					stateColors[v.State],
					v.State,
				), times.formatWithRelative(v.ExpiresAt),
				sanitize(p.AtRisk[i].Reason)})
		}
		t.Render()
	}
	if p.Truncated {
		out.printNote("the plan is incomplete: shorten --next")
	}
}

func printPlanHours(out *console, p *api.Plan, times timeFormatter) {
	t := out.newTable("hour", "captures", "to capture", "releases", "to release")
	addRow := func(name string, capture, cancel []api.CurrencyTotal) {
		captures, toCapture := formatCurrencyTotals(capture)
		releases, toRelease := formatCurrencyTotals(cancel)
		t.AppendRow([]any{name, captures, toCapture, releases, toRelease})
	}
	for _, h := range p.Hours {
		addRow(times.formatMinute(h.Start), h.Capture, h.Cancel)
	}
	if len(p.Hours) > 1 {
		addRow("all", p.Capture, p.Cancel)
	}
	t.Render()
	if out.width > 0 {
		printPlanChart(out, p, times)
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

// printPlanChart draws the number of holds by hour. On a narrow terminal a
// column stands for several hours.
func printPlanChart(out *console, p *api.Plan, times timeFormatter) {
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
		captures[i] += sumHoldCounts(h.Capture)
		releases[i] += sumHoldCounts(h.Cancel)
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
				out.colorizeStdout(row.color, formatSparkline(row.numbers, top)))
		}
	}
	fmt.Fprintf(out.stdout, "%*s%s\n%*sholds %s, at most %d\n", margin, "",
		formatTimeAxis(first, each, columns, times), margin, "", unit, top)
}

func sumHoldCounts(sums []api.CurrencyTotal) (n int) {
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
