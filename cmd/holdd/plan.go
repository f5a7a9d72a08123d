package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func (a *app) planCommand() *cobra.Command {
	var ahead string
	cmd := &cobra.Command{
		Use: "plan", Short: "What will happen when, and what is at risk", Args: cobra.NoArgs,
		Long: `What will be captured and released by itself within a time, hour by hour with its sums, and which holds may lapse in it, with the reason.

What is due already, or under work, is in the first hour; what a deadline's on_expiry will do is in the hour in which it will. On a terminal the table
is followed by a small chart of how many holds move when.`,
		Example: "  holdd plan --next 7d\n  holdd plan --json | jq '.at_risk[].hold.reference'",
	}
	c := a.addConnectionFlags(cmd)
	cmd.Flags().StringVar(&ahead, "next", "24h", "how far to look ahead: 24h, 7d")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		span, err := api.ParseDuration(ahead)
		if err != nil {
			return usageErrorf("", "--next %w", err)
		}
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		p, err := client.Plan(cmd.Context(), span)
		if err != nil {
			return addExitCode(err, "")
		}
		if c.asJSON {
			return a.printJSONLine(p)
		}
		times, err := c.newTimeFormatter(p.From)
		if err != nil {
			return err
		}
		a.printPlan(&p, times)
		return nil
	}
	return cmd
}

func (a *app) printPlan(p *api.Plan, times timeFormatter) {
	printLiveModeNotice(a.stdout, a.terminal.colorStdout, p.Livemode)
	if len(p.Hours) == 0 {
		fmt.Fprintf(a.stdout, "Nothing is due until %s.\n", times.formatMinute(p.Until))
	} else {
		t := a.newTable("hour", "captures", "to capture", "releases", "to release")
		row := func(name string, capture, cancel []api.CurrencyTotal) {
			captures, take := formatSums(capture)
			releases, free := formatSums(cancel)
			t.AppendRow([]any{name, captures, take, releases, free})
		}
		for _, h := range p.Hours {
			row(times.formatMinute(h.Start), h.Capture, h.Cancel)
		}
		if len(p.Hours) > 1 {
			row("all", p.Capture, p.Cancel)
		}
		t.Render()
		if a.terminal.width > 0 {
			a.drawPlanChart(p, times)
		}
	}
	if len(p.AtRisk) > 0 {
		fmt.Fprintf(a.stdout, "\n%s\n", a.colorizeStdout(boldRed, "At risk:"))
		t := a.newTable("booking", "hold", "amount", "state", "expires", "why")
		for i := range p.AtRisk {
			v := &p.AtRisk[i].Hold
			t.AppendRow([]any{sanitize(v.Reference), v.ID, formatHoldAmount(v),
				a.colorizeStdout(stateColors[v.State], v.State), times.formatWithRelative(
					v.ExpiresAt), sanitize(p.AtRisk[i].Reason)})
		}
		t.Render()
	}
	if p.Truncated {
		a.printNote("there is more than was looked at: look less far ahead with --next")
	}
}

func formatSums(in []api.CurrencyTotal) (count, money string) {
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

// drawPlanChart draws how many holds move when: a column for each hour, or for
// several where the terminal isn't wide enough for all.
func (a *app) drawPlanChart(p *api.Plan, times timeFormatter) {
	const margin = len("captures  ")
	first := p.From.Truncate(time.Hour)
	if s := p.Hours[0].Start; s.Before(first) {
		first = s
	}
	hours := int(p.Until.Sub(first)/time.Hour) + 1
	room := a.terminal.width - margin - 1 // the last column wraps on some terminals
	if room < 8 {
		return // nothing could be told apart
	}
	each := (hours + room - 1) / room // hours in a column
	columns := (hours + each - 1) / each
	captures, releases := make([]int, columns), make([]int, columns)
	for _, h := range p.Hours {
		i := min(int(h.Start.Sub(first)/time.Hour)/each, columns-1)
		captures[i] += countHolds(h.Capture)
		releases[i] += countHolds(h.Cancel)
	}
	top := max(slices.Max(captures), slices.Max(releases))
	unit := "an hour"
	if each > 1 {
		unit = fmt.Sprintf("in %d h", each)
	}
	fmt.Fprintln(a.stdout)
	for _, row := range []struct {
		name, color string
		numbers     []int
	}{{"captures", green, captures}, {"releases", blue, releases}} {
		if slices.Max(row.numbers) > 0 {
			fmt.Fprintf(a.stdout, "%-*s%s\n", margin, row.name,
				a.colorizeStdout(row.color, drawBars(row.numbers, top)))
		}
	}
	fmt.Fprintf(a.stdout, "%*s%s\n%*sholds %s, at most %d\n", margin, "",
		drawTimeAxis(first, each, columns, times), margin, "", unit, top)
}

func countHolds(sums []api.CurrencyTotal) (n int) {
	for _, s := range sums {
		n += s.Count
	}
	return n
}

// drawBars draws numbers as eighths of a line's height. What isn't nothing is
// seen.
func drawBars(numbers []int, top int) string {
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

// drawTimeAxis names times below the columns, as many as fit with room between
// them: days where a column is long, else hours.
func drawTimeAxis(first time.Time, each, columns int, times timeFormatter) string {
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
