package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// The tables of large amounts, several currencies and long texts fit 80 columns, and lose nothing
// that wraps.
func TestTables_Fit80Columns(t *testing.T) {
	now := time.Now()
	times := timeFormatter{location: time.FixedZone("AEDT", 11*60*60), now: now}
	soon := now.Add(29*24*time.Hour + 23*time.Hour)
	large := hold.View{ID: "pi_3PxYzA2eZvKYlo2C1gQmT0aB", Reference: strings.Repeat("LONG-", 9),
		Amount: 12345678989, CaptureAmount: 10000000000, Currency: "eur", State: "scheduled",
		Next: "capture", NextAt: &soon, ExpiresAt: soon}
	withoutBooking := large
	withoutBooking.Reference, withoutBooking.Amount, withoutBooking.CaptureAmount = "", 1234567, 0
	ids := []hold.View{withoutBooking, withoutBooking, withoutBooking}
	ids[1].CaptureAmount, ids[2].Currency, ids[2].Next = 1000000, "jpy", "increment"
	part, attention := withoutBooking, withoutBooking
	part.CapturedAmount, part.NextCapture = 100000, &hold.NextCaptureView{Amount: 450000}
	attention.State, attention.Next, attention.NextAt = "attention", "", nil
	attention.Cause = "multicapture_unavailable"
	totals := []api.CurrencyTotal{{Currency: "eur", Count: 1000, Amount: 123456789012},
		{Currency: "jpy", Count: 1, Amount: 3000}, {Currency: "usd", Count: 7, Amount: 9900}}
	history := hold.View{Currency: "eur", HistoryOmitted: 3, History: []hold.HistoryEntryView{
		{At: now, Kind: "scheduled", By: "reception-desk-of-lyon"},
		{At: now, Kind: "attempt", Op: "cancel", By: "holdd", Answer: "ok",
			RequestID: "req_3PxYzA2eZvKYlo"},
		{At: now, Kind: "partly_captured", Op: "capture", By: "holdd", Cause: "trigger",
			Note: "45.00 EUR captured, 375.00 EUR left"}}}
	plan := api.Plan{From: now, Until: soon,
		Hours: []api.PlanHour{{Start: now, Capture: totals, Cancel: totals}},
		AtRisk: []api.AtRiskHold{{Hold: large,
			Reason: "expires before its time of capture, which is 2026-12-30 11:00"}}}
	for name, test := range map[string]struct {
		print func(out *terminal) error
		want  []string
	}{
		"list": {func(out *terminal) error {
			p := &listPrinter[hold.View]{out: out, format: formatTable, columns: holdColumns(times)}
			return p.print([]hold.View{large})
		}, []string{"100000000.00 of", "123456789.89 EUR", "scheduled", "capture in 29 d "}},
		"list of ids": {func(out *terminal) error {
			p := &listPrinter[hold.View]{out: out, format: formatTable, columns: holdColumns(times)}
			return p.print(ids)
		}, []string{"pi_3PxYzA2eZvKYl…  10000.00 of ", "  capture in 29 d 23 h  ",
			"1234567 JPY   scheduled  increment in 29 d 23 h  in 29 d 23 h"}},
		"list of parts": {func(out *terminal) error {
			p := &listPrinter[hold.View]{out: out, format: formatTable, columns: holdColumns(times)}
			return p.print([]hold.View{part, attention})
		}, []string{"  capture of 4500.00 EUR    in 29 d 23 h", " needs attention: ",
			" multicapture_unavailable"}},
		"plan": {func(out *terminal) error {
			return printPlan(out, &plan, times, formatTable)
		}, []string{"1234567890.12 EUR", "3000 JPY +", "99.00 USD", "2026-12-30"}},
		"history": {func(out *terminal) error {
			return printHistory(out, &history, times, formatTable)
		}, []string{"req_3PxYzA2eZvKYlo", "… 3 more", "375.00 EUR"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := test.print(newTerminal(nil, strings.NewReader(""), &b, &b)); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > tableWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			for _, want := range test.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %q in\n%s", want, b.String())
				}
			}
		})
	}
}
