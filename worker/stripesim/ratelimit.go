package stripesim

import "time"

// bucket is a token bucket: capacity and refill a second are both the rate.
type bucket struct {
	tokens     float64
	refilledAt time.Time
}

func (b *bucket) hasToken(rate float64, now time.Time) bool {
	if b.refilledAt.IsZero() {
		b.tokens = rate
	} else {
		b.tokens = min(rate, b.tokens+rate*now.Sub(b.refilledAt).Seconds())
	}
	b.refilledAt = now
	return b.tokens >= 1-1e-9
}

// rateBuckets are the buckets of one account by class; "" is over all classes.
type rateBuckets map[EndpointClass]*bucket

func (r rateBuckets) bucket(c EndpointClass) *bucket {
	b := r[c]
	if b == nil {
		b = &bucket{}
		r[c] = b
	}
	return b
}

// take takes a token of a class and one of all classes, or neither.
func (r rateBuckets) take(c EndpointClass, t *settings, now time.Time) *apiError {
	rate := t.endpointRate
	if c == ClassSearch {
		rate = t.searchRate
	}
	var all, one *bucket
	if t.overallRate > 0 {
		if all = r.bucket(""); !all.hasToken(t.overallRate, now) {
			return rateLimitError("global-rate")
		}
	}
	if rate > 0 {
		if one = r.bucket(c); !one.hasToken(rate, now) {
			return rateLimitError("endpoint-rate")
		}
		one.tokens--
	}
	if all != nil {
		all.tokens--
	}
	return nil
}
