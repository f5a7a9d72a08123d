package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

// settledLife returns the write that creates a hold as it is after a capture on
// time: scheduled through the API, sent once, captured.
func settledLife(rng *rand.Rand, i int, reference string) hold.HoldWrite {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = base62[rng.IntN(len(base62))]
		}
		return string(b)
	}
	id := "pi_3" + random(23)
	// One settles a second. Redis commits them roughly in this order.
	end := baseTime.Add(time.Duration(i)*time.Second + time.Duration(rng.IntN(3000))*time.Millisecond)
	created, due := end.Add(-120*time.Hour-time.Duration(rng.IntN(7200_000))*time.Millisecond),
		end.Add(-time.Duration(50+rng.IntN(400))*time.Millisecond)
	amount := 10_000 + rng.Int64N(90_000)
	key := fmt.Sprintf("holdd-%s-capture-%016x-1", id, rng.Uint64())
	h := hold.Hold{
		ID: id, PaymentIntent: id, Reference: reference, Amount: amount, Currency: "eur",
		CaptureAt: due, ExpiresAt: created.Add(168 * time.Hour), ExpiresSource: hold.SourceCharge,
		OnExpiry: hold.PolicyCancel, State: hold.Captured, Revision: 2, Verified: true,
		CreatedAt: created, SettledAt: end, CapturedAmount: amount, Generation: 1,
		Reason: hold.CauseSchedule,
		Sent: hold.IdempotencyKeyUsage{Count: 1,
			FirstAt: due.Add(time.Duration(rng.IntN(20)) * time.Millisecond)},
		History: []hold.HistoryEntry{
			{At: created, Kind: hold.HistoryScheduled, By: "api"},
			{At: end, Kind: hold.HistoryAttempt, By: "holdd", Op: hold.OpCapture, Key: key,
				RequestID: "req_" + random(14), Answer: hold.AnswerOK},
			{At: end, Kind: hold.HistoryOutcome, By: "holdd", Cause: hold.CauseSchedule},
		},
	}
	return hold.HoldWrite{Hold: h, Placement: hold.SortedSetPlacement{SettledAt: end}}
}

// keyMemory returns the memory of all keys, in bytes.
func (e *testStore) keyMemory() (sum int64) {
	e.Helper()
	for _, key := range e.keysMatching("*") {
		n, err := e.rdb.MemoryUsage(e.Context(), key, 0).Result()
		if err != nil {
			e.Fatal(err)
		}
		sum += n
	}
	return sum
}

// Most holds in Redis are settled ones, which wait for the end of the
// retention.
func TestMemory_SettledHold(t *testing.T) {
	t.Parallel()
	const n = 50_000
	for name, tt := range map[string]struct {
		reference string
		most      int
	}{
		"without a reference": {"", 200},
		"with a reference":    {"BK-2026-%08d", 355},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startRedis(t, store.Options{})
			rng := rand.New(rand.NewPCG(1, 2))
			for i := 0; i < n; {
				var writes []hold.HoldWrite
				for ; len(writes) < 250 && i < n; i++ {
					reference := tt.reference
					if reference != "" {
						reference = fmt.Sprintf(reference, i)
					}
					writes = append(writes, settledLife(rng, i, reference))
				}
				e.mustCommit(writes...)
			}
			each := int(e.keyMemory()) / n
			t.Logf("%d bytes for each settled hold", each)
			if each > tt.most {
				t.Errorf("%d bytes for each settled hold, want at most %d", each, tt.most)
			}
		})
	}
}
