package query

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// accountRateLimits are the rates of one account, per second. all is 0 if only
// the kinds have a limit.
type accountRateLimits struct{ capture, cancel, all float64 }

// forecastRates are the rates that a forecast reckons with.
type forecastRates struct {
	configured accountRateLimits
	lowered    map[string]accountRateLimits // by account
}

func newForecastRates(write, total float64, lowered []hold.LoweredRate) forecastRates {
	r := forecastRates{accountRateLimits{write, write, total}, map[string]accountRateLimits{}}
	for _, l := range lowered {
		a := r.ratesOfAccount(l.Account)
		switch l.Kind {
		case hold.OpCapture.String():
			a.capture = min(a.capture, l.PerSecond)
		case hold.OpCancel.String():
			a.cancel = min(a.cancel, l.PerSecond)
		case hold.AllKinds:
			a.all = min(a.all, l.PerSecond)
		}
		r.lowered[l.Account] = a
	}
	return r
}

func (r forecastRates) ratesOfAccount(account string) accountRateLimits {
	if a, ok := r.lowered[account]; ok {
		return a
	}
	return r.configured
}

// slowestRate returns the lowest rate at which an account captures or cancels.
func (r forecastRates) slowestRate() float64 {
	slowest := r.configured.slowestRate()
	for _, a := range r.lowered {
		slowest = min(slowest, a.slowestRate())
	}
	return slowest
}

func (a accountRateLimits) slowestRate() float64 {
	slowest := min(a.capture, a.cancel)
	if a.all > 0 {
		slowest = min(slowest, a.all)
	}
	return slowest
}

// requestInterval returns the time between two requests at a rate; 0 for no
// limit.
func requestInterval(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / rate)
}
