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

// stay is a guest's booking, to be paid with a card.
func stay(card string, at time.Time) hold.AuthorizeRequest {
	return hold.AuthorizeRequest{PaymentMethod: card, Amount: 12_500, Currency: "eur", Reference: "BK-2071", CaptureAt: stamp(at), Description: "Two nights",
		ReceiptEmail: "guest@example.com", Metadata: map[string]string{"room": "12"}}
}

// authorized are the intents on which money was held, and how often.
func (w *world) authorized() map[string]int {
	n := map[string]int{}
	for _, e := range w.sim.Ledger() {
		if e.Kind == stripesim.Authorized {
			n[e.Intent]++
		}
	}
	return n
}

// A card that works, one whose bank wants the guest, one that is refused and another card after it, each captured at its time.
func TestCards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, boundless)
	bin := binary(t, watched)
	r, other := w.start(bin, highBudget...), w.start(bin, highBudget...)
	ctx := t.Context()
	at := soon(6 * time.Second)

	// At once.
	a, err := r.client.Authorize(ctx, "click-0001", stay("pm_card_visa", at))
	if err != nil || a.Status != "authorized" || a.Hold == nil || a.Hold.State != "scheduled" || a.Hold.Amount != 12_500 || a.Hold.Reference != "BK-2071" {
		t.Fatalf("%+v %v", a, err)
	}
	if st, _ := w.sim.Intent(a.ID); st.CaptureMethod != "manual" || st.Status != "requires_capture" || st.Metadata["room"] != "12" || st.Metadata["holdd_capture_at"] == "" {
		t.Errorf("at Stripe: %+v", st)
	}
	again, err := other.client.Authorize(ctx, "click-0001", stay("pm_card_visa", at))
	if err != nil || again.ID != a.ID || again.Hold == nil {
		t.Errorf("the same again: %+v %v", again, err)
	}

	// The bank wants the guest: the browser gets the secret, and the other replica confirms.
	guest, err := r.client.Authorize(ctx, "click-0002", stay("pm_card_threeDSecure2Required", at))
	st, _ := w.sim.Intent(guest.ID)
	if err != nil || guest.Status != "requires_action" || guest.Hold != nil || guest.ClientSecret == "" || guest.ClientSecret != st.ClientSecret || guest.NextAction == nil {
		t.Fatalf("%s %+v %v", guest.Status, guest.NextAction, err)
	}
	if early, err := other.client.ConfirmAuthorization(ctx, guest.ID, "confirm-0001", hold.ConfirmRequest{}); err != nil || early.Status != "requires_action" {
		t.Errorf("confirmed before the guest acted: %s %v", early.Status, err)
	}
	if err := w.sim.Dashboard().CompleteAction(guest.ID); err != nil {
		t.Fatal(err)
	}
	done, err := other.client.ConfirmAuthorization(ctx, guest.ID, "confirm-0001", hold.ConfirmRequest{})
	if err != nil || done.Status != "authorized" || done.Hold == nil || done.Hold.State != "scheduled" {
		t.Fatalf("%+v %v", done, err)
	}

	// The bank refuses: the guest can be told why, and pays with another card.
	var p *api.Problem
	_, err = r.client.Authorize(ctx, "click-0003", stay("pm_card_visa_chargeDeclinedInsufficientFunds", at))
	if !errors.As(err, &p) || p.Status != http.StatusPaymentRequired || p.Code != hold.CardDeclined || p.DeclineCode != "insufficient_funds" || p.Detail != "Your card has insufficient funds." || p.PaymentIntent == "" {
		t.Fatalf("%#v", err)
	}
	paid, err := other.client.ConfirmAuthorization(ctx, p.PaymentIntent, "confirm-0002", hold.ConfirmRequest{PaymentMethod: "pm_card_mastercard"})
	if err != nil || paid.Status != "authorized" || paid.ID != p.PaymentIntent || paid.Hold.Reference != "BK-2071" {
		t.Errorf("%+v %v", paid, err)
	}
	if _, err := r.client.Authorize(ctx, "click-0003", stay("pm_card_mastercard", at)); !errors.As(err, &p) || p.Code != hold.IdempotencyKeyReused {
		t.Errorf("another request with the same key: %v", err)
	}

	if n := w.authorized(); len(n) != 3 || n[a.ID] != 1 || n[guest.ID] != 1 || n[paid.ID] != 1 {
		t.Errorf("authorized: %v", n)
	}
	storetest.Until(t, startTime, "all are captured", func() bool { return w.taken() == 3 })
	for _, id := range []string{a.ID, guest.ID, paid.ID} {
		if got := w.moved(id); got != "captured 12500 by api" || w.last(id).Before(at) {
			t.Errorf("%s: %s", id, got)
		}
	}
	w.secretless(guest.ClientSecret)
	noFailures(t, r)
}

