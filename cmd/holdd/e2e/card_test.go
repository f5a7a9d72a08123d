package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// newAuthorizeRequest is a booking that the cardholder pays with a card.
func newAuthorizeRequest(card string, at time.Time) hold.AuthorizeRequest {
	return hold.AuthorizeRequest{PaymentMethod: card, Amount: 12_500, Currency: "eur",
		Reference: "BK-2071", CaptureAt: formatTime(at), Description: "Two nights",
		ReceiptEmail: "guest@example.com", Metadata: map[string]string{"room": "12"}}
}

// countAuthorizations are the intents on which money was held, and how often.
func (w *world) countAuthorizations() map[string]int {
	n := map[string]int{}
	for _, e := range w.sim.Ledger() {
		if e.Kind == stripesim.EffectAuthorized {
			n[e.Intent]++
		}
	}
	return n
}

// One card works, one needs 3-D Secure, and one is declined and followed by
// another. Each is captured at its time.
func TestAuthorize_CardOutcomes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	bin := binaryPath(t, buildRace)
	r, other := w.startReplica(bin, highBudgetSettings...),
		w.startReplica(bin, highBudgetSettings...)
	ctx := t.Context()
	at := afterNow(6 * time.Second)

	// At once.
	a, err := r.client.Authorize(ctx, "click-0001", newAuthorizeRequest("pm_card_visa", at))
	if err != nil || a.Status != "authorized" || a.Hold == nil || a.Hold.State != "scheduled" ||
		a.Hold.Amount != 12_500 || a.Hold.Reference != "BK-2071" {
		t.Fatalf("%+v %v", a, err)
	}
	if st, _ := w.sim.Intent(a.ID); st.CaptureMethod != "manual" ||
		st.Status != "requires_capture" || st.Metadata["room"] != "12" ||
		st.Metadata["holdd_capture_at"] == "" {
		t.Errorf("at Stripe: %+v", st)
	}
	again, err := other.client.Authorize(ctx, "click-0001", newAuthorizeRequest("pm_card_visa", at))
	if err != nil || again.ID != a.ID || again.Hold == nil {
		t.Errorf("the same again: %+v %v", again, err)
	}

	// The bank wants the guest: the browser gets the secret, and the other
	// replica confirms.
	pending, err := r.client.Authorize(ctx, "click-0002",
		newAuthorizeRequest("pm_card_threeDSecure2Required", at))
	st, _ := w.sim.Intent(pending.ID)
	if err != nil || pending.Status != "requires_action" || pending.Hold != nil ||
		pending.ClientSecret == "" || pending.ClientSecret != st.ClientSecret ||
		pending.NextAction == nil {
		t.Fatalf("%s %+v %v", pending.Status, pending.NextAction, err)
	}
	if early, err := other.client.ConfirmAuthorization(ctx, pending.ID, "confirm-0001",
		hold.ConfirmRequest{}); err != nil || early.Status != "requires_action" {
		t.Errorf("confirmed before the guest acted: %s %v", early.Status, err)
	}
	if err := w.sim.Dashboard().CompleteAction(pending.ID); err != nil {
		t.Fatal(err)
	}
	done, err := other.client.ConfirmAuthorization(ctx, pending.ID,
		"confirm-0001", hold.ConfirmRequest{})
	if err != nil || done.Status != "authorized" || done.Hold == nil ||
		done.Hold.State != "scheduled" {
		t.Fatalf("%+v %v", done, err)
	}

	// The bank refuses: the guest can be told why, and pays with another card.
	var p *api.Problem
	_, err = r.client.Authorize(ctx, "click-0003",
		newAuthorizeRequest("pm_card_visa_chargeDeclinedInsufficientFunds", at))
	if !errors.As(err, &p) || p.Status != http.StatusPaymentRequired ||
		p.Code != hold.CardDeclined || p.DeclineCode != "insufficient_funds" ||
		p.Detail != "Your card has insufficient funds." || p.PaymentIntent == "" {
		t.Fatalf("%#v", err)
	}
	paid, err := other.client.ConfirmAuthorization(ctx, p.PaymentIntent, "confirm-0002",
		hold.ConfirmRequest{PaymentMethod: "pm_card_mastercard"})
	if err != nil || paid.Status != "authorized" || paid.ID != p.PaymentIntent ||
		paid.Hold.Reference != "BK-2071" {
		t.Errorf("%+v %v", paid, err)
	}
	if _, err := r.client.Authorize(ctx, "click-0003", newAuthorizeRequest("pm_card_mastercard",
		at)); !errors.As(err, &p) || p.Code != hold.IdempotencyKeyReused {
		t.Errorf("another request with the same key: %v", err)
	}

	if n := w.countAuthorizations(); len(n) != 3 || n[a.ID] != 1 ||
		n[pending.ID] != 1 || n[paid.ID] != 1 {
		t.Errorf("authorized: %v", n)
	}
	storetest.WaitUntil(t, processTimeout, "all are captured",
		func() bool { return w.countCaptures() == 3 })
	for _, id := range []string{a.ID, pending.ID, paid.ID} {
		if got := w.moneyEffects(id); got != "captured 12500 by api" ||
			w.lastEffectAt(id).Before(at) {
			t.Errorf("%s: %s", id, got)
		}
	}
	w.checkSecretNotStored(pending.ClientSecret)
	checkNoErrorsLogged(t, r)
}

// checkSecretNotStored checks that Redis does not contain a client secret. Each
// log line is checked as well, in replica_test.go.
func (w *world) checkSecretNotStored(secret string) {
	w.tb.Helper()
	for key, dump := range w.dumpRedis() {
		if strings.Contains(dump, secret) || strings.Contains(dump, "_secret_") {
			w.tb.Errorf("a client secret stands in %s", key)
		}
	}
}

