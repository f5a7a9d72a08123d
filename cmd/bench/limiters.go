package main

import (
	"slices"
	"time"
)

// limiter is a way to limit requests. Methods are called one at a time.
type limiter interface {
	// begin reports whether a request is accepted.
	begin(now time.Time) bool
	// end is called when an accepted request has been answered.
	end()
}

// tokenBucket accepts a burst beyond the rate.
type tokenBucket struct {
	rate, burst, tokens float64
	at                  time.Time
}

func (b *tokenBucket) begin(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = b.burst + 1
	} else {
		b.tokens = min(b.burst+1, b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (*tokenBucket) end() {}

// fixedWindow accepts a number of requests in each second of the clock.
type fixedWindow struct {
	rate, used int
	second     int64
}

func (w *fixedWindow) begin(now time.Time) bool {
	if s := now.Unix(); s != w.second {
		w.second, w.used = s, 0
	}
	if w.used == w.rate {
		return false
	}
	w.used++
	return true
}

func (*fixedWindow) end() {}

// slidingWindow accepts a number of requests in any second.
type slidingWindow struct {
	rate     int
	accepted []time.Time
}

func (w *slidingWindow) begin(now time.Time) bool {
	w.accepted = slices.DeleteFunc(w.accepted, func(at time.Time) bool {
		return now.Sub(at) >= time.Second
	})
	if len(w.accepted) >= w.rate {
		return false
	}
	w.accepted = append(w.accepted, now)
	return true
}

func (*slidingWindow) end() {}

// concurrencyLimit accepts a number of requests at once.
type concurrencyLimit struct{ most, underWay int }

func (c *concurrencyLimit) begin(time.Time) bool {
	if c.underWay == c.most {
		return false
	}
	c.underWay++
	return true
}

func (c *concurrencyLimit) end() { c.underWay-- }

// halving is a token bucket whose rate is half for a time.
type halving struct {
	tokenBucket
	from, until time.Time
}

func (h *halving) begin(now time.Time) bool {
	h.rate = limitRate
	if !now.Before(h.from) && now.Before(h.until) {
		h.rate = limitRate / 2.0
	}
	return h.tokenBucket.begin(now)
}
