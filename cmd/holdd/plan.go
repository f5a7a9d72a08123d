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
	c := a.connect(cmd)
	cmd.Flags().StringVar(&ahead, "next", "24h", "how far to look ahead: 24h, 7d")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		span, err := api.ParseSpan(ahead)
		if err != nil {
			return usage("", "--next %w", err)
		}
		client, err := c.client()
		if err != nil {
			return err
		}
		defer client.Close()
		p, err := client.Plan(cmd.Context(), span)
		if err != nil {
			return explain(err, "")
		}
		if c.json {
			return a.line(p)
		}
		clk, err := c.clock(p.From)
		if err != nil {
			return err
		}
		a.showPlan(&p, clk)
		return nil
	}
	return cmd
}

func (a *app) showPlan(p *api.Plan, clk clock) {
	markLive(a.out, a.face.colorOut, p.Livemode)
	if len(p.Hours) == 0 {
		fmt.Fprintf(a.out, "Nothing is due until %s.\n", clk.absolute(p.Until))
	} else {
		t := a.newTable("hour", "captures", "to capture", "releases", "to release")
		row := func(name string, capture, cancel []api.Sum) {
			captures, take := sums(capture)
			releases, free := sums(cancel)
			t.AppendRow([]any{name, captures, take, releases, free})
		}
		for _, h := range p.Hours {
			row(clk.absolute(h.Start), h.Capture, h.Cancel)
		}
		if len(p.Hours) > 1 {
			row("all", p.Capture, p.Cancel)
		}
		t.Render()
		if a.face.width > 0 {
			a.drawPlan(p, clk)
		}
	}
	if len(p.AtRisk) > 0 {
		fmt.Fprintf(a.out, "\n%s\n", a.paint(alarm, "At risk:"))
		t := a.newTable("booking", "hold", "amount", "state", "expires", "why")
		for i := range p.AtRisk {
			v := &p.AtRisk[i].Hold
			t.AppendRow([]any{clean(v.Reference), v.ID, amount(v), a.paint(stateColors[v.State], v.State), clk.both(v.ExpiresAt), clean(p.AtRisk[i].Why)})
		}
		t.Render()
	}
	if p.Truncated {
		a.note("there is more than was looked at: look less far ahead with --next")
	}
}

func sums(in []api.Sum) (count, money string) {
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

// drawPlan draws how many holds move when: a column for each hour, or for several where the terminal isn't wide enough for all.
func (a *app) drawPlan(p *api.Plan, clk clock) {
	const margin = len("captures  ")
	first := p.From.Truncate(time.Hour)
	if s := p.Hours[0].Start; s.Before(first) {
		first = s
	}
	hours := int(p.Until.Sub(first)/time.Hour) + 1
	room := a.face.width - margin - 1 // the last column wraps on some terminals
	if room < 8 {
		return // nothing could be told apart
	}
	each := (hours + room - 1) / room // hours in a column
	columns := (hours + each - 1) / each
	captures, releases := make([]int, columns), make([]int, columns)
	for _, h := range p.Hours {
		i := min(int(h.Start.Sub(first)/time.Hour)/each, columns-1)
		captures[i] += holds(h.Capture)
		releases[i] += holds(h.Cancel)
	}
	top := max(slices.Max(captures), slices.Max(releases))
	unit := "an hour"
	if each > 1 {
		unit = fmt.Sprintf("in %d h", each)
	}
	fmt.Fprintln(a.out)
	for _, row := range []struct {
		name, color string
		numbers     []int
	}{{"captures", green, captures}, {"releases", blue, releases}} {
		if slices.Max(row.numbers) > 0 {
			fmt.Fprintf(a.out, "%-*s%s\n", margin, row.name, a.paint(row.color, bars(row.numbers, top)))
		}
	}
	fmt.Fprintf(a.out, "%*s%s\n%*sholds %s, at most %d\n", margin, "", axis(first, each, columns, clk), margin, "", unit, top)
}

func holds(sums []api.Sum) (n int) {
	for _, s := range sums {
		n += s.Count
	}
	return n
}

// bars draws numbers as eighths of a line's height. What isn't nothing is seen.
func bars(numbers []int, top int) string {
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

// axis names times below the columns, as many as fit with room between them: days where a column is long, else hours.
func axis(first time.Time, each, columns int, clk clock) string {
	line := []byte(strings.Repeat(" ", columns))
	free := 0
	for i := range columns {
		at := first.Add(time.Duration(i*each) * time.Hour).In(clk.loc)
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
