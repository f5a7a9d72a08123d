package store_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

// Redis dies again and again in the midst of it all, and comes back with its append-only file.
func TestKilledRedisLosesNothingThatItAcknowledged(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	s := mustOpen(t, store.Options{URL: r.URL(), Partitions: 3})
	raw := r.Client()
	defer raw.Close()
	e := &env{TB: t, s: s, rdb: raw}
	c := newCrew(e)
	const n = 1000
	kills := 0
	c.work(n, func() {
		for i := range 4 {
			storetest.Until(t, 30*time.Second, "it gets on", func() bool {
				counts, err := s.Counts(t.Context())
				return err == nil && counts.Settled > int64(i*n/6)
			})
			r.Kill()
			r.Restart()
			kills++
			e.invariants(3) // each script is in the file whole or not at all
		}
	})
	c.env = e
	if c.failures == 0 {
		t.Error("nobody noticed: it tested nothing")
	}
	t.Logf("%d kills, %d calls failed", kills, c.failures)
	c.complete(n, 3)
	c.eachEventOnce(n, 3)
}

// A Redis that hangs: calls end by their time-out, and what was under way is found again.
func TestPausedRedis(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	s := mustOpen(t, store.Options{URL: r.URL() + "?read_timeout=200ms&write_timeout=200ms&dial_timeout=200ms"})
	raw := r.Client()
	defer raw.Close()
	e := &env{TB: t, s: s, rdb: raw}
	w := ready("pi_a", 1, "", dead)
	w.Events = [][]byte{[]byte("once")}
	r.Pause()
	began := time.Now()
	if _, err := s.Commit(t.Context(), []hold.Write{w}); err == nil {
		t.Fatal("a stopped Redis has committed")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	r.Resume()
	storetest.Until(t, 10*time.Second, "it answers again", func() bool { return s.Ping(t.Context()) == nil })
	e.put(w)
	if ev := e.events(1); len(ev) != 1 {
		t.Errorf("events: %v", ev)
	}
	e.invariants(1)
}
