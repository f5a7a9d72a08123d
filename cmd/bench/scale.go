package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

const (
	scaleBatch  = 100 // holds of one operation
	scaleRounds = 60  // how often each operation is repeated
)

// scaleOperations are the operations that must not cost more when more holds
// are pending.
var scaleOperations = []string{"schedule 100", "claim 100", "settle 100", "list 50 by reference",
	"console page of holds", "look at the schedule", "expiry sweep"}

// scaleRun is a Redis with pending holds, and the durations of the operations
// on it.
type scaleRun struct {
	pending      int
	redis        *redisServer
	worker       *worker.Engine
	store        *store.Store
	durations    map[string][]time.Duration
	bytesPerHold float64 // of Redis
	daemonMemory int64   // bytes
}

func (r *scaleRun) median(op string) time.Duration {
	slices.Sort(r.durations[op])
	return r.durations[op][len(r.durations[op])/2]
}

// scaleBench measures operations of the store at several sizes.
type scaleBench struct{ lab }

// measureScale measures each operation with more and more holds pending on one
// Redis each. The sizes take turns, so that other load on the machine falls on
// all of them.
func (b *scaleBench) measureScale(ctx context.Context, sizes []int) ([]table, error) {
	var all []*scaleRun
	for _, n := range sizes {
		r, err := b.fillRedis(ctx, n)
		if r != nil {
			defer r.redis.stop()
		}
		if err != nil {
			return nil, err
		}
		defer r.store.Close()
		all = append(all, r)
	}
	for round := range scaleRounds {
		for _, r := range all {
			if err := r.runOperations(ctx, round); err != nil {
				return nil, err
			}
		}
	}
	head := tableRow{""}
	for i, r := range all {
		head = append(head, fmt.Sprintf("%d pending", r.pending))
		if i > 0 {
			head = append(head, "ratio")
		}
	}
	return []table{{title: "Operations with more and more pending holds", header: head,
		rows: append(scaleDurationRows(all), scaleMemoryRows(all)...)}}, nil
}

