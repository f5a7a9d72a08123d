package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// Of how many holds one operation of the scale benchmark is, and how often each
// is repeated.
const (
	scaleBatch  = 100
	scaleRounds = 60
)

// scaleOperations are what must not cost more when more is pending.
var scaleOperations = []string{"schedule 100", "claim 100", "settle 100", "list 50 by reference",
	"look at the schedule", "expiry sweep"}

// scaleRun is a Redis with so many holds pending, and what the operations took
// on it.
type scaleRun struct {
	pending      int
	redis        *redisServer
	worker       *worker.Worker
	store        *store.Store
	durations    map[string][]time.Duration
	bytesPerHold float64 // of Redis, each hold
	daemonMemory int64   // of the daemon, bytes
}

func (r *scaleRun) median(op string) time.Duration {
	slices.Sort(r.durations[op])
	return r.durations[op][len(r.durations[op])/2]
}

// measureScale measures each operation with more and more holds pending on one
// Redis. The sizes take turns, so that what else the machine does falls on all
// of them.
func (b *bench) measureScale(ctx context.Context, sizes []int, w io.Writer) error {
	var all []*scaleRun
	for _, n := range sizes {
		r, err := b.fillRedis(ctx, n)
		if r != nil {
			defer r.redis.stop()
		}
		if err != nil {
			return err
		}
		defer r.store.Close()
		all = append(all, r)
	}
	for round := range scaleRounds {
		for _, r := range all {
			if err := r.runOperations(ctx, round); err != nil {
				return err
			}
		}
	}
	head := tableRow{""}
	for i, r := range all {
		head = append(head, fmt.Sprintf("%d pending", r.pending))
		if i > 0 {
			head = append(head, "ratio", "≤ 1.5")
		}
	}
	var rows []tableRow
	for _, op := range scaleOperations {
		line := tableRow{op + ", p50"}
		for i, r := range all {
			line = append(line, fmt.Sprintf("%.0f µs", float64(r.median(op).Nanoseconds())/1000))
			if i > 0 {
				ratio := float64(r.median(op)) / float64(all[0].median(op))
				met := "met"
				if ratio > 1.5 {
					met = "NOT MET"
				}
				line = append(line, fmt.Sprintf("%.2f", ratio), met)
			}
		}
		rows = append(rows, line)
	}
	bytes, rss := tableRow{"Redis memory a hold, with reference and events"},
		tableRow{"daemon, resident"}
	for i, r := range all {
		bytes, rss = append(bytes, fmt.Sprintf("%.0f B", r.bytesPerHold)),
			append(rss, fmt.Sprintf("%.1f MB", float64(r.daemonMemory)/1e6))
		if i > 0 {
			bytes = append(bytes, "", "")
			rss = append(rss, fmt.Sprintf("%.2f", float64(r.daemonMemory)/float64(
				all[0].daemonMemory)), "")
		}
	}
	fmt.Fprintln(w)
	writeTextTable(w, head, append(rows, bytes, rss))
	return nil
}

// fillRedis schedules n holds, which are spread over five days.
func (b *bench) fillRedis(ctx context.Context, n int) (r *scaleRun, err error) {
	s, err := b.startRedis(ctx)
	if err != nil {
		return nil, err
	}
	r = &scaleRun{pending: n, redis: s, durations: map[string][]time.Duration{}}
	before, err := s.usage(ctx)
	if err != nil {
		return r, err
	}
	// Written in parts, so that what is kept of it here stays small.
	const part = 100_000
	soon := time.Now().Add(24 * time.Hour).Truncate(time.Millisecond)
	for from := 0; from < n; from += part {
		all := make([]task, min(part, n-from))
		for i := range all {
			at := soon.Add(time.Duration(from+i) * (5 * 24 * time.Hour / time.Duration(n)))
			all[i] = task{number: from + i, captureAt: at, expiresAt: at.Add(24 * time.Hour),
				reference: fmt.Sprintf("BK-%08d", from+i)}
		}
		if _, err := (holddEngine{bench: b}).seed(ctx, s, all); err != nil {
			return r, err
		}
		if n > part {
			b.logf("  %d of %d are pending", from+len(all), n)
		}
	}
	if err := sleepContext(ctx, 2*time.Second); err != nil {
		return r, err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return r, err
	}
	r.bytesPerHold = float64(after.memory-before.memory) / float64(n)

	p, err := holddEngine{bench: b}.start(ctx, s, b.stripe.url)
	if err != nil {
		return r, err
	}
	err = sleepContext(ctx, 3*time.Second)
	if err == nil {
		r.daemonMemory, err = residentMemory(p.pid())
	}
	p.stop()
	if err != nil {
		return r, err
	}
	r.worker, r.store, err = holddEngine{bench: b}.scheduler(ctx, s)
	return r, err
}

