package main

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
)

// A cell of CSV has one amount, so an hour has a line for each currency, and no line is a sum.
func TestPlan_CSVHasALineForEachCurrency(t *testing.T) {
	at := time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC)
	p := &api.Plan{Hours: []api.PlanHour{
		{Start: at, Capture: []api.CurrencyTotal{{Currency: "jpy", Count: 1, Amount: 900},
			{Currency: "eur", Count: 2, Amount: 7050}},
			Cancel: []api.CurrencyTotal{{Currency: "eur", Count: 1, Amount: 100}}},
		{Start: at.Add(time.Hour), Cancel: []api.CurrencyTotal{{Count: 3}}}}}
	var out strings.Builder
	err := printPlan(&terminal{stdout: &stickyErrWriter{w: &out}}, p, timeFormatter{}, formatCSV)
	const want = `hour,captures,to_capture,releases,to_release,currency
2026-12-01T11:00:00Z,2,70.50,1,1.00,EUR
2026-12-01T11:00:00Z,1,900,,,JPY
2026-12-01T12:00:00Z,,,3,unknown,
`
	if err != nil || out.String() != want {
		t.Errorf("%v: %s", err, out.String())
	}
}
