package worker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const callerKey = "click-0001"

func newAuthorizeRequest(d time.Duration) hold.AuthorizeRequest {
	return hold.AuthorizeRequest{PaymentMethod: "pm_card_visa", Amount: 12_500, Currency: "eur",
		Reference: "BK-2071", CaptureAt: envtest.In(d),
		Metadata: map[string]string{"room": "12"}}
}

// authorizationsByIntent are the intents on which Stripe authorized money, and
// how often.
func (w *testEnv) authorizationsByIntent() map[string]int {
	n := map[string]int{}
	for _, e := range w.Sim.Ledger() {
		if e.Kind == stripesim.EffectAuthorized {
			n[e.Intent]++
		}
	}
	return n
}

// mustOneAuthorization checks that the ledger has one, and returns its intent.
func (w *testEnv) mustOneAuthorization() string {
	w.T.Helper()
	got := w.authorizationsByIntent()
	if len(got) != 1 {
		w.T.Fatalf("authorizations: %v", got)
	}
	for id, n := range got {
		if n != 1 {
			w.T.Fatalf("authorizations: %v", got)
		}
		return id
	}
	return ""
}

func problemCode(err error) hold.ProblemCode {
	var p *hold.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	if errors.Is(err, health.ErrUnavailable) {
		return "unavailable"
	}
	return ""
}

// retryUntilKnown is a caller that repeats a request for as long as its outcome
// isn't known.
func retryUntilKnown[T any](t *testing.T, do func() (T, error)) (T, error) {
	t.Helper()
	for range 60 {
		out, err := do()
		switch problemCode(err) {
		case hold.OutcomeUnknown, hold.InProgress, "unavailable":
			time.Sleep(7 * time.Second)
			continue
		}
		return out, err
	}
	t.Fatal("the outcome was never known")
	panic("unreachable")
}

func TestAuthorize(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(20 * time.Minute)
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != hold.AuthorizationDone || !a.Created || a.Hold == nil ||
			a.Hold.State != hold.Scheduled || a.Hold.Amount != 12_500 || !a.Hold.Verified ||
			a.Hold.ExpiresSource != hold.SourceCharge || a.Hold.Reference != "BK-2071" ||
			a.Hold.Metadata["room"] != "12" || !a.Hold.Mirrored || a.ClientSecret.Reveal() != "" {
			t.Errorf("%+v %+v", a, a.Hold)
		}
		id := w.mustOneAuthorization()
		st, _ := w.Sim.Intent(id)
		if st.Metadata["room"] != "12" || st.Metadata[hold.MetaCaptureAt] == "" ||
			st.Metadata[hold.MetaAuthorization] == "" {
			t.Errorf("terms are not in the metadata: %v", st.Metadata)
		}
		again, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || again.Created || again.Hold == nil || again.Hold.ID != id {
			t.Errorf("again: %+v %v", again, err)
		}
		other := req
		other.Amount++
		if _, err := r.Authorize(w.Ctx, callerKey, other, "api"); problemCode(
			err) != hold.IdempotencyKeyReused {
			t.Errorf("same key, another amount: %v", err)
		}
		if _, err := r.Confirm(w.Ctx, id, callerKey, hold.ConfirmRequest{}, "api"); problemCode(
			err) != hold.IdempotencyKeyReused {
			t.Errorf("same key at confirm: %v", err)
		}
		w.mustOneAuthorization()
		w.waitForState(r, id, hold.Captured, 21*time.Minute)
		w.CheckEffects(id, "captured 12500 by api")
		if again, err = r.Authorize(w.Ctx, callerKey, req, "api"); err != nil ||
			again.Hold.State != hold.Captured {
			t.Errorf("after its time has passed: %+v %v", again, err)
		}
	})
}