func scaleDurationRows(all []*scaleRun) (rows []tableRow) {
	for _, op := range scaleOperations {
		row := tableRow{op + ", p50"}
		for i, r := range all {
			row = append(row, fmt.Sprintf("%.0f µs", float64(r.median(op).Nanoseconds())/1000))
			if i > 0 {
				row = append(row, fmt.Sprintf("%.2f",
					float64(r.median(op))/float64(all[0].median(op))))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func scaleMemoryRows(all []*scaleRun) []tableRow {
	redis, daemon := tableRow{"Redis memory a hold, with reference and events"},
		tableRow{"daemon, resident"}
	for i, r := range all {
		redis = append(redis, fmt.Sprintf("%.0f B", r.bytesPerHold))
		daemon = append(daemon, fmt.Sprintf("%.1f MB", float64(r.daemonMemory)/1e6))
		if i > 0 {
			redis = append(redis, fmt.Sprintf("%.2f", r.bytesPerHold/all[0].bytesPerHold))
			daemon = append(daemon, fmt.Sprintf("%.2f",
				float64(r.daemonMemory)/float64(all[0].daemonMemory)))
		}
	}
	return []tableRow{redis, daemon}
}

// fillRedis schedules n holds, spread over five days.
func (b *scaleBench) fillRedis(ctx context.Context, n int) (r *scaleRun, err error) {
	s, err := b.startRedis(ctx)
	if err != nil {
		return nil, err
	}
	r = &scaleRun{pending: n, redis: s, durations: map[string][]time.Duration{}}
	before, err := s.usage(ctx)
	if err != nil {
		return r, err
	}
	// Parts keep the memory of this process small.
	const part = 100_000
	soon := time.Now().Add(24 * time.Hour).Truncate(time.Millisecond)
	for from := 0; from < n; from += part {
		all := make([]task, min(part, n-from))
		for i := range all {
			at := soon.Add(time.Duration(from+i) * (5 * 24 * time.Hour / time.Duration(n)))
			all[i] = task{number: from + i, captureAt: at, expiresAt: at.Add(24 * time.Hour),
				reference: fmt.Sprintf("BK-%08d", from+i)}
		}
		if _, err := (holddEngine{launcher: b.launcher}).seed(ctx, s, all); err != nil {
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

	if r.daemonMemory, err = b.measureDaemonMemory(ctx, s); err != nil {
		return r, err
	}
	r.worker, r.store, err = holddEngine{launcher: b.launcher}.scheduler(ctx, s)
	return r, err
}

// measureDaemonMemory returns the resident memory of an idle daemon, in bytes.
func (b *scaleBench) measureDaemonMemory(ctx context.Context, s *redisServer) (int64, error) {
	p, err := holddEngine{launcher: b.launcher}.start(ctx, s, b.stripe.url)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if err := sleepContext(ctx, 3*time.Second); err != nil {
		return 0, err
	}
	return residentMemory(p.pid())
}

func (r *scaleRun) timeOperation(op string, f func() error) error {
	began := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%d pending: %s: %w", r.pending, op, err)
	}
	r.durations[op] = append(r.durations[op], time.Since(began))
	return nil
}

// runOperations does each operation once. The holds that it schedules are due
// at once, so that they can be claimed. It removes them in the end.
func (r *scaleRun) runOperations(ctx context.Context, round int) error {
	if err := r.timeReads(ctx, round); err != nil {
		return err
	}
	if err := r.timeSchedule(ctx, round); err != nil {
		return err
	}
	claims, err := r.timeClaim(ctx)
	if err != nil {
		return err
	}
	if err := r.timeOperation("settle 100", func() error {
		return commitAll(ctx, r.store, captureWrites(claims))
	}); err != nil {
		return err
	}
	return r.dropHolds(ctx, claims)
}

// timeReads times the operations that change nothing.
func (r *scaleRun) timeReads(ctx context.Context, round int) error {
	if err := r.timeOperation("look at the schedule", func() error {
		d, err := r.store.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 256})
		if err == nil && d.PromotedHolds > 0 {
			err = errors.New("a hold was due already")
		}
		return err
	}); err != nil {
		return err
	}
	if err := r.timeOperation("expiry sweep", func() error {
		m, _, err := r.store.ListDueMilestones(ctx, 256)
		if err == nil && len(m) > 0 {
			err = errors.New("a deadline was near already")
		}
		return err
	}); err != nil {
		return err
	}
	if err := r.timeOperation("console page of holds", func() error {
		q := query.HoldQuery{Group: query.GroupOpen, Limit: 50}
		page, err := r.worker.Reader.List(ctx, q)
		if err == nil && len(page.Holds) != 50 {
			err = fmt.Errorf("found %d holds, want 50", len(page.Holds))
		}
		if err != nil {
			return err
		}
		_, err = r.worker.Reader.SumTotals(ctx, q)
		return err
	}); err != nil {
		return err
	}
	return r.timeOperation("list 50 by reference", func() error {
		n := r.pending
		page, err := r.worker.Reader.List(ctx, query.HoldQuery{
			Reference: fmt.Sprintf("BK-%06d", (round*7919+n/3)/100%(n/100)), Limit: 50})
		if err == nil && len(page.Holds) != 50 {
			err = fmt.Errorf("found %d holds, want 50", len(page.Holds))
		}
		return err
	})
}

func (r *scaleRun) timeSchedule(ctx context.Context, round int) error {
	at := time.Now()
	reqs := make([]hold.ScheduleRequest, scaleBatch)
	for i := range reqs {
		t := task{number: 90_000_000 + round*scaleBatch + i, captureAt: at,
			expiresAt: at.Add(6 * 24 * time.Hour), reference: fmt.Sprintf("NEW-%d", i)}
		reqs[i] = t.scheduleRequest()
	}
	return r.timeOperation("schedule 100", func() error {
		for _, s := range r.worker.Scheduler.Schedule(ctx, reqs, "api") {
			if s.Err != nil {
				return s.Err
			}
		}
		return nil
	})
}

func (r *scaleRun) timeClaim(ctx context.Context) (claims []hold.Claim, err error) {
	d, err := r.store.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 256})
	if err != nil {
		return nil, err
	}
	if len(d.Lanes) != 1 {
		return nil, fmt.Errorf("%d lanes are ready, want 1", len(d.Lanes))
	}
	err = r.timeOperation("claim 100", func() (err error) {
		claims, err = claimLane(ctx, r.store, d.Lanes[0], scaleBatch)
		if err == nil && len(claims) != scaleBatch {
			err = fmt.Errorf("claimed %d holds, want %d", len(claims), scaleBatch)
		}
		return err
	})
	return claims, err
}

// dropHolds removes the records of settled holds.
func (r *scaleRun) dropHolds(ctx context.Context, claims []hold.Claim) error {
	ids := make([]string, len(claims))
	for i := range claims {
		ids[i] = claims[i].Hold.ID
	}
	holds, _, err := r.store.ReadHolds(ctx, ids...)
	if err != nil {
		return err
	}
	drops := make([]hold.HoldWrite, len(claims))
	for i, h := range holds {
		drops[i] = hold.HoldWrite{Version: h.Version, Hold: *h, PreviousReference: h.Reference,
			Drop: true}
	}
	_, err = r.store.Commit(ctx, drops)
	return err
}

// commitAll commits every write, or returns an error.
func commitAll(ctx context.Context, st *store.Store, writes []hold.HoldWrite) error {
	results, err := st.Commit(ctx, writes)
	if err == nil && slices.Contains(results, hold.CommitConflict) {
		err = errors.New("a hold changed between claim and commit")
	}
	return err
}

// captureWrites returns the writes that settle claims as captured.
func captureWrites(claims []hold.Claim) []hold.HoldWrite {
	now := time.Now().UTC().Truncate(time.Millisecond)
	out := make([]hold.HoldWrite, len(claims))
	for i := range claims {
		h := claims[i].Hold
		out[i] = hold.HoldWrite{Version: h.Version, Hold: h, PreviousReference: h.Reference,
			Placement: hold.SortedSetPlacement{SettledAt: now}}
		g := &out[i].Hold
		g.State, g.NextOp, g.NextAt, g.SettledAt, g.CapturedAmount = hold.Captured, 0,
			time.Time{}, now, h.Amount
		out[i].Events = [][]byte{
			[]byte(
				`{"id":"evt","type":"hold.captured","data":{"hold":{"id":"pi_3PxYzA2eZvKYlo2C1gQmT0aB"}}}`,
			)}
	}
	return out
}
