package authorize_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const callerKey = "request-0001"

// booking is a request whose hold is captured in two days.
func booking(edit ...func(*hold.AuthorizeRequest)) hold.AuthorizeRequest {
	req := hold.AuthorizeRequest{PaymentMethod: "pm_card_visa", Amount: 12_500,
		Currency: "eur", Reference: "BK-2071",
		CaptureAt: time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339Nano)}
	for _, e := range edit {
		e(&req)
	}
	return req
}

func card(pm string) func(*hold.AuthorizeRequest) {
	return func(r *hold.AuthorizeRequest) { r.PaymentMethod = pm }
}

// code is the code of a problem, or unavailable.
func code(err error) hold.ProblemCode {
	var p *hold.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	if errors.Is(err, health.ErrUnavailable) {
		return "unavailable"
	}
	return ""
}

// untilKnown repeats a request for as long as its outcome is unknown.
func untilKnown(
	t *testing.T, do func() (hold.AuthorizationResult, error),
) (hold.AuthorizationResult, error) {
	t.Helper()
	for range 60 {
		result, err := do()
		switch code(err) {
		case hold.OutcomeUnknown, hold.InProgress, "unavailable":
			time.Sleep(7 * time.Second)
			continue
		}
		return result, err
	}
	t.Fatal("the outcome stays unknown")
	return hold.AuthorizationResult{}, nil
}

// authorizedIntent is the one intent on which Stripe authorized money, once. It
// is empty if there is none.
func (w *world) authorizedIntent() string {
	w.T.Helper()
	id := ""
	for _, e := range w.Sim.Ledger() {
		if e.Kind == stripesim.EffectAuthorized {
			if id != "" {
				w.T.Fatalf("two authorizations: %s and %s", id, e.Intent)
			}
			id = e.Intent
		}
	}
	return id
}

// holdOf is the hold of an intent, which must be there.
func (w *world) holdOf(p *process, id string) *hold.Hold {
	w.T.Helper()
	holds, _, err := p.store.ReadHolds(w.Ctx, id)
	if err != nil || holds[0] == nil {
		w.T.Fatalf("no hold of %q: %v", id, err)
	}
	return holds[0]
}

// wantScheduled checks that the one authorized intent has its hold, and that
// Stripe did nothing more to it.
func (w *world) wantScheduled(p *process) {
	w.T.Helper()
	id := w.authorizedIntent()
	h := w.holdOf(p, id)
	if h.State != hold.Scheduled || h.Reference != "BK-2071" || h.Amount != 12_500 || !h.Verified {
		w.T.Errorf("%+v", h)
	}
	for _, e := range w.Sim.Ledger() {
		if e.Kind != stripesim.EffectAuthorized {
			w.T.Errorf("%v %s", e.Kind, e.Intent)
		}
	}
}

// fail makes the next calls of a class go wrong.
func (w *world) fail(class stripesim.EndpointClass, times int, kind stripesim.FaultKind) {
	w.T.Helper()
	rule := stripesim.FaultRule{Class: class, Times: times, Fault: stripesim.Fault{Kind: kind}}
	if _, err := w.Sim.Faults.AddFaultRule(rule); err != nil {
		w.T.Fatal(err)
	}
}

// published counts the events about abandoned authorizations.
func (w *world) published(p *process, id string) (n int) {
	w.T.Helper()
	events, _, err := p.store.ReadEvents(w.Ctx, 0, "0-0", 100)
	if err != nil {
		w.T.Fatal(err)
	}
	for _, e := range events {
		if s := string(e.Event); strings.Contains(s, "authorization.abandoned") &&
			strings.Contains(s, id) {
			n++
		}
	}
	return n
}

func TestAuthorize_AtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		req := booking(func(r *hold.AuthorizeRequest) {
			r.CaptureAt = time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339)
		})
		a, err := p.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || a.Status != hold.AuthorizationDone || !a.Created || a.Hold == nil ||
			a.ClientSecret.Reveal() != "" {
			t.Fatalf("%+v %v", a, err)
		}
		again, err := p.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || again.Created || again.Hold == nil || again.Hold.ID != a.Hold.ID {
			t.Errorf("again: %+v %v", again, err)
		}
		other := booking(card("pm_card_mastercard"))
		if _, err := p.Authorize(w.Ctx, callerKey, other, "api"); code(
			err) != hold.IdempotencyKeyReused {
			t.Errorf("the same key for another card: %v", err)
		}
		time.Sleep(75 * time.Minute)
		if _, err := p.Authorize(w.Ctx, callerKey, req, "api"); err != nil {
			t.Errorf("after its time: %v", err)
		}
		if _, err := p.Authorize(w.Ctx, "request-0002", req, "api"); code(err) != hold.InThePast {
			t.Errorf("new, after its time: %v", err)
		}
		w.wantScheduled(p)
	})
}

