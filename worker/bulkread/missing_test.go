package bulkread_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/bulkread"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// A first 404 is no answer, and the intent is not read again for ten seconds.
func TestReadEach_BelievesTheSecondNotFound(t *testing.T) {
	inWorld(t, func(w *world) {
		reads := []bulkread.PendingRetrieve{{PaymentIntent: "pi_00000000gone"}}
		for _, step := range []struct {
			wait  time.Duration
			reads int64 // that Stripe received
			found bool  // an answer came
		}{{0, 1, false}, {9 * time.Second, 1, false}, {time.Second, 2, true}, {0, 3, false}} {
			time.Sleep(step.wait)
			unread := w.read(reads, time.Second)
			if got := w.CountStripeCalls(stripesim.ClassRetrieve); got != step.reads {
				t.Errorf("%d reads, want %d", got, step.reads)
			}
			if step.found != (len(unread) == 0) ||
				step.found && w.answers[0][0].Kind != hold.AnswerNotFound {
				t.Errorf("after %d reads: unread %v, answers %v", step.reads, unread, w.answers)
			}
		}
	})
}

// An intent that is found in between counts as found, by itself or in a list.
func TestReadEach_FoundBetweenTwoNotFound(t *testing.T) {
	for name, n := range map[string]int{"read": 1, "listed": 20} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				reads := w.authorize(n, "")
				missing := stripesim.FaultRule{Class: stripesim.ClassRetrieve, Times: 1,
					Fault: stripesim.Fault{Kind: stripesim.FaultNotFound}}
				for range 2 {
					w.AddStripeFault(missing)
					if unread := w.read(reads[:1], time.Second); len(unread) != 1 {
						t.Fatalf("a first 404 counts: %v", w.answers)
					}
					time.Sleep(11 * time.Second)
					w.Sim.Faults.ClearFaultRules()
					if unread := w.read(reads, time.Second); len(unread) != 0 {
						t.Fatalf("not read: %v", unread)
					}
				}
			})
		})
	}
}