// secretless checks that a client secret stands nowhere in Redis. That it is in no log is checked of every line.
func (w *world) secretless(secret string) {
	w.tb.Helper()
	for key, dump := range w.kept() {
		if strings.Contains(dump, secret) || strings.Contains(dump, "_secret_") {
			w.tb.Errorf("a client secret stands in %s", key)
		}
	}
}

// What the guest doesn't finish within the hour is canceled and told of. Stripe's clock is an hour behind, but for the last seconds.
func TestAbandonedCard(t *testing.T) {
	t.Parallel()
	o := boundless
	o.ClockOffset = -hold.AbandonIntentAfter + 12*time.Second
	w := newWorld(t, o)
	r := w.start(binary(t, watched), highBudget...)
	ctx := t.Context()
	guest, err := r.client.Authorize(ctx, "click-0001", stay("pm_card_threeDSecure2Required", soon(48*time.Hour)))
	if err != nil || guest.Status != "requires_action" {
		t.Fatalf("%s %v", guest.Status, err)
	}
	// In its last two minutes nobody confirms it any more, so that the cancel can't take an authorization with it.
	if err := w.sim.Dashboard().CompleteAction(guest.ID); err != nil {
		t.Fatal(err)
	}
	var p *api.Problem
	if _, err := r.client.ConfirmAuthorization(ctx, guest.ID, "confirm-0001", hold.ConfirmRequest{}); !errors.As(err, &p) || p.Code != hold.AuthorizationAbandoned {
		t.Errorf("confirmed after the hour: %v", err)
	}
	var at time.Time
	storetest.Until(t, time.Minute, "it is canceled", func() bool {
		st, _ := w.sim.Intent(guest.ID)
		at = time.Now()
		return st.Status == "canceled" && st.CancellationReason == "abandoned"
	})
	st, _ := w.sim.Intent(guest.ID)
	if age := at.Sub(st.Created); age < hold.AbandonIntentAfter {
		t.Errorf("canceled at the age of %s", age)
	}
	storetest.Until(t, startTime, "it is told of", func() bool { return r.log.lines(`"event":"authorization.abandoned"`) == 1 })
	if _, err := r.client.Authorize(ctx, "click-0001", stay("pm_card_threeDSecure2Required", soon(48*time.Hour))); !errors.As(err, &p) {
		t.Errorf("the same again: %v", err)
	}
	if n := w.authorized(); len(n) != 0 {
		t.Errorf("money was held: %v", n)
	}
	w.secretless(guest.ClientSecret)
}

// A double click twenty times over, at a replica that is killed while Stripe is at it, and the callers' retries at another one: one PaymentIntent.
func TestDoubleClickAndAKill(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} { // the kill comes before Stripe took the card, or after
		t.Run(fmt.Sprintf("effect %v", after), func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			var once sync.Once
			o := boundless
			o.Faults = func(c stripesim.Call) stripesim.Fault {
				f := stripesim.Fault{}
				if c.Class == stripesim.ClassCreate {
					once.Do(func() {
						defer close(arrived)
						if after {
							f = stripesim.Fault{After: 3 * time.Second}
						} else {
							f = stripesim.Fault{Before: 3 * time.Second}
						}
					})
				}
				return f
			}
			w := newWorld(t, o)
			bin := binary(t, watched)
			victim, other := w.start(bin, shortLease...), w.start(bin, shortLease...)
			wish := stay("pm_card_visa", soon(48*time.Hour))
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
						a, err := at.client.Authorize(t.Context(), "click-0001", wish)
						var p *api.Problem
						var away *api.Unreachable
						switch {
						case err == nil:
							mu.Lock()
							answers[a.ID+" "+a.Status]++
							mu.Unlock()
							return
						case errors.As(err, &away), errors.As(err, &p) && (p.Code == hold.InProgress || p.Code == hold.OutcomeUnknown || p.Status == 503):
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
				storetest.Until(t, startTime, "Stripe has taken the card", func() bool { return len(w.authorized()) == 1 })
			}
			victim.signal(syscall.SIGKILL)
			wg.Wait()
			n := w.authorized()
			if len(n) != 1 || len(w.sim.Intents("")) != 1 {
				t.Fatalf("authorized: %v, intents: %d", n, len(w.sim.Intents("")))
			}
			for id, times := range n {
				if times != 1 || answers[id+" authorized"] != 20 {
					t.Errorf("%d times, answered %v", times, answers)
				}
				v := w.eventually(other, id, hold.Scheduled, startTime)
				if v.Reference != "BK-2071" || v.Amount != 12_500 {
					t.Errorf("%+v", v)
				}
			}
			t.Logf("answered %v; %d answers of Stripe's were of the dead replica's request", answers, w.sim.Stats().Replayed)
			noFailures(t, other, `"event":"replica.stopped"`)
		})
	}
}