func (r *scaleRun) timeOperation(op string, f func() error) error {
	began := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%d pending: %s: %w", r.pending, op, err)
	}
	r.durations[op] = append(r.durations[op], time.Since(began))
	return nil
}

// runOperations does each operation once. What it schedules is due at once, so
// that it can be claimed, and is dropped in the end.
func (r *scaleRun) runOperations(ctx context.Context, round int) error {
	w, st, n, timed := r.worker, r.store, r.pending, r.timeOperation
	if err := timed("look at the schedule", func() error {
		d, err := st.PromoteDue(ctx, true, 256)
		if err == nil && d.PromotedHolds > 0 {
			err = errors.New("something was due already")
		}
		return err
	}); err != nil {
		return err
	}
	timed("expiry sweep", func() error {
		m, _, err := st.DueMilestones(ctx, 256)
		if err == nil && len(m) > 0 {
			err = errors.New("a deadline was near already")
		}
		return err
	})
	if err := timed("list 50 by reference", func() error {
		page, err := w.Reader.List(
			ctx, query.Query{Reference: fmt.Sprintf("BK-%06d", (round*7919+n/3)/100%(n/100)),
				Limit: 50})
		if err == nil && len(page.Holds) != 50 {
			err = fmt.Errorf("found %d holds and not 50", len(page.Holds))
		}
		return err
	}); err != nil {
		return err
	}
	at := time.Now()
	reqs := make([]hold.ScheduleRequest, scaleBatch)
	for i := range reqs {
		reqs[i] = (&task{number: 90_000_000 + round*scaleBatch + i, captureAt: at,
			expiresAt: at.Add(6 * 24 * time.Hour), reference: "NEW-" +
				fmt.Sprint(i)}).scheduleRequest()
	}
	if err := timed("schedule 100", func() error {
		for _, s := range w.Scheduler.Schedule(ctx, reqs, "api") {
			if s.Err != nil {
				return s.Err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	d, err := st.PromoteDue(ctx, true, 256)
	if err != nil {
		return err
	}
	if len(d.Lanes) != 1 {
		return fmt.Errorf("%d lanes are ready and not 1", len(d.Lanes))
	}
	var claims []hold.Claim
	if err := timed("claim 100", func() (err error) {
		claims, _, err = st.Claim(ctx, d.Lanes[0], scaleBatch, time.Minute, time.Time{})
		if err == nil && len(claims) != scaleBatch {
			err = fmt.Errorf("claimed %d", len(claims))
		}
		return err
	}); err != nil {
		return err
	}
	ends, drops := captureWrites(claims), make([]hold.RecordWrite, len(claims))
	if err := timed("settle 100", func() error {
		ok, err := st.Commit(ctx, ends)
		if err == nil && slices.Contains(ok, false) {
			err = errors.New("somebody else was first")
		}
		return err
	}); err != nil {
		return err
	}
	ids := make([]string, len(claims))
	for i := range claims {
		ids[i] = claims[i].Hold.ID
	}
	holds, _, err := st.Read(ctx, ids...)
	if err != nil {
		return err
	}
	for i, h := range holds {
		drops[i] = hold.RecordWrite{Version: h.Version, Hold: *h, PreviousReference: h.Reference,
			Drop: true}
	}
	_, err = st.Commit(ctx, drops)
	return err
}

// captureWrites are the writes with which claims end.
func captureWrites(claims []hold.Claim) []hold.RecordWrite {
	now := time.Now().UTC().Truncate(time.Millisecond)
	out := make([]hold.RecordWrite, len(claims))
	for i := range claims {
		h := claims[i].Hold
		out[i] = hold.RecordWrite{Version: h.Version, Hold: h, PreviousReference: h.Reference,
			Placement: hold.Placement{SettledAt: now}}
		g := &out[i].Hold
		g.State, g.NextOp, g.NextAt, g.SettledAt, g.CapturedAmount = hold.Captured, 0,
			time.Time{}, now, h.Amount
		out[i].Events = [][]byte{
			[]byte(`{"id":"evt","type":"hold.captured","data":{"hold":{"id":"pi_3PxYzA2eZvKYlo2C1gQmT0aB"}}}`)}
	}
	return out
}
