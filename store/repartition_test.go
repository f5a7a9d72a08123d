package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// readContents reads all data about holds in Redis, of all partitions, as a map
// from "set member" to its score or record.
func readContents(
	ctx context.Context, t *testing.T, rdb redis.UniversalClient, parts int,
) map[string]string {
	t.Helper()
	all := map[string]string{}
	put := func(key, name, value string) {
		_, set, _ := strings.Cut(key, "}:")
		if strings.HasPrefix(set, "settled:") {
			set = "settled"
		}
		if _, there := all[set+" "+name]; there && set != "lanes" {
			t.Errorf("%s of %s is in two partitions", name, set)
		}
		all[set+" "+name] = value
	}
	found, err := rdb.Keys(ctx, "holdd:{*}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range found {
		p, err := strconv.Atoi(key[len("holdd:{"):strings.IndexByte(key, '}')])
		if err != nil {
			continue // not a partition's
		}
		if p >= parts {
			t.Errorf("%s is still there", key)
		}
		switch rdb.Type(ctx, key).Val() {
		case "hash":
			for id, rec := range rdb.HGetAll(ctx, key).Val() {
				put(key, id, rec)
			}
		case "zset":
			// Compare only the names of the lanes, and the chunks of settled holds.
			if strings.HasSuffix(key, ":lanes") || strings.HasSuffix(key, ":settled") {
				continue
			}
			for _, z := range rdb.ZRangeWithScores(ctx, key, 0, -1).Val() {
				put(key, z.Member.(string), strconv.FormatFloat(z.Score, 'f', -1, 64))
			}
		}
	}
	return all
}

