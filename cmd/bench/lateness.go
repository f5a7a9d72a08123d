package main

import (
	"context"
	"slices"
	"time"
)

const latenessRate = 200

// measureLateness schedules holds that fall due one after the other, 200 a
// second, and measures how long after its time each capture arrives.
func (b *drainBench) measureLateness(ctx context.Context, e engine, span time.Duration) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	n := int(span.Seconds() * latenessRate)
	if err := b.stripe.reset(n, 0); err != nil {
		return err
	}
	at := time.Now().Add(3 * time.Second).Truncate(time.Millisecond)
	all := newTasks(n, at, false)
	for i := range all {
		all[i].captureAt = at.Add(time.Duration(i) * time.Second / latenessRate)
	}
	if _, err := e.seed(ctx, s, all); err != nil {
		return err
	}
	p, err := e.start(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	defer p.stop()
	if _, err := b.stripe.waitForCaptures(ctx, int64(n), p); err != nil {
		return err
	}
	arrived, err := b.stripe.fetchArrivals()
	if err != nil {
		return err
	}
	early, most := 0, time.Duration(0)
	lateness := make([]time.Duration, n)
	for i := range all {
		lateness[i] = arrived[i].Sub(all[i].captureAt)
		if lateness[i] < 0 {
			early++
			most = max(most, -lateness[i])
		}
	}
	slices.Sort(lateness)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.samples.add(latenessP50, e, ms(lateness[n/2]))
	b.samples.add(latenessP99, e, ms(lateness[n*99/100]))
	b.samples.add(earlyShare, e, 100*float64(early)/float64(n))
	b.samples.add(maxEarliness, e, ms(most))
	return nil
}
