package daemon

import (
	"context"

	"github.com/holdd/holdd/worker/hold"
)

// loweredRatesReader reads the rates that a 429 lowered.
type loweredRatesReader interface {
	ListLoweredRates(ctx context.Context) ([]hold.LoweredRate, error)
}

var loweredRateDesc = newMetricDesc("holdd_lowered_requests_per_second",
	"Requests that all replicas together send to Stripe for an account, where a 429 lowered "+
		"them below holdd_budget_requests_per_second; by kind, all for the total. It rises again "+
		"with its use. The account is empty for the own one; the last 100 accounts.",
	"account", "kind")

// newLoweredRatesCollector reads the lowered rates for a scrape.
func newLoweredRatesCollector(rates loweredRatesReader) collectorFunc {
	return func(send gaugeSender) {
		ctx, cancel := context.WithTimeout(context.Background(), forecastTimeout)
		defer cancel()
		lowered, err := rates.ListLoweredRates(ctx)
		if err != nil {
			return // the worker logs that Redis is unavailable
		}
		for _, l := range lowered {
			send(loweredRateDesc, l.PerSecond, l.Account, l.Kind)
		}
	}
}