// populate fills a store with holds in every set.
func populate(t *testing.T, s *store.Store, n int) {
	t.Helper()
	d := rand.New(rand.NewPCG(1, 2))
	var writes []hold.HoldWrite
	for i := range n {
		id := fmt.Sprintf("pi_%06d", i)
		w := newScheduledWrite(id, farFuture.Add(time.Duration(d.IntN(1000))*time.Second),
			farFuture.Add(time.Duration(1000+d.IntN(1000))*time.Second))
		w.Hold.Reference = fmt.Sprintf("BK-%d", i%50)
		w.Placement.MirrorAt = farFuture
		switch i % 7 {
		case 0:
			w.Placement.Ready, w.Hold.Account = true, fmt.Sprintf("acct_%d", i%3)
		case 1:
			w.Placement.Urgent = true
		case 2:
			w.Placement.NeedsAttention = true
		case 3:
			w.Placement.VerifyAt = farFuture
		case 4:
			w.Hold.State, w.Hold.NextOp, w.Hold.NextAt, w.Hold.SettledAt = hold.Captured,
				0, time.Time{}, baseTime
			w.Placement = hold.SortedSetPlacement{SettledAt: baseTime}
		}
		writes = append(writes, w)
	}
	ok, err := s.Commit(t.Context(), writes)
	if err != nil || len(ok) != n {
		t.Fatal(err)
	}
	for i := range n {
		// half of them are holds
		if err := s.RequestRefresh(t.Context(), fmt.Sprintf("pi_%06d", i*2),
			"acct_x", i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRepartition_MovesEveryHold(t *testing.T) {
	r := storetest.StartUnix(t)
	rdb := r.Client()
	defer rdb.Close()
	s, _, err := store.Open(t.Context(), store.Options{URL: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	populate(t, s, n)
	before := readContents(t.Context(), t, rdb, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	parts := 1
	for _, to := range []int{7, 3, 1} {
		progress := int64(0)
		moved, err := store.Repartition(t.Context(), store.Options{URL: r.URL()}, to,
			func(done, total int64) {
				if done < progress || done > total+n || total != n {
					t.Errorf("%d of %d after %d", done, total, progress)
				}
				progress = done
			})
		if err != nil || moved < n/3 || progress < n {
			t.Fatalf("%d moved, progress %d: %v", moved, progress, err)
		}
		if after := readContents(t.Context(), t, rdb, to); !maps.Equal(before, after) {
			t.Fatalf("from %d to %d: %d entries became %d", parts, to, len(before), len(after))
		}
		s, _, err := store.Open(t.Context(), store.Options{URL: r.URL(), Partitions: to})
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{"pi_000000", "pi_000001", "pi_002999"}
		holds, _, err := s.ReadHolds(t.Context(), ids...)
		if err != nil || holds[0] == nil || holds[1] == nil || holds[2] == nil {
			t.Fatalf("%v %v", holds, err)
		}
		due, err := s.PromoteDue(t.Context(), hold.PromoteRequest{Holds: 10})
		ready := 0
		for _, l := range due.Lanes {
			ready += l.Ready
		}
		if err != nil || ready != (n+6)/7 {
			t.Fatalf("%d ready: %v", ready, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		parts = to
	}
	moved, err := store.Repartition(t.Context(), store.Options{URL: r.URL()}, 1, nil)
	if err != nil || moved != 0 {
		t.Errorf("%d moved: %v", moved, err)
	}
}

// cutConn is a connection that breaks after some number of writes.
type cutConn struct {
	net.Conn
	left *atomic.Int64
}

var errConnFailed = errors.New("cut")

func (c cutConn) Write(b []byte) (int, error) {
	if c.left.Add(-1) < 0 {
		return 0, errConnFailed
	}
	return c.Conn.Write(b)
}

// The repartition is interrupted before each of its commands, and then
// finished.
func TestRepartition_Interrupted(t *testing.T) {
	finished := false
	for k := int64(1); !finished; k++ {
		if k > 400 {
			t.Fatal("no end of commands")
		}
		synctest.Test(t, func(t *testing.T) {
			m := storetest.StartInProcess(t)
			o := store.Options{URL: m.URL(), Dialer: m.Dial}
			s, _, err := store.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			populate(t, s, 40)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			rdb := redis.NewClient(&redis.Options{Dialer: m.Dial, MaxRetries: -1,
				MaintNotificationsConfig: &maintnotifications.Config{
					Mode: maintnotifications.ModeDisabled}})
			defer rdb.Close()
			before := readContents(t.Context(), t, rdb, 1)
			var left atomic.Int64
			left.Store(k)
			cutOff := o
			cutOff.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := m.Dial(ctx, network, addr)
				return cutConn{c, &left}, err
			}
			_, err = store.Repartition(t.Context(), cutOff, 3, nil)
			finished = err == nil
			if is := rdb.Get(t.Context(), "holdd:partitions").Val(); strings.Contains(is, ">") {
				if _, _, err := store.Open(t.Context(), o); err == nil ||
					!strings.Contains(err.Error(), "holdd repartition --to 3") ||
					!errors.Is(err, store.ErrInvalidSetting) {
					t.Errorf("opened in the middle: %v", err)
				}
				if _, err := store.Repartition(t.Context(), o, 5, nil); err == nil ||
					!strings.Contains(err.Error(), "run holdd repartition --to 3 first") {
					t.Errorf("divided otherwise in the middle: %v", err)
				}
			}
			if _, err := store.Repartition(t.Context(), o, 3, nil); err != nil {
				t.Fatal(err)
			}
			if after := readContents(t.Context(), t, rdb, 3); !reflect.DeepEqual(before, after) {
				t.Fatalf("cut off at %d: %d entries became %d", k, len(before), len(after))
			}
		})
	}
}

func TestRepartition_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.StartInProcess(t)
		o := store.Options{URL: m.URL(), Dialer: m.Dial}
		refuses := func(to int, why string) {
			t.Helper()
			if moved, err := store.Repartition(t.Context(), o, to, nil); err == nil ||
				!strings.Contains(err.Error(), why) || moved != 0 {
				t.Errorf("%d moved: %v", moved, err)
			}
		}
		refuses(3, "no data of holdd")
		s, _, err := store.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		refuses(0, "1 to 1024")
		refuses(1025, "1 to 1024")
		if _, _, err := s.SendHeartbeat(t.Context(), "desk-1", 40*time.Second); err != nil {
			t.Fatal(err)
		}
		refuses(3, "stop desk-1 first")
		if err := s.DeregisterReplica(t.Context(), "desk-1"); err != nil {
			t.Fatal(err)
		}
		// A replica that passed Open just before sends its first heartbeat
		// after Redis was closed to replicas.
		time.AfterFunc(time.Second, func() {
			if _, _, err := s.SendHeartbeat(t.Context(), "desk-2", 40*time.Second); err != nil {
				t.Error(err)
			}
		})
		refuses(3, "stop desk-2 first")
		if s, _, err := store.Open(t.Context(), o); err != nil { // replicas may start again
			t.Error(err)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // the replica was killed
		if _, err := store.Repartition(t.Context(), o, 3, nil); err != nil {
			t.Error(err)
		}
	})
}
