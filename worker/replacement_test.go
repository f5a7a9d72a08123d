package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

var raiseByReplacement = hold.IncrementRequest{Amount: 15_000, Reason: "one more night"}

// replaceable schedules a hold of a saved card without incremental
// authorization, captured after five minutes.
func (w *testEnv) replaceable(r *replica) (id, card string) {
	w.T.Helper()
	return w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(5 * time.Minute),
		Renewal: &hold.RenewalRequest{Until: envtest.In(6 * time.Minute), MaxAmount: 20_000}})
}

// TestReplacement raises a hold whose charge has no incremental authorization.
func TestReplacement(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   stripesim.FaultKind
		class   stripesim.EndpointClass
		decline string
	}{
		"raised":              {},
		"declined":            {decline: "insufficient_funds"},
		"the card was stolen": {decline: "stolen_card"},
		"the creation has no answer": {fault: stripesim.FaultDropReply,
			class: stripesim.ClassCreate},
		"the confirmation has no answer": {fault: stripesim.FaultDropReply,
			class: stripesim.ClassConfirm},
	} {
		t.Run(name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id, card := w.replaceable(r)
				if tt.decline != "" {
					if err := w.Sim.Cards.SetCardOutcomes(card,
						stripesim.CardOutcome{DeclineCode: tt.decline}); err != nil {
						t.Fatal(err)
					}
				}
				if tt.fault != "" {
					w.AddStripeFault(stripesim.FaultRule{Class: tt.class, Times: 1,
						Fault: stripesim.Fault{Kind: tt.fault}})
				}
				_, _, err := r.RequestIncrementAndWait(w.Ctx, id, raiseByReplacement, 0, "test")
				want := int64(15_000)
				if tt.decline != "" {
					want = 10_000
					var p *hold.Problem
					if !errors.As(err, &p) || p.Code != hold.Declined || p.DeclineCode != tt.decline {
						t.Errorf("%v", err)
					}
				} else if err != nil {
					t.Errorf("%v", err)
				}
				time.Sleep(5 * time.Minute)
				h := w.waitForState(r, id, hold.Captured, time.Minute)
				if h.CapturedAmount != want {
					t.Errorf("captured %d, want %d", h.CapturedAmount, want)
				}
				w.checkHeldThroughout(time.Minute)
				w.checkNothingLeft()
			}, withWindow(20*time.Minute))
		})
	}
}

// checkNothingLeft checks that each intent was captured or released.
func (w *testEnv) checkNothingLeft() {
	w.T.Helper()
	for _, in := range w.Sim.Intents("") {
		if in.Status != "succeeded" && in.Status != "canceled" {
			w.T.Errorf("%s is left %s", in.ID, in.Status)
		}
	}
}

// TestReplacement_KilledBetweenSteps kills the replica between every two steps
// of such an increment. Another one ends it.
func TestReplacement_KilledBetweenSteps(t *testing.T) {
	forEachRenewalGap(t, func(t *testing.T, op hold.Op, at gap) {
		runTestEnv(t, func(w *testEnv) {
			g := &gapTrigger{op: op, at: at}
			r := w.startReplicaWithGap(g)
			id, _ := w.replaceable(r)
			go func() {
				_, _, _ = r.RequestIncrementAndWait(w.Ctx, id, raiseByReplacement, 0, "test")
			}()
			w.waitForGap(r, g, time.Minute)
			next := w.startReplica()
			time.Sleep(2 * time.Minute)
			if h := w.mustGet(next, id); h.Amount != 15_000 || h.Renewal.Releasing != "" {
				t.Errorf("%d, %+v", h.Amount, h.Renewal)
			}
			time.Sleep(3 * time.Minute)
			h := w.waitForState(next, id, hold.Captured, time.Minute)
			w.CheckEffects(h.PaymentIntent, "captured 15000 by api")
			w.checkHeldThroughout(time.Minute)
			w.checkNothingLeft()
		}, withWindow(20*time.Minute))
	})
}