// An authorization that the cardholder does not confirm within the hour is
// canceled and reported. Stripe's clock is nearly an hour behind.
func TestAuthorize_AbandonedIsCanceled(t *testing.T) {
	t.Parallel()
	o := unlimitedStripeOptions
	o.ClockOffset = -hold.AbandonIntentAfter + 12*time.Second
	w := newWorld(t, o)
	r := w.startReplica(binaryPath(t, buildRace), highBudgetSettings...)
	ctx := t.Context()
	pending, err := r.client.Authorize(ctx, "click-0001",
		newAuthorizeRequest("pm_card_threeDSecure2Required", afterNow(48*time.Hour)))
	if err != nil || pending.Status != "requires_action" {
		t.Fatalf("%s %v", pending.Status, err)
	}
	// In its last two minutes nobody confirms it any more, so that the cancel
	// can't take an authorization with it.
	if err := w.sim.Dashboard().CompleteAction(pending.ID); err != nil {
		t.Fatal(err)
	}
	var p *api.Problem
	if _, err := r.client.ConfirmAuthorization(ctx, pending.ID, "confirm-0001",
		hold.ConfirmRequest{}); !errors.As(err, &p) || p.Code != hold.AuthorizationAbandoned {
		t.Errorf("confirmed after the hour: %v", err)
	}
	var at time.Time
	storetest.WaitUntil(t, time.Minute, "it is canceled", func() bool {
		st, _ := w.sim.Intent(pending.ID)
		at = time.Now()
		return st.Status == "canceled" && st.CancellationReason == "abandoned"
	})
	st, _ := w.sim.Intent(pending.ID)
	if age := at.Sub(st.Created); age < hold.AbandonIntentAfter {
		t.Errorf("canceled at the age of %s", age)
	}
	storetest.WaitUntil(t, processTimeout, "it is told of",
		func() bool { return r.log.countLines(`"event":"authorization.abandoned"`) == 1 })
	if _, err := r.client.Authorize(ctx, "click-0001",
		newAuthorizeRequest("pm_card_threeDSecure2Required", afterNow(48*time.Hour))); !errors.As(
		err, &p) {
		t.Errorf("the same again: %v", err)
	}
	if n := w.countAuthorizations(); len(n) != 0 {
		t.Errorf("money was held: %v", n)
	}
	w.checkSecretNotStored(pending.ClientSecret)
}

// Twenty equal requests reach a replica that is killed during its call, and the
// callers retry at another one. Stripe has one PaymentIntent.
func TestAuthorize_IdempotentAcrossCrash(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		// the kill comes before Stripe took the card, or after
		t.Run(fmt.Sprintf("effect %v", after), func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			var once sync.Once
			o := unlimitedStripeOptions
			o.FaultFunc = func(c stripesim.Call) stripesim.Fault {
				f := stripesim.Fault{}
				if c.Class == stripesim.ClassCreate {
					once.Do(func() {
						defer close(arrived)
						if after {
							f = stripesim.Fault{ReplyDelay: 3 * time.Second}
						} else {
							f = stripesim.Fault{RequestDelay: 3 * time.Second}
						}
					})
				}
				return f
			}
			w := newWorld(t, o)
			bin := binaryPath(t, buildRace)
			victim, other := w.startReplica(bin, shortLeaseSettings...),
				w.startReplica(bin, shortLeaseSettings...)
			req := newAuthorizeRequest("pm_card_visa", afterNow(48*time.Hour))
			var wg sync.WaitGroup
			var mu sync.Mutex
			answers := map[string]int{}
			for range 20 {
				wg.Go(func() {
					for try := 0; try < 60; try++ {
						at := victim
						if try > 0 {
							at = other
						}
						a, err := at.client.Authorize(t.Context(), "click-0001", req)
						var p *api.Problem
						var unreachable *api.UnreachableError
						switch {
						case err == nil:
							mu.Lock()
							answers[a.ID+" "+a.Status]++
							mu.Unlock()
							return
						case errors.As(err, &unreachable), errors.As(err, &p) &&
							(p.Code == hold.InProgress || p.Code == hold.OutcomeUnknown ||
								p.Status == 503):
							<-time.After(500 * time.Millisecond) // as the API tells its callers to
						default:
							t.Errorf("%v", err)
							return
						}
					}
					t.Error("nobody ever said what became of it")
				})
			}
			<-arrived
			if after {
				storetest.WaitUntil(t, processTimeout, "Stripe has taken the card",
					func() bool { return len(w.countAuthorizations()) == 1 })
			}
			victim.sendSignal(syscall.SIGKILL)
			wg.Wait()
			n := w.countAuthorizations()
			if len(n) != 1 || len(w.sim.Intents("")) != 1 {
				t.Fatalf("authorized: %v, intents: %d", n, len(w.sim.Intents("")))
			}
			for id, times := range n {
				if times != 1 || answers[id+" authorized"] != 20 {
					t.Errorf("%d times, answered %v", times, answers)
				}
				v := w.waitForState(other, id, hold.Scheduled, processTimeout)
				if v.Reference != "BK-2071" || v.Amount != 12_500 {
					t.Errorf("%+v", v)
				}
			}
			t.Logf("answered %v; %d answers of Stripe's were of the dead replica's request",
				answers, w.sim.Stats().Replayed)
			checkNoErrorsLogged(t, other, `"event":"replica.stopped"`)
		})
	}
}
