package main

import (
	"context"
	"slices"
	"time"
)

const perSecond = 200

// late schedules holds that fall due one after the other, 200 a second, and measures by how much each capture comes after its time.
func (b *bench) late(ctx context.Context, e engine, span time.Duration) error {
	s, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	n := int(span.Seconds() * perSecond)
	if err := b.stripe.reset(n, 0); err != nil {
		return err
	}
	at := time.Now().Add(3 * time.Second).Truncate(time.Millisecond)
	all := tasks(n, at, false)
	for i := range all {
		all[i].at = at.Add(time.Duration(i) * time.Second / perSecond)
	}
	if _, err := e.seed(ctx, s, all); err != nil {
		return err
	}
	p, err := e.start(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	defer p.stop()
	if _, err := b.stripe.until(ctx, int64(n), p); err != nil {
		return err
	}
	arrived, err := b.stripe.arrivals()
	if err != nil {
		return err
	}
	early, most := 0, time.Duration(0)
	lateness := make([]time.Duration, n)
	for i := range all {
		lateness[i] = arrived[i].Sub(all[i].at)
		if lateness[i] < 0 {
			early++
			most = max(most, -lateness[i])
		}
	}
	slices.Sort(lateness)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.add(late50, e, ms(lateness[n/2]))
	b.add(late99, e, ms(lateness[n*99/100]))
	b.add(earlyShare, e, 100*float64(early)/float64(n))
	b.add(earlyMost, e, ms(most))
	return nil
}