func TestAuthorize_ThreeDSecure(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		req := booking(card("pm_card_threeDSecure2Required"))
		req.ReturnURL = "https://hotel.example/booked"
		a, err := p.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || a.Status != hold.AuthorizationRequiresAction || a.Hold != nil ||
			a.NextAction != "redirect_to_url" || a.RedirectURL.Reveal() == "" ||
			a.ClientSecret.Reveal() == "" {
			t.Fatalf("%+v %v", a, err)
		}
		confirm := func(key string) (hold.AuthorizationResult, error) {
			return p.Confirm(w.Ctx, a.PaymentIntent, key, hold.ConfirmRequest{}, "api")
		}
		if c, err := confirm("confirm-01"); err != nil ||
			c.Status != hold.AuthorizationRequiresAction {
			t.Errorf("confirmed before the cardholder acted: %+v %v", c, err)
		}
		if err := w.Sim.Dashboard().CompleteAction(a.PaymentIntent); err != nil {
			t.Fatal(err)
		}
		again, err := p.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || again.Status != hold.AuthorizationRequiresConfirmation {
			t.Errorf("after the cardholder acted: %+v %v", again, err)
		}
		for i, key := range []string{"confirm-01", "confirm-01", "confirm-02"} {
			c, err := confirm(key)
			if err != nil || c.Status != hold.AuthorizationDone ||
				c.Created != (i == 0) || c.Hold == nil {
				t.Errorf("%d: %+v %v", i, c, err)
			}
		}
		time.Sleep(65 * time.Minute)
		w.wantScheduled(p)
		if strings.Contains(w.Redis.Dump(), "_secret_") ||
			strings.Contains(fmt.Sprint(w.Logs.All()), "_secret_") {
			t.Error("a client secret is in Redis or in the log")
		}
	})
}

func TestAuthorize_DeclinedThenAnotherCard(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		for i := range 2 {
			req := booking(card("pm_card_visa_chargeDeclinedInsufficientFunds"))
			_, err := p.Authorize(w.Ctx, callerKey, req, "api")
			var declined *hold.Problem
			if !errors.As(err, &declined) || declined.Code != hold.CardDeclined ||
				declined.DeclineCode != "insufficient_funds" || declined.PaymentIntent == "" {
				t.Fatalf("%d: %#v", i, err)
			}
			if i == 1 {
				other := hold.ConfirmRequest{PaymentMethod: "pm_card_mastercard"}
				c, err := p.Confirm(w.Ctx, declined.PaymentIntent, "confirm-01", other, "api")
				if err != nil || c.Status != hold.AuthorizationDone {
					t.Errorf("%+v %v", c, err)
				}
			}
		}
		w.wantScheduled(p)
		unknown := booking(card("pm_nonesuch"))
		if _, err := p.Authorize(w.Ctx, "request-0002", unknown, "api"); code(
			err) != hold.AuthorizationRefused {
			t.Errorf("%v", err)
		}
	})
}

func TestAuthorize_TwentyRequestsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		processes := []*process{w.start(0), w.start(0)}
		w.Sim.Settings.SetServiceTime(800 * time.Millisecond)
		req := booking()
		var wg sync.WaitGroup
		var mu sync.Mutex
		created := map[bool]int{}
		for i := range 20 {
			wg.Go(func() {
				a, err := processes[i%2].Authorize(w.Ctx, callerKey, req, "api")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				created[a.Created]++
			})
		}
		wg.Wait()
		if created[true] != 1 || created[false] != 19 {
			t.Error(created)
		}
		w.wantScheduled(processes[0])
	})
}

var faultKinds = []stripesim.FaultKind{stripesim.FaultDropRequest, stripesim.FaultDropReply,
	stripesim.FaultBrokenBody, stripesim.FaultCutBody, stripesim.FaultErrorBefore,
	stripesim.FaultErrorAfter,
	stripesim.FaultUnavailable, stripesim.FaultHTML, stripesim.FaultHTMLAfter,
	stripesim.FaultRateLimited, stripesim.FaultLockTimeout, stripesim.FaultKeyInUse,
	stripesim.FaultFailedDependency, stripesim.FaultForbidden,
	stripesim.FaultNotFound, stripesim.FaultUnauthorized}
