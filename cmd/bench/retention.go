package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// retentionRun is a Redis with pending holds and with the settled ones that it
// keeps for the retention.
type retentionRun struct {
	*scaleRun
	settled                    int
	plainBytes, referenceBytes float64 // Redis memory for a settled hold, without and with a reference
}

// settledSampleNames are the names of samples of settled holds.
var settledSampleNames = []string{"plain", "referenced"}

// measureRetention measures each operation on a Redis full of settled holds, and
// the memory that each of them takes.
func (b *scaleBench) measureRetention(
	ctx context.Context, settled, pending int,
) ([]table, error) {
	r, err := b.fillRetention(ctx, settled, pending)
	if r != nil {
		defer r.redis.stop()
	}
	if err != nil {
		return nil, err
	}
	defer r.store.Close()
	for round := range scaleRounds {
		if err := r.runOperations(ctx, round); err != nil {
			return nil, err
		}
		if err := r.timeSettledReads(ctx); err != nil {
			return nil, err
		}
	}
	rows := []tableRow{
		{"Redis memory of a settled hold", fmt.Sprintf("%.0f B", r.plainBytes)},
		{"the same, with a reference", fmt.Sprintf("%.0f B", r.referenceBytes)},
		{"Redis memory of a pending hold, with reference and events",
			fmt.Sprintf("%.0f B", r.bytesPerHold)},
	}
	ops := append(slices.Clone(scaleOperations), "list 50 settled", "read 50 settled",
		"purge 100")
	for _, op := range ops {
		rows = append(rows, tableRow{op + ", p50",
			fmt.Sprintf("%.0f µs", float64(r.median(op).Nanoseconds())/1000)})
	}
	b.samples.addOf(settledMemory, settledSampleNames[0], r.plainBytes)
	b.samples.addOf(settledMemory, settledSampleNames[1], r.referenceBytes)
	return []table{{title: "Settled holds in Redis", inDocs: true, rows: rows,
		header: tableRow{"", fmt.Sprintf("%d settled, %d pending", settled, pending)}}}, nil
}

// fillRetention fills a Redis with pending holds, and with settled ones of which
// the second half has a reference.
func (b *scaleBench) fillRetention(
	ctx context.Context, settled, pending int,
) (*retentionRun, error) {
	filled, err := b.fillRedis(ctx, pending)
	if filled == nil {
		return nil, err
	}
	r := &retentionRun{scaleRun: filled, settled: settled}
	if err != nil {
		return r, err
	}
	for half, bytes := range []*float64{&r.plainBytes, &r.referenceBytes} {
		before, err := r.redis.usage(ctx)
		if err != nil {
			return r, err
		}
		if err := b.fillSettled(ctx, r, half*settled/2, settled/2, half == 1); err != nil {
			return r, err
		}
		after, err := r.redis.usage(ctx)
		if err != nil {
			return r, err
		}
		*bytes = float64(after.memory-before.memory) / float64(settled/2)
	}
	return r, nil
}

// fillSettled writes n settled holds, numbered from first on.
func (b *scaleBench) fillSettled(
	ctx context.Context, r *retentionRun, first, n int, references bool,
) error {
	const batch = 250
	const progress = 500_000
	rng := rand.New(rand.NewPCG(uint64(first), 1))
	spacing := 90 * 24 * time.Hour / time.Duration(r.settled)
	began := time.Now().Add(-91 * 24 * time.Hour)
	for from := first; from < first+n; from += batch {
		writes := make([]hold.HoldWrite, 0, batch)
		for i := from; i < min(from+batch, first+n); i++ {
			end := began.Add(time.Duration(i) * spacing).UTC().Truncate(time.Millisecond)
			reference := ""
			if references {
				reference = fmt.Sprintf("BK-2026-%08d", i)
			}
			writes = append(writes, settledWrite(rng, reference, end))
		}
		if err := commitAll(ctx, r.store, writes); err != nil {
			return err
		}
		if done := from + batch; done%progress == 0 {
			b.logf("  %d of %d are settled", done, r.settled)
		}
	}
	return nil
}

// settledWrite writes a hold as it is after a capture on time.
func settledWrite(rng *rand.Rand, reference string, end time.Time) hold.HoldWrite {
	id := fmt.Sprintf("pi_3%023x", rng.Uint64())
	created := end.Add(-5*24*time.Hour - time.Duration(rng.IntN(3600_000))*time.Millisecond)
	amount := 10_000 + rng.Int64N(90_000)
	due := end.Add(-time.Duration(50+rng.IntN(400)) * time.Millisecond)
	h := hold.Hold{
		ID: id, PaymentIntent: id, Reference: reference, Amount: amount, Currency: "eur",
		CaptureAt: due, ExpiresAt: created.Add(7 * 24 * time.Hour),
		ExpiresSource: hold.SourceCharge, OnExpiry: hold.PolicyCancel, State: hold.Captured,
		Revision: 2, Verified: true, CreatedAt: created, SettledAt: end, CapturedAmount: amount,
		Generation: 1, Reason: hold.CauseSchedule,
		Sent: hold.IdempotencyKeyUsage{Count: 1,
			FirstAt: due.Add(time.Duration(rng.IntN(20)) * time.Millisecond)},
		History: []hold.HistoryEntry{
			{At: created, Kind: hold.HistoryScheduled, By: "api"},
			{At: end, Kind: hold.HistoryAttempt, By: "holdd", Op: hold.OpCapture,
				Key:       fmt.Sprintf("holdd-%s-capture-%016x-1", id, rng.Uint64()),
				RequestID: fmt.Sprintf("req_%014x", rng.Uint64()>>8), Answer: hold.AnswerOK},
			{At: end, Kind: hold.HistoryOutcome, By: "holdd", Cause: hold.CauseSchedule},
		},
	}
	return hold.HoldWrite{Hold: h, Placement: hold.SortedSetPlacement{SettledAt: end}}
}

// timeSettledReads times what reads settled holds, and the purge of 100.
func (r *retentionRun) timeSettledReads(ctx context.Context) error {
	var page query.HoldPage
	if err := r.timeOperation("list 50 settled", func() (err error) {
		page, err = r.worker.Reader.List(ctx, query.HoldQuery{State: hold.Captured, Limit: 50})
		if err == nil && len(page.Holds) != 50 {
			err = fmt.Errorf("found %d holds, want 50", len(page.Holds))
		}
		return err
	}); err != nil {
		return err
	}
	ids := make([]string, len(page.Holds))
	for i := range page.Holds {
		ids[i] = page.Holds[i].ID
	}
	if err := r.timeOperation("read 50 settled", func() error {
		_, _, err := r.store.ReadHolds(ctx, ids...)
		return err
	}); err != nil {
		return err
	}
	return r.timeOperation("purge 100", func() error { return purge(ctx, r.store, 100) })
}

// purge deletes the n holds that were settled first.
func purge(ctx context.Context, st *store.Store, n int) error {
	found, _, err := st.ListHoldsSettledBefore(ctx, time.Now(), &hold.SettledCursor{}, n)
	if err != nil {
		return err
	}
	if len(found) != n {
		return errors.New("too few holds are settled")
	}
	drops := make([]hold.HoldWrite, n)
	for i := range found {
		h := found[i].Hold
		drops[i] = hold.HoldWrite{Version: h.Version, Hold: h, PreviousReference: h.Reference,
			Drop: true}
	}
	return commitAll(ctx, st, drops)
}
