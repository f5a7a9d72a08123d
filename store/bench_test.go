package store_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

// storeWithPendingHolds returns a store with n holds that are not due, with ids
// as long as Stripe's.
func storeWithPendingHolds(b *testing.B, n int) *testStore {
	b.Helper()
	e := startRedis(b, store.Options{})
	for from := 0; from < n; from += 1000 {
		var writes []hold.HoldWrite
		for i := from; i < min(from+1000, n); i++ {
			w := newScheduledWrite(fmt.Sprintf("pi_3PxYzA2eZvKYlo2C%08d", i),
				farFuture.Add(time.Duration(i)*time.Second),
				farFuture.Add(time.Duration(i)*time.Minute))
			w.Hold.Reference, w.Placement.NextMilestone = fmt.Sprintf("BK-%06d", i),
				w.Hold.ExpiresAt.Add(-time.Hour)
			writes = append(writes, w)
		}
		e.mustCommit(writes...)
	}
	return e
}

func benchmarkSizes(b *testing.B, f func(b *testing.B, e *testStore)) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("pending=%d", n), func(b *testing.B) {
			e := storeWithPendingHolds(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			f(b, e)
		})
	}
}

// hundredReadyHolds returns writes that create a hundred due holds.
func hundredReadyHolds(round int) []hold.HoldWrite {
	writes := make([]hold.HoldWrite, 100)
	for i := range writes {
		writes[i] = newReadyWrite(fmt.Sprintf("pi_3PxYzA2eZvNew%06d%04d", round, i), hold.OpCapture,
			"",
			nearDeadline.Add(time.Duration(i)*time.Second))
		writes[i].Hold.Reference = fmt.Sprintf("BK-%06d", i)
		writes[i].Events = [][]byte{
			[]byte(`{"id":"evt","type":"hold.scheduled","data":{"hold":{"id":"pi_3PxYzA2eZvKYlo2C1gQmT0aB"}}}`)}
	}
	return writes
}

func (e *testStore) deleteHolds(ids ...string) {
	e.Helper()
	holds, _, err := e.store.ReadHolds(e.Context(), ids...)
	if err != nil {
		e.Fatal(err)
	}
	var writes []hold.HoldWrite
	for _, h := range holds {
		w := newUpdateWrite(*h)
		w.Drop = true
		writes = append(writes, w)
	}
	e.mustCommit(writes...)
}

func BenchmarkCommit_100NewHolds(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, e *testStore) {
		for round := 0; b.Loop(); round++ {
			b.StopTimer()
			writes := hundredReadyHolds(round)
			b.StartTimer()
			e.mustCommit(writes...)
			b.StopTimer()
			var ids []string
			for _, w := range writes {
				ids = append(ids, w.Hold.ID)
			}
			e.deleteHolds(ids...)
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/hold")
	})
}

func BenchmarkClaim_100Holds(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, e *testStore) {
		for round := 0; b.Loop(); round++ {
			b.StopTimer()
			e.mustCommit(hundredReadyHolds(round)...)
			b.StartTimer()
			claims, _ := e.mustClaim(captureLane, 100, time.Minute)
			b.StopTimer()
			if len(claims) != 100 {
				b.Fatalf("claimed %d", len(claims))
			}
			e.deleteHolds(claimedIDs(claims)...)
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/hold")
	})
}

func BenchmarkCommit_100SettledHolds(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, e *testStore) {
		for round := 0; b.Loop(); round++ {
			b.StopTimer()
			e.mustCommit(hundredReadyHolds(round)...)
			claims, _ := e.mustClaim(captureLane, 100, time.Minute)
			ends := make([]hold.HoldWrite, len(claims))
			for i := range claims {
				ends[i] = capturedWrite(claims[i].Hold, changedTime)
				ends[i].Events = [][]byte{
					[]byte(`{"id":"evt","type":"hold.captured","data":{"hold":{"id":"pi_3PxYzA2eZvKYlo2C1gQmT0aB"}}}`)}
			}
			b.StartTimer()
			e.mustCommit(ends...)
			b.StopTimer()
			e.deleteHolds(claimedIDs(claims)...)
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/hold")
	})
}

func BenchmarkPromoteDue_Idle(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, e *testStore) {
		for b.Loop() {
			if d := e.mustPromoteDue(true); d.PromotedHolds != 0 {
				b.Fatal(d)
			}
		}
	})
}

