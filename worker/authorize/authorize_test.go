package authorize_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
func code(err error) hold.Code {
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
	holds, _, err := p.store.Read(w.Ctx, id)
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
	if _, err := w.Sim.AddFaultRule(rule); err != nil {
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
		w.Sim.SetServiceTime(800 * time.Millisecond)
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

// TestAuthorize_EveryFault lets the first requests fail in every way: a caller
// that repeats gets one authorization.
func TestAuthorize_EveryFault(t *testing.T) {
	for _, kind := range faultKinds {
		for _, times := range []int{1, 2, 4} {
			t.Run(fmt.Sprint(kind, times), func(t *testing.T) {
				inWorld(t, func(w *world) {
					p := w.start(0)
					req := booking()
					w.fail(stripesim.ClassCreate, times, kind)
					a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
						p.caller.Probe(w.Ctx) // as the worker does: a rejected key is tried again
						a, err := p.Authorize(w.Ctx, callerKey, req, "api")
						if code(err) == hold.AuthorizationRefused {
							// nothing happened: the caller tries again
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute)
					w.wantScheduled(p)
				})
			})
		}
	}
}

// TestConfirm_EveryFault does the same to confirmations and the reads before
// them.
func TestConfirm_EveryFault(t *testing.T) {
	for _, kind := range faultKinds {
		for _, class := range []stripesim.EndpointClass{stripesim.ClassConfirm,
			stripesim.ClassRetrieve} {
			t.Run(fmt.Sprint(kind, " ", class), func(t *testing.T) {
				inWorld(t, func(w *world) {
					p := w.start(0)
					first, err := p.Authorize(w.Ctx, callerKey,
						booking(card("pm_card_threeDSecure2Required")), "api")
					if err != nil {
						t.Fatal(err)
					}
					if err := w.Sim.Dashboard().CompleteAction(first.PaymentIntent); err != nil {
						t.Fatal(err)
					}
					w.fail(class, 2, kind)
					a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
						p.caller.Probe(w.Ctx)
						a, err := p.Confirm(w.Ctx, first.PaymentIntent, "confirm-01",
							hold.ConfirmRequest{}, "api")
						if c := code(err); c == hold.AuthorizationRefused ||
							c == hold.AuthorizationNotFound {
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute)
					w.wantScheduled(p)
				})
			})
		}
	}
}

// TestAuthorize_CrashAnywhere kills the process at each of its side effects.
// Another process gets the repetition, or no caller repeats.
func TestAuthorize_CrashAnywhere(t *testing.T) {
	for dieAt := 1; ; dieAt++ {
		finished := false
		for _, repeats := range []bool{true, false} {
			inWorld(t, func(w *world) {
				first := w.start(dieAt)
				req := booking()
				_, _ = first.Authorize(w.Ctx, callerKey, req, "api")
				finished = !first.Killed()
				second := w.start(0)
				if repeats {
					a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
						return second.Authorize(w.Ctx, callerKey, req, "api")
					})
					if err != nil || a.Hold == nil {
						t.Fatalf("step %d: %+v %v", dieAt, a, err)
					}
				}
				time.Sleep(3 * time.Minute) // the Resumer has been at it
				if !repeats && w.authorizedIntent() == "" {
					return // it died before the card was authorized
				}
				w.wantScheduled(second)
			})
		}
		switch {
		case finished && dieAt < 8:
			t.Fatalf("only %d side effects", dieAt-1)
		case finished:
			t.Logf("%d places to crash at", dieAt-1)
			return
		case dieAt > 60:
			t.Fatal("no end of side effects")
		}
	}
}

// TestAuthorize_RedisLosesTheAttempt lets Redis forget an attempt, which meets
// its own answer at Stripe.
func TestAuthorize_RedisLosesTheAttempt(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{"", stripesim.FaultDropReply,
		stripesim.FaultErrorAfter, stripesim.FaultErrorBefore} {
		t.Run(string(kind), func(t *testing.T) {
			inWorld(t, func(w *world) {
				p := w.start(0)
				req := booking()
				if kind != "" {
					w.fail(stripesim.ClassCreate, 1, kind)
				}
				_, _ = p.Authorize(w.Ctx, callerKey, req, "api")
				w.Redis.FlushAll()
				a, err := untilKnown(t, func() (hold.AuthorizationResult, error) {
					return p.Authorize(w.Ctx, callerKey, req, "api")
				})
				if err != nil || a.Hold == nil {
					t.Fatalf("%+v %v", a, err)
				}
				w.wantScheduled(p)
			})
		})
	}
}

func TestAuthorize_CallerGoesAway(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.Sim.SetServiceTime(2 * time.Second)
		ctx, cancel := context.WithCancel(w.Ctx)
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		_, _ = p.Authorize(ctx, callerKey, booking(), "api")
		synctest.Wait()
		w.wantScheduled(p)
	})
}

// TestAuthorize_LeaseEnds lets every call time out: the run ends within its
// lease and says that the outcome is unknown.
func TestAuthorize_LeaseEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.fail(stripesim.ClassCreate, 9, stripesim.FaultDropReply)
		began := time.Now()
		_, err := p.Authorize(w.Ctx, callerKey, booking(), "api")
		if took := time.Since(began); code(err) != hold.OutcomeUnknown || took > lease {
			t.Errorf("%v after %s", err, took)
		}
		w.Sim.ClearFaultRules()
		time.Sleep(3 * time.Minute)
		w.wantScheduled(p)
	})
}

func TestAuthorize_RedisDown(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.Redis.SetError("down")
		if _, err := p.Authorize(w.Ctx, callerKey, booking(), "api"); code(err) != "unavailable" {
			t.Error(err)
		}
		w.Redis.SetError("")
		if id := w.authorizedIntent(); id != "" {
			t.Errorf("%s was authorized, and no record tells of it", id)
		}
	})
}

func TestAuthorize_KeyRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		w.fail(stripesim.ClassCreate, 1, stripesim.FaultUnauthorized)
		for range 2 {
			if _, err := p.Authorize(w.Ctx, callerKey, booking(),
				"api"); code(err) != "unavailable" {
				t.Error(err)
			}
		}
		if n := len(w.Sim.Ledger()); n != 0 || !p.caller.KeyRejected() {
			t.Errorf("%d effects although the key is rejected", n)
		}
	})
}

func TestResumer_CancelsAbandonedIntents(t *testing.T) {
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

// TestResumer_CrashAnywhere kills the process that ends an abandoned intent at
// each of its side effects. Another process publishes what it left, once.
func TestResumer_CrashAnywhere(t *testing.T) {
	for dieAt := 1; ; dieAt++ {
		finished := false
		inWorld(t, func(w *world) {
			first := w.start(0)
			a, err := first.Authorize(w.Ctx, callerKey,
				booking(card("pm_card_threeDSecure2Required")), "api")
			if err != nil {
				t.Fatal(err)
			}
			first.Kill()
			time.Sleep(hold.AbandonIntentAfter + time.Second)
			second := w.start(dieAt)
			second.resumer.Run(w.Ctx)
			finished = !second.Killed()
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

// TestResumer_PublishesAfterACrash finds an intent that a process canceled
// before it died.
func TestResumer_PublishesAfterACrash(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.start(0)
		a, err := p.Authorize(w.Ctx, callerKey, booking(card("pm_card_threeDSecure2Required")),
			"api")
		if err != nil {
			t.Fatal(err)
		}
		p.Kill()
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

// TestResumer_InvalidTerms places the hold of an authorized intent whose terms
// were made invalid meanwhile.
func TestResumer_InvalidTerms(t *testing.T) {
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
