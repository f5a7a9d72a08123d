package store_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
)

// Another replica takes over an unfinished run when its lock ends, and the
// previous holder of the lock can no longer save.
func TestReconcileRuns_TakeOver(t *testing.T) {
	r := storetest.Start(t)
	s, _, err := store.Open(t.Context(), store.Options{URL: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	if state, _, locked, done, err := s.ReadReconcileRun(ctx, 10); err != nil ||
		state != nil || locked || done {
		t.Fatal(string(state), locked, done, err)
	}
	begin := func(lease, stale, gap time.Duration) (int64, string) {
		t.Helper()
		token, found, err := s.BeginOrResumeReconcileRun(ctx, []byte("new"), lease, stale, gap)
		if err != nil {
			t.Fatal(err)
		}
		return token, string(found)
	}
	save := func(
		token int64, state string, lease time.Duration, done bool, findings ...string,
	) bool {
		t.Helper()
		var list [][]byte
		for _, f := range findings {
			list = append(list, []byte(f))
		}
		ok, err := s.SaveReconcileRunIfLockHeld(ctx, token, []byte(state), list, lease, done)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	first, found := begin(time.Minute, time.Hour, 0)
	if first == 0 || found != "" {
		t.Fatal(first, found)
	}
	if token, _ := begin(time.Minute, time.Hour, 0); token != 0 {
		t.Error("two hold the lock")
	}
	if !save(first, "page 1", 50*time.Millisecond, false, "a", "b") {
		t.Error("the holder was refused")
	}
	var second int64
	storetest.WaitUntil(t, 5*time.Second, "the lock's end", func() bool {
		second, found = begin(time.Minute,
			time.Hour, 0)
		return second != 0
	})
	if found != "page 1" || second <= first {
		t.Errorf("%q, token %d after %d", found, second, first)
	}
	if save(first, "page 9", time.Minute, false, "late") {
		t.Error("who lost the lock wrote")
	}
	if !save(second, "page 2", 0, true, "c") {
		t.Error("the holder was refused")
	}
	state, findings, locked, done, err := s.ReadReconcileRun(ctx, 2)
	if err != nil || string(state) != "page 2" || locked || !done || len(findings) != 2 ||
		string(findings[0]) != "a" {
		t.Error(string(state), len(findings), locked, done, err)
	}
	if token, _ := begin(time.Minute, time.Hour, time.Hour); token != 0 {
		t.Error("another run within the same turn")
	}
	third, found := begin(0, time.Hour, 0)
	if third <= second || found != "" {
		t.Error(third, found)
	}
	if _, findings, _, _, _ := s.ReadReconcileRun(ctx, 10); len(findings) != 0 {
		t.Error("findings of the run before are left")
	}
	// An unfinished run that is too old is not taken over.
	storetest.WaitUntil(t, 5*time.Second, "a moment", func() bool {
		third, found = begin(time.Minute, 0,
			0)
		return third != 0
	})
	if found != "" {
		t.Errorf("went on with %q", found)
	}
	for range 11 {
		many := make([]string, 100)
		save(third, "x", time.Minute, false, many...)
	}
	if _, findings, _, _, _ := s.ReadReconcileRun(ctx, 5000); len(findings) != 1000 {
		t.Errorf("%d findings", len(findings))
	}
}

func TestDetectDataLoss_ReportedToOneReplica(t *testing.T) {
	r := storetest.Start(t)
	o := store.Options{URL: r.URL(), Partitions: 3}
	var stores []*store.Store
	for range 2 {
		s, _, err := store.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores = append(stores, s)
	}
	raw := r.Client()
	defer raw.Close()
	replicasTold := func() (n int) {
		for _, s := range stores {
			emptied, err := s.DetectDataLossAndRestoreProperties(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if emptied {
				n++
			}
		}
		return n
	}
	if n := replicasTold(); n != 0 {
		t.Errorf("%d say that it was emptied", n)
	}
	token, _, err := stores[0].BeginOrResumeReconcileRun(
		t.Context(),
		[]byte("x"),
		time.Minute,
		time.Hour,
		0,
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	ok, err := stores[0].SaveReconcileRunIfLockHeld(
		t.Context(),
		token,
		[]byte("y"),
		nil,
		time.Minute,
		false,
	)
	if ok || err != nil {
		t.Error("a run that Redis has forgotten goes on", err)
	}
	if n := replicasTold(); n != 1 {
		t.Errorf("%d say that it was emptied", n)
	}
	if n := replicasTold(); n != 0 {
		t.Errorf("%d say so again", n)
	}
	if v, _ := raw.Get(t.Context(), "holdd:partitions").Result(); v != "3" {
		t.Errorf("partitions: %q", v)
	}
}
