package store_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

func TestOldestDueAge(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		check := func(what string, since time.Time) {
			t.Helper()
			age, err := e.store.ReadOldestDueAge(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := time.Duration(0)
			if !since.IsZero() {
				want = time.Since(since)
			}
			if d := age - want; d.Abs() > 5*time.Second {
				t.Errorf("%s: %s, want %s", what, age, want)
			}
		}
		check("no hold", time.Time{})
		now := time.Now().Truncate(time.Millisecond)
		e.mustCommit(newScheduledWrite("pi_later", now.Add(time.Hour), farFuture))
		check("none is due", time.Time{})
		e.mustCommit(newScheduledWrite("pi_due", now.Add(-time.Hour), farFuture))
		check("scheduled and due", now.Add(-time.Hour))
		// Among many ready holds, the one with the furthest deadline has waited
		// for longest.
		for i := range 300 {
			w := newReadyWrite("pi_"+strconv.Itoa(i), hold.OpCapture, "",
				nearDeadline.Add(time.Duration(i)*time.Minute))
			w.Hold.NextAt = now.Add(-2 * time.Hour)
			e.mustCommit(w)
		}
		last := newReadyWrite("pi_last", hold.OpCapture, "", farFuture)
		last.Hold.NextAt = now.Add(-3 * time.Hour)
		e.mustCommit(last)
		e.mustPromoteDue(true)
		check("ready", now.Add(-3*time.Hour))
		for range 2 {
			e.mustClaim(captureLane, 200, time.Minute)
		}
		check("all are claimed", time.Time{})
	})
}

// A partition that cannot be read hides no other, and is reported.
func TestOldestDueAge_WrongType(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{Partitions: 2})
	due := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for i := range 8 {
		e.mustCommit(newScheduledWrite("pi_"+strconv.Itoa(i), due, farFuture))
	}
	if err := e.rdb.Set(t.Context(), "holdd:{0}:scheduled", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if age, err := e.store.ReadOldestDueAge(t.Context()); err == nil || age < time.Hour {
		t.Errorf("%s, %v", age, err)
	}
}
