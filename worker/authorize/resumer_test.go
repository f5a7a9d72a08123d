package authorize_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestAttemptResumer_CancelsAbandonedIntents(t *testing.T) {
	inWorld(t, func(w *world) {
		processes := []*process{w.start(0), w.start(0)}
		p := processes[0]
		req := booking(card("pm_card_threeDSecure2Required"))
		a, err := p.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		if st, _ := w.Sim.Intent(a.PaymentIntent); st.Status == "canceled" {
			t.Error("canceled before its time")
		}
		time.Sleep(61 * time.Second)
		other := hold.ConfirmRequest{PaymentMethod: "pm_card_visa"}
		_, err = p.Confirm(w.Ctx, a.PaymentIntent, "confirm-01", other, "api")
		if code(err) != hold.AuthorizationAbandoned {
			t.Errorf("confirmed after its time: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if st, _ := w.Sim.Intent(a.PaymentIntent); st.Status != "canceled" ||
			st.CancellationReason != "abandoned" {
			t.Errorf("%s %s", st.Status, st.CancellationReason)
		}
		logged := w.Logs.FilterMessage("authorization.abandoned").Len()
		if n := w.published(p, a.PaymentIntent); n != 1 || logged != 1 {
			t.Errorf("published %d times, logged %d times", n, logged)
		}
		if _, err := p.Authorize(w.Ctx, callerKey, req, "api"); code(
			err) != hold.AuthorizationAbandoned {
			t.Errorf("%v", err)
		}
	})
}

// TestAttemptResumer_CrashAnywhere kills the process that ends an abandoned
// intent at each of its side effects. Another process publishes what it left,
// once.
func TestAttemptResumer_CrashAnywhere(t *testing.T) {
	for dieAt := 1; ; dieAt++ {
		finished := false
		inWorld(t, func(w *world) {
			first := w.start(0)
			a, err := first.Authorize(w.Ctx, callerKey,
				booking(card("pm_card_threeDSecure2Required")), "api")
			if err != nil {
				t.Fatal(err)
			}
			first.SimulateSIGKILL()
			time.Sleep(hold.AbandonIntentAfter + time.Second)
			second := w.start(dieAt)
			second.resumer.Run(w.Ctx)
			finished = !second.IsKilled()
			third := w.start(0)
			time.Sleep(5 * time.Minute)
			st, _ := w.Sim.Intent(a.PaymentIntent)
			if n := w.published(third, a.PaymentIntent); n != 1 || st.Status != "canceled" {
				t.Errorf("step %d: %s, published %d times", dieAt, st.Status, n)
			}
		})
		switch {
		case finished && dieAt < 10:
			t.Fatalf("only %d side effects", dieAt-1)
		case finished:
			t.Logf("%d places to crash at", dieAt-1)
			return
		case dieAt > 60:
			t.Fatal("no end of side effects")
		}
	}
}

// TestAttemptResumer_PublishesAfterACrash finds an intent that a process
// canceled before it died.
func TestAttemptResumer_PublishesAfterACrash(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		a, err := p.Authorize(w.Ctx, callerKey, booking(card("pm_card_threeDSecure2Required")),
			"api")
		if err != nil {
			t.Fatal(err)
		}
		p.SimulateSIGKILL()
		if err := w.Sim.Dashboard().Cancel(a.PaymentIntent, "abandoned"); err != nil {
			t.Fatal(err)
		}
		second := w.start(0)
		time.Sleep(2 * time.Hour)
		if n := w.published(second, a.PaymentIntent); n != 1 {
			t.Errorf("published %d times", n)
		}
	})
}

// TestAttemptResumer_InvalidTerms places the hold of an authorized intent whose
// terms were made invalid meanwhile.
func TestAttemptResumer_InvalidTerms(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.fail(stripesim.ClassCreate, 9, stripesim.FaultDropReply)
		if _, err := p.Authorize(w.Ctx, callerKey, booking(), "api"); code(
			err) != hold.OutcomeUnknown {
			t.Fatal(err)
		}
		id := w.authorizedIntent()
		invalid := map[string]string{hold.MetaCaptureAt: "tomorrow"}
		if a := p.gateway.Do(w.Ctx, hold.Call{Op: hold.OpUpdate, PaymentIntent: id,
			Metadata: invalid, Key: "test-invalid"}); a.Kind != hold.AnswerOK {
			t.Fatal(a)
		}
		time.Sleep(3 * time.Minute)
		if h := w.holdOf(p, id); h.State != hold.Waiting || h.OnExpiry != hold.PolicyCancel {
			t.Errorf("%+v", h)
		}
		if w.Logs.FilterMessageSnippet("invalid terms").Len() == 0 {
			t.Error("nothing is logged")
		}
	})
}

// TestAttemptResumer_ManyRunsWithoutAnOutcomeAreAlerted has Stripe never say
// what became of a request. The runs are alerted once, and then come less
// often.
func TestAttemptResumer_ManyRunsWithoutAnOutcomeAreAlerted(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.fail(stripesim.ClassCreate, 9, stripesim.FaultDropReply)
		if _, err := p.Authorize(w.Ctx, callerKey, booking(), "api"); code(
			err) != hold.OutcomeUnknown {
			t.Fatal(err)
		}
		w.fail(stripesim.ClassList, 1000, stripesim.FaultForbidden)
		alerts := func() int { return w.Logs.FilterMessage("authorization.unresolved").Len() }
		time.Sleep(10 * time.Minute)
		if n := alerts(); n != 0 {
			t.Errorf("%d alerts after ten minutes", n)
		}
		time.Sleep(15 * time.Minute)
		if n := alerts(); n != 1 {
			t.Errorf("%d alerts after 25 minutes, want 1", n)
		}
		before := w.Sim.Stats().Calls[stripesim.CallOutcome{Class: stripesim.ClassList, Status: 403}]
		time.Sleep(2 * time.Hour)
		after := w.Sim.Stats().Calls[stripesim.CallOutcome{Class: stripesim.ClassList, Status: 403}]
		if n := after - before; n < 4 || n > 9 {
			t.Errorf("%d calls in two hours after the alert, want one each 15 minutes", n)
		}
	})
}
