package reconcile_test

import (
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

func (r *replica) newVerifier(listAbove int) *reconcile.Verifier {
	return reconcile.NewVerifier(r.store, r.caller, r.committer, reconcile.VerifierOptions{
		Wake: func() { r.wakes.Add(1) }, ListAbove: listAbove, Locks: r.store, Clock: r.clock,
		Health: r.health,
	})
}

// placeUnverified schedules n authorized holds without a read.
func (r *replica) placeUnverified(n int) (ids []string) {
	for range n {
		id := r.w.authorize("")
		r.place(hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(40 * time.Hour)}, nil)
		ids = append(ids, id)
	}
	return ids
}

func TestVerifier_ListsManyAndReadsFew(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.newReplica()
		w.Sim.Settings.SetRateLimits(-1, -1)
		ids := r.placeUnverified(10)
		gone := r.place(hold.ScheduleRequest{PaymentIntent: "pi_00000000gone",
			CaptureAt: envtest.In(20 * time.Hour)}, nil)
		v := r.newVerifier(0)
		time.Sleep(time.Second)
		// Of eleven holds the list verifies ten. It does not contain the
		// eleventh, which is read by itself, and again ten seconds later.
		v.Run(w.Ctx)
		if lists, reads := w.CountStripeCalls(stripesim.ClassList),
			w.CountStripeCalls(stripesim.ClassRetrieve); lists != 1 || reads != 1 {
			t.Errorf("%d lists, %d reads", lists, reads)
		}
		for _, id := range ids {
			if h := r.hold(id); !h.Verified || h.Amount != 10_000 {
				t.Errorf("%+v", h)
			}
		}
		if h := r.hold(gone.ID); h.State != hold.Scheduled {
			t.Errorf("after one 404: %+v", h)
		}
		time.Sleep(10 * time.Second)
		v.Run(w.Ctx)
		if h := r.hold(gone.ID); h.State != hold.Attention || h.Reason != hold.CauseNotFound {
			t.Errorf("%+v", h)
		}
		ids = r.placeUnverified(2)
		time.Sleep(time.Second)
		v.Run(w.Ctx)
		if lists, reads := w.CountStripeCalls(stripesim.ClassList),
			w.CountStripeCalls(stripesim.ClassRetrieve); lists != 1 || reads != 4 {
			t.Errorf("%d lists, %d reads", lists, reads)
		}
		for _, id := range ids {
			if h := r.hold(id); !h.Verified {
				t.Errorf("%+v", h)
			}
		}
	})
}

// A tick reads what the budget grants within two seconds, and leaves the rest to
// the next.
func TestVerifier_StaysWithinTheBudget(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.newReplica()
		r.placeUnverified(120)
		time.Sleep(time.Second)
		v := r.newVerifier(200)
		began := time.Now()
		v.Run(w.Ctx)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("one tick took %s", took)
		}
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n < 40 || n > 55 {
			t.Errorf("%d reads in one tick", n)
		}
		for range 2 {
			time.Sleep(4 * time.Second)
			v.Run(w.Ctx)
		}
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n != 120 ||
			w.Sim.Stats().RateLimited != 0 {
			t.Errorf("%d reads, %d answers of 429", n, w.Sim.Stats().RateLimited)
		}
	})
}

// Several replicas verify a hold once.
func TestVerifier_OneReplicaAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.newReplica()
		id := r.placeUnverified(1)[0]
		time.Sleep(time.Second)
		var replicas sync.WaitGroup
		for range 3 {
			replicas.Go(func() { r.newVerifier(0).Run(w.Ctx) })
		}
		replicas.Wait()
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n != 1 || !r.hold(id).Verified {
			t.Errorf("%d reads, %+v", n, r.hold(id))
		}
	})
}

// While Stripe rejects the key the verifier probes it, and wakes the
// dispatcher.
func TestVerifier_ProbesAnUnavailableStripe(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.newReplica()
		r.placeUnverified(1)
		time.Sleep(time.Second)
		w.Sim.Keys.RevokeKey(envtest.APIKey)
		v := r.newVerifier(0)
		v.Run(w.Ctx)
		if r.caller.IsStripeAvailable() {
			t.Fatal("the key is not rejected")
		}
		reads := w.CountStripeCalls(stripesim.ClassRetrieve)
		v.Run(w.Ctx)
		if n := r.wakes.Load(); n != 1 {
			t.Errorf("%d wake-ups", n)
		}
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n != reads {
			t.Errorf("%d reads with a rejected key", n-reads)
		}
	})
}
