package stripesim

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// rateBuckets are the token buckets of one account by class; "" is over all
// classes. The size of a bucket is its refill of one second.
type rateBuckets map[EndpointClass]*rate.Limiter

// bucket returns the bucket of a class with the rate of now, which may have
// changed.
func (r rateBuckets) bucket(c EndpointClass, perSecond float64, now time.Time) *rate.Limiter {
	size := max(1, int(math.Ceil(perSecond)))
	b := r[c]
	switch {
	case b == nil:
		b = rate.NewLimiter(rate.Limit(perSecond), size)
		r[c] = b
	case b.Limit() != rate.Limit(perSecond):
		b.SetLimitAt(now, rate.Limit(perSecond))
		b.SetBurstAt(now, size)
	}
	return b
}

// take takes a token of a class and one of all classes, or neither.
func (r rateBuckets) take(c EndpointClass, t *settings, now time.Time) *apiError {
	perSecond := t.endpointRate
	if c == ClassSearch {
		perSecond = t.searchRate
	}
	var all *rate.Limiter
	if t.overallRate > 0 {
		if all = r.bucket("", t.overallRate, now); all.TokensAt(now) < 1-1e-9 {
			return rateLimitError("global-rate")
		}
	}
	if perSecond > 0 && !r.bucket(c, perSecond, now).AllowN(now, 1) {
		return rateLimitError("endpoint-rate")
	}
	if all != nil {
		all.AllowN(now, 1)
	}
	return nil
}