func TestAuthorize_ThreeDSecure(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(48 * time.Hour)
		req.PaymentMethod = "pm_card_threeDSecure2Required"
		req.ReturnURL = "https://hotel.example/booked"
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || a.Status != hold.AuthorizationRequiresAction || a.Hold != nil ||
			a.NextAction != "redirect_to_url" || a.RedirectURL.Reveal() == "" {
			t.Fatalf("%+v %v", a, err)
		}
		st, _ := w.Sim.Intent(a.PaymentIntent)
		if a.ClientSecret.Reveal() != st.ClientSecret || st.ClientSecret == "" {
			t.Error("no client secret")
		}
		again, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || again.ClientSecret.Reveal() != st.ClientSecret ||
			again.PaymentIntent != a.PaymentIntent {
			t.Errorf("again: %+v %v", again, err)
		}
		if c, err := r.Confirm(w.Ctx, a.PaymentIntent, "confirm-01", hold.ConfirmRequest{},
			"api"); err != nil || c.Status != hold.AuthorizationRequiresAction {
			t.Errorf("confirmed before the guest acted: %+v %v", c, err)
		}
		if err := w.Sim.Dashboard().CompleteAction(a.PaymentIntent); err != nil {
			t.Fatal(err)
		}
		if again, err = r.Authorize(w.Ctx, callerKey, req, "api"); err != nil ||
			again.Status != hold.AuthorizationRequiresConfirmation {
			t.Errorf("after the guest acted: %+v %v", again, err)
		}
		c, err := r.Confirm(w.Ctx, a.PaymentIntent, "confirm-01", hold.ConfirmRequest{}, "api")
		if err != nil || c.Status != hold.AuthorizationDone || !c.Created ||
			c.Hold.State != hold.Scheduled || c.Hold.Reference != "BK-2071" {
			t.Fatalf("%+v %v", c, err)
		}
		for i, key := range []string{"confirm-01", "confirm-02"} {
			if c, err = r.Confirm(w.Ctx, a.PaymentIntent, key, hold.ConfirmRequest{},
				"api"); err != nil || c.Created || c.Hold == nil {
				t.Errorf("%d: %+v %v", i, c, err)
			}
		}
		// the one that looks after what was abandoned finds nothing to do
		time.Sleep(65 * time.Minute)
		if id := w.mustOneAuthorization(); len(w.IntentEffects(id)) != 0 {
			t.Errorf("%v", w.IntentEffects(id))
		}
		for _, s := range []string{st.ClientSecret, "_secret_"} {
			w.checkNotLeaked(s)
		}
	}, pollEvery5s)
}

// checkNotLeaked checks that a text is in no log line and nowhere in Redis.
func (w *testEnv) checkNotLeaked(text string) {
	w.T.Helper()
	for _, e := range w.Logs.All() {
		if s := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(s, text) {
			w.T.Errorf("in the log: %s", s)
		}
	}
	if strings.Contains(w.Redis.Dump(), text) {
		w.T.Errorf("%q is in Redis", text)
	}
}

func TestAuthorize_Declined(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(48 * time.Hour)
		req.PaymentMethod = "pm_card_visa_chargeDeclinedInsufficientFunds"
		for i := range 2 {
			_, err := r.Authorize(w.Ctx, callerKey, req, "api")
			var p *hold.Problem
			if !errors.As(err, &p) || p.Code != hold.CardDeclined ||
				p.DeclineCode != "insufficient_funds" ||
				p.Detail != "Your card has insufficient funds." || p.PaymentIntent == "" {
				t.Fatalf("%d: %#v", i, err)
			}
			if i == 1 { // with another card
				c, err := r.Confirm(w.Ctx, p.PaymentIntent, "confirm-01",
					hold.ConfirmRequest{PaymentMethod: "pm_card_mastercard"}, "api")
				if err != nil || c.Status != hold.AuthorizationDone ||
					c.Hold.Reference != "BK-2071" {
					t.Errorf("%+v %v", c, err)
				}
			}
		}
		w.mustOneAuthorization()
		offSession := newAuthorizeRequest(48 * time.Hour)
		offSession.PaymentMethod, offSession.OffSession, offSession.Customer = "pm_card_authenticationRequired", true, w.createCustomer()
		_, err := r.Authorize(w.Ctx, "off-session-1", offSession, "api")
		var p *hold.Problem
		if !errors.As(err, &p) || p.Code != hold.CardDeclined ||
			p.DeclineCode != "authentication_required" {
			t.Errorf("%#v", err)
		}
		req.PaymentMethod = "pm_nonesuch"
		if _, err := r.Authorize(w.Ctx, "no-such-card", req, "api"); problemCode(
			err) != hold.AuthorizationRefused {
			t.Errorf("%v", err)
		}
	})
}

// createCustomer makes a customer at Stripe.
func (w *testEnv) createCustomer() string {
	w.T.Helper()
	req, _ := http.NewRequestWithContext(w.Ctx, http.MethodPost, "http://stripe.test/v1/customers",
		nil)
	req.Header.Set("Authorization", "Bearer sk_test_world")
	res, err := w.Sim.Transport().RoundTrip(req)
	if err != nil {
		w.T.Fatal(err)
	}
	defer res.Body.Close()
	var c struct{ ID string }
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil || c.ID == "" {
		w.T.Fatal(err)
	}
	return c.ID
}

