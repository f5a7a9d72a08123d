package store_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// testStore is a store and a client that reads its Redis.
type testStore struct {
	testing.TB
	store *store.Store
	rdb   redis.UniversalClient
}

// startRedis opens a store on a redis-server of its own.
func startRedis(t testing.TB, o store.Options, args ...string) *testStore {
	t.Helper()
	r := storetest.StartUnix(t, args...)
	o.URL = r.URL()
	c := r.Client()
	t.Cleanup(func() { c.Close() })
	return &testStore{TB: t, store: mustOpen(t, o), rdb: c}
}

// startMiniredis opens a store on a miniredis without a socket. It hides its
// settings, so the store warns about it.
func startMiniredis(t testing.TB, o store.Options) *testStore {
	t.Helper()
	m := storetest.StartInProcess(t)
	o.URL, o.Dialer = m.URL(), m.Dial
	c := redis.NewClient(&redis.Options{
		Dialer: m.Dial, MaxRetries: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { c.Close() })
	return &testStore{TB: t, store: mustOpen(t, o), rdb: c}
}

func mustOpen(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, _, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// onRedisAndMiniredis runs a test on Redis and on miniredis, which the
// simulation uses: both must behave the same.
func onRedisAndMiniredis(t *testing.T, f func(t *testing.T, e *testStore)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { f(t, startRedis(t, store.Options{})) })
	t.Run("miniredis", func(t *testing.T) { f(t, startMiniredis(t, store.Options{})) })
}

// baseTime is a fixed time in the past.
var baseTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// farFuture is a time that no test reaches.
var farFuture = time.Now().Add(90 * 24 * time.Hour).UTC().Truncate(time.Second)

// newScheduledWrite returns the write that creates a hold to capture at due.
func newScheduledWrite(id string, due, deadline time.Time) hold.HoldWrite {
	return hold.HoldWrite{
		Hold: hold.Hold{
			ID: id, PaymentIntent: id, Amount: 12_300, Currency: "eur", CaptureAt: due,
			ExpiresAt: deadline, ExpiresSource: hold.SourceCharge,
			OnExpiry: hold.PolicyCancel, State: hold.Scheduled, Revision: 1, Verified: true,
			CreatedAt: baseTime, Generation: 1,
			NextOp: hold.OpCapture, NextAt: due, Reason: hold.CauseSchedule,
			History: []hold.HistoryEntry{{At: baseTime, Kind: hold.HistoryScheduled, By: "api"}},
		},
		Placement: hold.SortedSetPlacement{DueAt: due, NextMilestone: deadline.Add(-time.Hour)},
	}
}

// newReadyWrite returns the write that creates a due hold.
func newReadyWrite(id string, op hold.Op, account string, deadline time.Time) hold.HoldWrite {
	w := newScheduledWrite(id, baseTime, deadline)
	w.Hold.NextOp, w.Hold.Account = op, account
	w.Placement.Ready = true
	return w
}

// newUpdateWrite returns a write that changes a hold that was read or claimed.
// The caller sets its Hold and Placement.
func newUpdateWrite(h hold.Hold) hold.HoldWrite {
	return hold.HoldWrite{Version: h.Version, Hold: h, PreviousReference: h.Reference}
}

// capturedWrite returns the write that settles a claimed hold as captured.
func capturedWrite(h hold.Hold, end time.Time) hold.HoldWrite {
	w := newUpdateWrite(h)
	w.Hold.State, w.Hold.NextOp, w.Hold.NextAt, w.Hold.SettledAt, w.Hold.CapturedAmount = hold.Captured,
		0, time.Time{}, end, h.Amount
	w.Placement = hold.SortedSetPlacement{SettledAt: end}
	return w
}

func (e *testStore) tryCommit(writes ...hold.HoldWrite) []bool {
	e.Helper()
	results, err := e.store.Commit(e.Context(), writes)
	if err != nil {
		e.Fatal(err)
	}
	committed := make([]bool, len(results))
	for i, r := range results {
		committed[i] = r.IsCommitted()
	}
	return committed
}

// mustCommit commits writes, and fails the test if one is not committed.
func (e *testStore) mustCommit(writes ...hold.HoldWrite) {
	e.Helper()
	for i, ok := range e.tryCommit(writes...) {
		if !ok {
			e.Fatalf("%s was not committed", writes[i].Hold.ID)
		}
	}
}

func (e *testStore) mustRead(id string) *hold.Hold {
	e.Helper()
	h, _, err := e.store.ReadHolds(e.Context(), id)
	if err != nil {
		e.Fatal(err)
	}
	return h[0]
}

func (e *testStore) mustPromoteDue(promote bool) hold.PromoteResult {
	e.Helper()
	d, err := e.store.PromoteDue(e.Context(), hold.PromoteRequest{Scheduled: promote, Holds: 256})
	if err != nil {
		e.Fatal(err)
	}
	return d
}

func (e *testStore) mustClaim(
	l hold.ReadyHoldLane,
	n int,
	lease time.Duration,
) ([]hold.Claim, time.Time) {
	e.Helper()
	c, now, err := claimLane(e.Context(), e.store, l, n, lease, time.Time{})
	if err != nil {
		e.Fatal(err)
	}
	return c, now
}

// claimLane claims up to n holds of one lane. It also returns when the leases
// began.
func claimLane(
	ctx context.Context,
	s *store.Store,
	l hold.ReadyHoldLane,
	n int,
	lease time.Duration,
	until time.Time,
) ([]hold.Claim, time.Time, error) {
	c, err := s.ClaimReadyHolds(ctx, []hold.ClaimShare{{Lane: l, Holds: n, Until: until}}, lease)
	return c[0].Claims, c[0].LeasedAt, err
}

// dumpRedis returns the contents of Redis, one line per member, with the names
// of times. Other times are "?", and zero is "-".
func (e *testStore) dumpRedis(names map[time.Time]string) string {
	e.Helper()
	ctx := e.Context()
	formatTime := func(ms int64) string {
		if ms == 0 {
			return "-"
		}
		for t, name := range names {
			if t.UnixMilli() == ms {
				return name
			}
		}
		return "?"
	}
	keys, err := e.rdb.Keys(ctx, "*").Result()
	if err != nil {
		e.Fatal(err)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		short := strings.TrimPrefix(k, "holdd:{0}:")
		switch e.rdb.Type(ctx, k).Val() {
		case "hash":
			m := e.rdb.HGetAll(ctx, k).Val()
			for _, id := range sortedKeys(m) {
				fmt.Fprintf(&b, "%s %s %s\n", short, id, formatRecordHeader(m[id], formatTime))
			}
		case "zset":
			for _, z := range e.rdb.ZRangeWithScores(ctx, k, 0, -1).Val() {
				fmt.Fprintf(&b, "%s %s %s\n", short,
					strings.ReplaceAll(z.Member.(string), "\x00", "|"),
					formatTime(int64(z.Score)))
			}
		case "stream":
			for _, m := range e.rdb.XRange(ctx, k, "-", "+").Val() {
				fmt.Fprintf(&b, "%s %v\n", short, m.Values["event"])
			}
		}
	}
	return b.String()
}

// formatRecordHeader returns the header of a record as text.
func formatRecordHeader(rec string, formatTime func(int64) string) string {
	if len(rec) < 23 || rec[0] != 1 {
		return fmt.Sprintf("%q", rec)
	}
	n := func(off int) int64 {
		return int64(binary.BigEndian.Uint64([]byte("\x00\x00" + rec[off:off+6])))
	}
	version := n(4)
	v := fmt.Sprintf("v%d", version)
	if version > 1<<32 {
		v = "v?" // a fencing token drawn from the clock
	}
	return strings.TrimSpace(
		fmt.Sprintf("%s %s<%s %s since:%s deadline:%s %s", v, hold.State(rec[1]),
			hold.State(rec[2]), hold.Op(rec[3]),
			formatTime(n(10)), formatTime(n(16)), rec[23:23+int(rec[22])]))
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// trimLines removes the indentation and the empty lines of a raw string.
func trimLines(s string) string {
	var out []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// partitionContents reads a whole partition atomically.
func (e *testStore) partitionContents(p int) (holds map[string]string, sets map[string][]string) {
	e.Helper()
	pre := fmt.Sprintf("holdd:{%d}:", p)
	const script = `local out = {redis.call('HGETALL', KEYS[1] .. 'holds')}
		for _, k in ipairs(redis.call('KEYS', ARGV[1])) do
			if redis.call('TYPE', k).ok == 'zset' then out[#out+1] = {k, redis.call('ZRANGE', k, 0, -1)} end
		end
		return out`
	all, err := e.rdb.Eval(context.Background(), script, []string{pre},
		fmt.Sprintf("holdd:\\{%d\\}:*", p)).Slice()
	if err != nil {
		e.Fatal(err)
	}
	strs := func(v any) (out []string) {
		for _, s := range v.([]any) {
			out = append(out, s.(string))
		}
		return out
	}
	holds, sets = map[string]string{}, map[string][]string{}
	for h := strs(all[0]); len(h) > 0; h = h[2:] {
		holds[h[0]] = h[1]
	}
	for _, s := range all[1:] {
		set := strings.TrimPrefix(s.([]any)[0].(string), pre)
		if set == "settled" { // the chunks have the holds
			continue
		}
		if strings.HasPrefix(set, "settled:") {
			set = "settled"
		}
		sets[set] = append(sets[set], strs(s.([]any)[1])...)
	}
	return holds, sets
}

// checkInvariants checks the invariants of every partition.
func (e *testStore) checkInvariants(partitions int) {
	e.Helper()
	for p := range partitions {
		holds, members := e.partitionContents(p)
		sets := map[string]map[string]bool{}
		load := func(key string) map[string]bool {
			set := map[string]bool{}
			for _, m := range members[key] {
				id := m[strings.IndexByte(m, 0)+1:]
				if _, ok := holds[id]; !ok {
					e.Errorf("partition %d: %s names %q, which doesn't exist", p, key, id)
				}
				set[id] = true
			}
			sets[key] = set
			return set
		}
		queued := map[string]string{}
		queue := func(key string) {
			for id := range load(key) {
				if other := queued[id]; other != "" {
					e.Errorf("partition %d: %s is in %s and in %s", p, id, other, key)
				}
				queued[id] = key
			}
		}
		queue("scheduled")
		queue("leased")
		lanes := map[string]bool{}
		for _, l := range members["lanes"] {
			lanes[l] = true
		}
		for key := range members {
			lane, ok := strings.CutPrefix(key, "ready:")
			if !ok {
				continue
			}
			queue("ready:" + lane)
			if !lanes[lane] {
				e.Errorf("partition %d: lane %s has holds and is not among the lanes", p, lane)
			}
			for id := range sets["ready:"+lane] {
				rec := holds[id]
				if rec == "" {
					continue // reported above
				}
				if want := fmt.Sprintf("%d:%s", rec[3], rec[23:23+int(rec[22])]); lane != want {
					e.Errorf("partition %d: %s waits in lane %s, its record says %s", p, id, lane,
						want)
				}
			}
		}
		for _, key := range []string{"expiring", "attention", "settled",
			"unverified", "references"} {
			load(key)
		}
		for id, rec := range holds {
			st := hold.State(rec[1])
			switch {
			case st.IsFinal() && (queued[id] != "" || sets["expiring"][id] || sets["attention"][id] ||
				sets["unverified"][id] || !sets["settled"][id]):
				e.Errorf("partition %d: %s is %s and still has a place: queue %q, expiring %t", p,
					id,
					st, queued[id], sets["expiring"][id])
			case !st.IsFinal() && (!sets["expiring"][id] || sets["settled"][id]):
				e.Errorf("partition %d: %s is %s, in expiring: %t, in settled: %t", p, id, st,
					sets["expiring"][id], sets["settled"][id])
			case (st == hold.Scheduled || st == hold.Working) && queued[id] == "":
				e.Errorf("partition %d: %s is %s and in no queue: nothing will ever happen to it",
					p, id, st)
			}
		}
	}
}

func (e *testStore) keysMatching(pattern string) []string {
	e.Helper()
	pattern = strings.ReplaceAll(strings.ReplaceAll(pattern, "{", "\\{"), "}", "\\}")
	if c, ok := e.rdb.(*redis.ClusterClient); ok {
		found := make(chan []string, 64)
		if err := c.ForEachMaster(e.Context(), func(ctx context.Context, m *redis.Client) error {
			k, err := m.Keys(ctx, pattern).Result()
			found <- k
			return err
		}); err != nil {
			e.Fatal(err)
		}
		close(found)
		var all []string
		for k := range found {
			all = append(all, k...)
		}
		return all
	}
	k, err := e.rdb.Keys(e.Context(), pattern).Result()
	if err != nil {
		e.Fatal(err)
	}
	return k
}

// callReaders calls every method that only reads.
func callReaders(e *testStore) {
	e.Helper()
	ctx := e.Context()
	found, now, err := e.store.ListDueMilestones(ctx, 10)
	if err != nil || len(found) != 2 || found[0].Hold.ID != "pi_a" ||
		!found[0].DueAt.Equal(milestoneTime) || now.IsZero() {
		e.Errorf("milestones: %+v, %v", found, err)
	}
	if u, _, err := e.store.ListUnverifiedHolds(ctx, 10); err != nil || len(u) != 0 {
		e.Errorf("unverified: %+v, %v", u, err)
	}
	if s, _, err := e.store.ListHoldsSettledBefore(ctx, farDeadline, &hold.SettledCursor{},
		10); err != nil || len(s) != 0 {
		e.Errorf("settled: %+v, %v", s, err)
	}
	for _, set := range []hold.SortedSet{hold.SetScheduled, hold.SetExpiring, hold.SetWorking,
		hold.SetAttention, hold.SetSettled, hold.SetReferences, hold.SetDoubleHeld} {
		if _, _, err := e.store.ReadSortedSetPage(ctx, set, hold.SortedSetPosition{}, 10); err != nil {
			e.Error(err)
		}
	}
	holds, _, err := e.store.ReadHolds(ctx, "pi_b", "pi_none", "pi_a")
	if err != nil || holds[0].ID != "pi_b" || holds[1] != nil || holds[2].ID != "pi_a" {
		e.Errorf("read: %v, %v", holds, err)
	}
	if _, now, err := e.store.ReadHolds(ctx); err != nil || now.IsZero() {
		e.Errorf("Read without ids: time %v, %v", now, err)
	}
	if c, err := e.store.CountHolds(ctx); err != nil || c != (hold.HoldCounts{Open: 2,
		Scheduled: 1, Ready: 1}) {
		e.Errorf("counts: %+v, %v", c, err)
	}
}