func BenchmarkReadPage_100Holds(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, e *testStore) {
		for b.Loop() {
			listed, _, err := e.store.ReadSortedSetPage(b.Context(), hold.SetExpiring,
				hold.SortedSetPosition{Score: farFuture.UnixMilli() + 1}, 100)
			if err != nil || len(listed) != 100 {
				b.Fatal(len(listed), err)
			}
		}
	})
}

// BenchmarkRedisMemoryPerHold measures the bytes of Redis for a pending hold:
// by MEMORY USAGE of each key, and by used_memory.
func BenchmarkRedisMemoryPerHold(b *testing.B) {
	const n = 100_000
	empty := usedMemory(storeWithPendingHolds(b, 0))
	e := storeWithPendingHolds(b, n)
	bytes, total := map[string]float64{}, 0.0
	for _, key := range []string{"holds", "scheduled", "expiring", "references"} {
		bytes[key+"-B/hold"] = float64(
			e.rdb.MemoryUsage(b.Context(), "holdd:{0}:"+key, 0).Val()) / n
		total += bytes[key+"-B/hold"]
	}
	bytes["B/hold"], bytes["used_memory-B/hold"] = total, (usedMemory(e)-empty)/n
	for b.Loop() { // it was measured once: there is nothing to repeat
	}
	for unit, v := range bytes {
		b.ReportMetric(v, unit)
	}
}

func usedMemory(e *testStore) float64 {
	for line := range strings.Lines(e.rdb.Info(e.Context(), "memory").Val()) {
		if v, ok := strings.CutPrefix(line, "used_memory:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				e.Fatal(err)
			}
			return n
		}
	}
	e.Fatal("Redis doesn't tell its memory")
	return 0
}

// BenchmarkPromoteClaimCommit takes holds from the schedule to their end as the
// worker does, 64 at a time, and measures the CPU time of Redis.
func BenchmarkPromoteClaimCommit(b *testing.B) {
	const n, at64 = 20_000, 64
	event := []byte(
		`{"id":"evt_3PxYzA2eZvKYlo2C00000000_1764547200001_1","type":"hold.captured","timestamp":"2026-03-01T12:00:00.123Z","data":{"hold":{"id":"` +
			strings.Repeat("x", 480) + `"},"cause":"schedule"}}`)
	for b.Loop() {
		b.StopTimer()
		e := startRedis(b, store.Options{}, "--appendonly", "yes")
		var writes []hold.HoldWrite
		for i := range n {
			w := newScheduledWrite(fmt.Sprintf("pi_3PxYzA2eZvKYlo2C%08d", i),
				baseTime.Add(time.Duration(i)*time.Second),
				farFuture.Add(time.Duration(i)*time.Minute))
			w.Hold.Reference, w.Placement.NextMilestone = fmt.Sprintf("BK-%06d", i),
				w.Hold.ExpiresAt.Add(-time.Hour)
			writes = append(writes, w)
		}
		for part := range slices.Chunk(writes, 500) {
			e.mustCommit(part...)
		}
		before := e.redisCPU()
		b.StartTimer()
		for left := n; left > 0; {
			e.mustPromoteDue(true)
			for range 4 {
				claims, _ := e.mustClaim(captureLane, at64, time.Minute)
				ends := make([]hold.HoldWrite, len(claims))
				for i := range claims {
					h := claims[i].Hold
					end := changedTime.Add(time.Duration(n-left+i) * time.Millisecond)
					h.History = append(h.History, hold.HistoryEntry{At: end,
						Kind: hold.HistoryAttempt, Op: hold.OpCapture,
						Key:       "holdd-" + h.ID + "-capture-0123456789abcdef-1",
						RequestID: "req_b7pQ2mXw9ZkLrT", Answer: hold.AnswerOK})
					ends[i] = capturedWrite(h, end)
					ends[i].Events = [][]byte{event}
				}
				e.mustCommit(ends...)
				left -= len(claims)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64((e.redisCPU()-before).Microseconds())/n, "redis-µs/hold")
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/hold")
}

// redisCPU is the CPU time that Redis has used.
func (e *testStore) redisCPU() time.Duration {
	var sum time.Duration
	for line := range strings.Lines(e.rdb.Info(e.Context(), "cpu").Val()) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		if k == "used_cpu_user" || k == "used_cpu_sys" {
			s, err := strconv.ParseFloat(v, 64)
			if err != nil {
				e.Fatal(err)
			}
			sum += time.Duration(s * float64(time.Second))
		}
	}
	return sum
}
