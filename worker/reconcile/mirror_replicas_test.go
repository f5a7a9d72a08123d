package reconcile_test

import (
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// newMirror returns the mirror of a replica.
func (r *replica) newMirror() *reconcile.MetadataMirror {
	return reconcile.NewMetadataMirror(r.store, r.store, r.caller, r.committer,
		reconcile.MetadataMirrorOptions{Enabled: true, Clock: r.clock, Health: r.health, Logger: r.w.Log,
			WaitedForBudget: func(time.Duration) bool { return false }})
}

// placeUnmirrored places n holds whose terms are not at Stripe.
func (r *replica) placeUnmirrored(n int) (ids []string) {
	for range n {
		id := r.w.authorize("")
		r.place(hold.ScheduleRequest{PaymentIntent: id}, r.retrieve(id, ""))
		ids = append(ids, id)
	}
	return ids
}

func (r *replica) countMirrored(ids []string) (n int) {
	for _, id := range ids {
		if r.hold(id).Mirrored {
			n++
		}
	}
	return n
}

func TestMirror_ReplicasWriteEachHoldOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		var replicas []*replica
		for range 3 {
			replicas = append(replicas, w.newReplica())
		}
		ids := replicas[0].placeUnmirrored(30)
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassUpdate,
			Fault: stripesim.Fault{RequestDelay: 200 * time.Millisecond}})
		for range 2 { // the second tick finds nothing
			var ticks sync.WaitGroup
			for _, r := range replicas {
				ticks.Go(func() { r.newMirror().Run(w.Ctx) })
			}
			ticks.Wait()
		}
		if n := w.CountStripeCalls(stripesim.ClassUpdate); n != 30 {
			t.Errorf("%d updates for 30 holds", n)
		}
		if n := replicas[0].countMirrored(ids); n != 30 {
			t.Errorf("%d of 30 holds are mirrored", n)
		}
	})
}

func TestMirror_TakesOverFromDeadReplica(t *testing.T) {
	inWorld(t, func(w *world) {
		dead, other := w.newReplica(), w.newReplica()
		ids := other.placeUnmirrored(6)
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassUpdate,
			Fault: stripesim.Fault{RequestDelay: 5 * time.Second}})
		var tick sync.WaitGroup
		tick.Go(func() { dead.newMirror().Run(w.Ctx) })
		time.Sleep(time.Second)
		dead.SimulateSIGKILL()
		w.Sim.Faults.ClearFaultRules()
		other.newMirror().Run(w.Ctx)
		tick.Wait()
		if n := other.countMirrored(ids); n == 0 || n == 6 {
			t.Errorf("%d of 6 holds are mirrored while the dead replica has its locks", n)
		}
		time.Sleep(30 * time.Second)
		other.newMirror().Run(w.Ctx)
		if n := other.countMirrored(ids); n != 6 {
			t.Errorf("%d of 6 holds are mirrored", n)
		}
	})
}
