package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/holdd/holdd/worker/hold"
)

// printSummary tells how the bookings ended, in numbers and in money, and
// whether Stripe's ledger says the same. Nothing writes to either any more.
func (b *bookingLedger) printSummary(lasted time.Duration) (agrees bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.printer
	a := compareLedgers(b.bookings, b.sim.Ledger())

	var out strings.Builder
	fmt.Fprintf(&out, "\n%s\n\n",
		t.colorize(bold, fmt.Sprintf("After %s: %d bookings",
			formatDuration(lasted), len(b.bookings))))
	out.WriteString(b.renderOutcomes() + "\n\n")
	if s := b.renderIncidents(); s != "" {
		out.WriteString(s + "\n\n")
	}
	out.WriteString(a.renderAmounts() + "\n\n")
	for _, line := range a.notYetRead {
		out.WriteString("  " + sanitizeText(line) + "\n")
	}
	if a.foreign > 0 {
		fmt.Fprintf(&out, "  %d PaymentIntents that others made or changed are in neither sum\n",
			a.foreign)
	}
	agrees = a.agrees()
	if agrees {
		out.WriteString(t.colorize(green, "holdd agrees with Stripe's ledger") + "\n")
	} else {
		out.WriteString(t.colorize(red, "holdd DIFFERS from Stripe's ledger") + "\n")
		for _, d := range a.differences {
			out.WriteString("  " + sanitizeText(d) + "\n")
		}
	}
	t.print(out.String())
	return agrees
}

func newTable(header ...any) table.Writer {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "  ", ""
	style.Format.Header, style.Format.Footer = text.FormatUpper, text.FormatDefault
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	w.AppendHeader(header)
	return w
}

func rightAligned(columns ...int) []table.ColumnConfig {
	var c []table.ColumnConfig
	for _, n := range columns {
		c = append(c, table.ColumnConfig{Number: n, Align: text.AlignRight,
			AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
	}
	return c
}

// renderOutcomes counts the bookings, each once.
func (b *bookingLedger) renderOutcomes() string {
	counts := map[outcome]int{}
	for _, k := range b.bookings {
		counts[k.outcome]++
	}
	w := newTable("outcome", "bookings")
	w.SetColumnConfigs(rightAligned(2))
	total := 0
	for o := stillHeld; o <= lastOutcome; o++ {
		if counts[o] > 0 {
			w.AppendRow(table.Row{o.String(), counts[o]})
			total += counts[o]
		}
	}
	w.AppendFooter(table.Row{"all", total})
	return w.Render()
}

// renderIncidents counts what happened on the way.
func (b *bookingLedger) renderIncidents() string {
	if len(b.incidents) == 0 {
		return ""
	}
	w := newTable("on the way", "times")
	w.SetColumnConfigs(rightAligned(2))
	for _, i := range slices.Sorted(maps.Keys(b.incidents)) {
		w.AppendRow(table.Row{string(i), b.incidents[i]})
	}
	return w.Render()
}

// renderAmounts is the sum of each currency as holdd's log has it and as
// Stripe's ledger has it, one beneath the other.
func (a *audit) renderAmounts() string {
	w := newTable("currency", "says", "authorized", "", "captured", "", "released", "",
		"expired", "", "still held")
	w.SetColumnConfigs(rightAligned(3, 5, 7, 9, 11))
	for _, c := range a.currencies() {
		amount := func(n int64) string {
			return strings.TrimSuffix(hold.FormatAmount(n, c),
				" "+strings.ToUpper(c))
		}
		row := func(first, who string, s amountSums) {
			equals := "="
			if !s.balanced() {
				equals = "≠"
			}
			w.AppendRow(table.Row{first, who, amount(s.authorized), equals, amount(s.captured), "+",
				amount(s.released), "+", amount(s.expired), "+", amount(s.held)})
		}
		row(strings.ToUpper(c), "holdd", a.holddTotals[c])
		row("", "Stripe", a.stripeTotals[c])
	}
	return w.Render()
}