func TestAuthorize_AbandonedIsCanceled(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(48 * time.Hour)
		req.PaymentMethod = "pm_card_threeDSecure2Required"
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil {
			t.Fatal(err)
		}
		confirmed, err := r.Authorize(w.Ctx, "click-0002", req, "api")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		if st, _ := w.Sim.Intent(a.PaymentIntent); st.Status == "canceled" {
			t.Error("canceled before its hour was over")
		}
		if err := w.Sim.Dashboard().CompleteAction(confirmed.PaymentIntent); err != nil {
			t.Fatal(err)
		}
		if c, err := r.Confirm(w.Ctx, confirmed.PaymentIntent, "confirm-02", hold.ConfirmRequest{},
			"api"); err != nil || c.Hold == nil {
			t.Fatalf("%+v %v", c, err)
		}
		time.Sleep(61 * time.Second)
		if _, err := r.Confirm(w.Ctx, a.PaymentIntent, "confirm-01",
			hold.ConfirmRequest{PaymentMethod: "pm_card_visa"}, "api"); problemCode(
			err) != hold.AuthorizationAbandoned {
			t.Errorf("confirmed after the hour: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if st, _ := w.Sim.Intent(a.PaymentIntent); st.Status != "canceled" ||
			st.CancellationReason != "abandoned" {
			t.Errorf("%s %s", st.Status, st.CancellationReason)
		}
		if n := w.Logs.FilterMessage("authorization.abandoned").Len(); n != 1 {
			t.Errorf("reported %d times", n)
		}
		if id := w.mustOneAuthorization(); id != confirmed.PaymentIntent ||
			len(w.IntentEffects(id)) != 0 {
			t.Errorf("%v", w.IntentEffects(id))
		}
		if _, err := r.Authorize(w.Ctx, callerKey, req, "api"); problemCode(
			err) != hold.AuthorizationAbandoned {
			t.Errorf("%v", err)
		}
	}, pollEvery5s)
}

// A replica cancels an abandoned authorization and dies before it publishes the
// event.
func TestAuthorize_AbandonedEventAfterCrash(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(48 * time.Hour)
		req.PaymentMethod = "pm_card_threeDSecure2Required"
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil {
			t.Fatal(err)
		}
		r.SimulateSIGKILL()
		if err := w.Sim.Dashboard().Cancel(a.PaymentIntent, "abandoned"); err != nil {
			t.Fatal(err)
		}
		r = w.startReplica()
		time.Sleep(2 * time.Hour)
		events, _, err := r.store.ReadEvents(w.Ctx, 0, "0-0", 100)
		if err != nil {
			t.Fatal(err)
		}
		published := 0
		for _, e := range events {
			if strings.Contains(string(e.Event), string(event.AuthorizationAbandoned)) &&
				strings.Contains(string(e.Event), a.PaymentIntent) {
				published++
			}
		}
		if published != 1 {
			t.Errorf("told %d times", published)
		}
	}, pollEvery30s)
}

func TestAuthorize_ConcurrentDuplicates(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a, b := w.startReplica(), w.startReplica()
		w.Sim.Settings.SetServiceTime(800 * time.Millisecond)
		req := newAuthorizeRequest(48 * time.Hour)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[string]int{}
		for i := range 20 {
			wg.Go(func() {
				r := a
				if i%2 == 1 {
					r = b
				}
				out, err := r.Authorize(w.Ctx, callerKey, req, "api")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				got[fmt.Sprint(out.PaymentIntent, " ", out.Created)]++
			})
		}
		wg.Wait()
		id := w.mustOneAuthorization()
		if got[id+" true"] != 1 || got[id+" false"] != 19 {
			t.Errorf("%v", got)
		}
	})
}

var faultKinds = []stripesim.FaultKind{stripesim.FaultDropRequest, stripesim.FaultDropReply,
	stripesim.FaultBrokenBody, stripesim.FaultCutBody, stripesim.FaultErrorBefore,
	stripesim.FaultErrorAfter,
	stripesim.FaultUnavailable, stripesim.FaultHTML, stripesim.FaultHTMLAfter,
	stripesim.FaultRateLimited, stripesim.FaultLockTimeout, stripesim.FaultKeyInUse,
	stripesim.FaultFailedDependency,
	stripesim.FaultForbidden, stripesim.FaultNotFound, stripesim.FaultUnauthorized}
