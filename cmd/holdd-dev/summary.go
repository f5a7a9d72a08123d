package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// printSummary prints the totals of Stripe's ledger. It returns an error if a
// PaymentIntent was captured twice.
func printSummary(out *printer, sim *stripesim.Sim, took time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", out.colorize(bold,
		fmt.Sprintf("Stripe's ledger after %s", formatDuration(took))))
	for _, t := range sim.Totals() {
		for _, row := range []struct {
			what   string
			amount int64
		}{
			{"authorized", t.Authorized}, {"captured", t.Captured}, {"released", t.Released},
			{"expired", t.Expired}, {"still held", t.Held},
		} {
			fmt.Fprintf(&b, "  %-10s  %14s\n", row.what, hold.FormatAmount(row.amount, t.Currency))
		}
	}
	twice := findDoubleCaptures(sim.Ledger())
	if len(twice) == 0 {
		b.WriteString(out.colorize(green, "No PaymentIntent was captured twice.") + "\n")
		out.print(b.String())
		return nil
	}
	out.print(b.String())
	return fmt.Errorf("captured twice: %s", strings.Join(twice, ", "))
}

// findDoubleCaptures returns the PaymentIntents with more than one capture.
func findDoubleCaptures(ledger []stripesim.Effect) []string {
	captures := map[string]int{}
	var twice []string
	for _, e := range ledger {
		if e.Kind != stripesim.EffectCaptured {
			continue
		}
		if captures[e.Intent]++; captures[e.Intent] == 2 {
			twice = append(twice, e.Intent)
		}
	}
	return twice
}
