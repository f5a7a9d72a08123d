package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
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

func problemCode(err error) hold.Code {
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
		if id := w.mustOneAuthorization(); len(w.StripeEffects(id)) != 0 {
			t.Errorf("%v", w.StripeEffects(id))
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
			len(w.StripeEffects(id)) != 0 {
			t.Errorf("%v", w.StripeEffects(id))
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
		r.Kill()
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
	}, pollEvery5s)
}

func TestAuthorize_ConcurrentDuplicates(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a, b := w.startReplica(), w.startReplica()
		w.Sim.SetServiceTime(800 * time.Millisecond)
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

// TestAuthorize_CreateFaults: whatever goes wrong with the first one, two, four
// requests, a caller that insists gets one authorization, and it is scheduled.
func TestAuthorize_CreateFaults(t *testing.T) {
	skipIfShort(t)
	for _, kind := range faultKinds {
		for _, times := range []int{1, 2, 4} {
			t.Run(fmt.Sprint(kind, times), func(t *testing.T) {
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					req := newAuthorizeRequest(48 * time.Hour)
					w.addFault(stripesim.ClassCreate, times, kind)
					a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
						a, err := r.Authorize(w.Ctx, callerKey, req, "api")
						if problemCode(err) == hold.AuthorizationRefused {
							// told that nothing happened: the caller tries
							// again
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil || a.Hold.State != hold.Scheduled {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute) // the job has looked after what was left
					if id := w.mustOneAuthorization(); id != a.PaymentIntent ||
						len(w.StripeEffects(id)) != 0 {
						t.Errorf("%v", w.StripeEffects(id))
					}
				}, pollEvery5s)
			})
		}
	}
}

// TestConfirmAuthorization_Faults is the same for what follows 3-D Secure.
func TestConfirmAuthorization_Faults(t *testing.T) {
	for _, kind := range faultKinds {
		for _, class := range []stripesim.EndpointClass{stripesim.ClassConfirm,
			stripesim.ClassRetrieve} {
			t.Run(fmt.Sprint(kind, " ", class), func(t *testing.T) {
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					req := newAuthorizeRequest(48 * time.Hour)
					req.PaymentMethod = "pm_card_threeDSecure2Required"
					first, err := r.Authorize(w.Ctx, callerKey, req, "api")
					if err != nil {
						t.Fatal(err)
					}
					if err := w.Sim.Dashboard().CompleteAction(first.PaymentIntent); err != nil {
						t.Fatal(err)
					}
					w.addFault(class, 2, kind)
					a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
						a, err := r.Confirm(w.Ctx, first.PaymentIntent, "confirm-01",
							hold.ConfirmRequest{}, "api")
						if c := problemCode(err); c == hold.AuthorizationRefused ||
							c == hold.AuthorizationNotFound {
							err = health.ErrUnavailable
						}
						return a, err
					})
					if err != nil || a.Hold == nil || a.Hold.State != hold.Scheduled {
						t.Fatalf("%+v %v", a, err)
					}
					time.Sleep(3 * time.Minute) // the job has looked after what was left
					if id := w.mustOneAuthorization(); id != a.PaymentIntent ||
						len(w.StripeEffects(id)) != 0 {
						t.Errorf("%v", w.StripeEffects(id))
					}
				}, pollEvery5s)
			})
		}
	}
}

// addFault makes the next calls of a class go wrong.
func (w *testEnv) addFault(class stripesim.EndpointClass, times int, kind stripesim.FaultKind) {
	w.T.Helper()
	if _, err := w.Sim.AddFaultRule(stripesim.FaultRule{Class: class, Times: times,
		Fault: stripesim.Fault{Kind: kind}}); err != nil {
		w.T.Fatal(err)
	}
}

// TestAuthorize_CrashAtEveryStep kills the replica at each of its side effects,
// before and after; another one takes the caller's repetition, or nobody
// repeats it.
func TestAuthorize_CrashAtEveryStep(t *testing.T) {
	for step := 1; ; step++ {
		finished := false
		for _, repeats := range []bool{true, false} {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				crashing := w.newCrashingWorker(r, step)
				req := newAuthorizeRequest(48 * time.Hour)
				type result struct {
					a   hold.AuthorizationResult
					err error
				}
				done := make(chan result, 1)
				go func() {
					a, err := crashing.Authorizer.Authorize(w.Ctx, callerKey, req, "api")
					done <- result{a, err}
				}()
				first := <-done
				finished = !r.Killed()
				second := w.startReplica()
				if repeats {
					a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
						return second.Authorize(w.Ctx, callerKey, req, "api")
					})
					if err != nil || a.Hold == nil || a.Hold.State != hold.Scheduled {
						t.Fatalf("step %d: %+v %v after %v", step, a, err, first.err)
					}
				}
				time.Sleep(3 * time.Minute) // the job has looked after what was left
				got := w.authorizationsByIntent()
				if len(got) == 0 && !repeats {
					return // it died before the card was asked, and nobody asked again
				}
				id := w.mustOneAuthorization()
				if h := w.mustGet(second, id); h.State != hold.Scheduled ||
					!h.CaptureAt.Equal(h.NextAt) || h.Reference != "BK-2071" {
					t.Errorf("step %d, repeats %t: %+v", step, repeats, h)
				}
			}, pollEvery5s)
		}
		if finished {
			if step < 5 {
				t.Fatalf("only %d steps", step)
			}
			t.Logf("%d places to crash at", step-1)
			return
		}
		if step > 60 {
			t.Fatal("no end of steps")
		}
	}
}

// TestAuthorize_RedisDataLost: an attempt that Redis has lost meets its own
// answer at Stripe.
func TestAuthorize_RedisDataLost(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{"", stripesim.FaultDropReply,
		stripesim.FaultErrorAfter, stripesim.FaultErrorBefore} {
		t.Run(string(kind), func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				req := newAuthorizeRequest(48 * time.Hour)
				if kind != "" {
					w.addFault(stripesim.ClassCreate, 1, kind)
				}
				ctx, cancel := context.WithTimeout(w.Ctx, 20*time.Second)
				defer cancel()
				_, _ = r.Authorize(ctx, callerKey, req, "api")
				w.Redis.FlushAll()
				a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
					return r.Authorize(w.Ctx, callerKey, req, "api")
				})
				if err != nil || a.Hold == nil || a.Hold.ID != w.mustOneAuthorization() {
					t.Fatalf("%+v %v", a, err)
				}
			})
		})
	}
}

// TestAuthorize_RedisDataLostAfterPatch: the repetition of the click finds the
// hold's terms where they were mirrored to, not those that it was begun with.
func TestAuthorize_RedisDataLostAfterPatch(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(48 * time.Hour)
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil {
			t.Fatal(err)
		}
		release, none := envtest.In(24*time.Hour), ""
		if _, _, err := r.Patch(w.Ctx, a.Hold.ID, hold.Patch{CaptureAt: &none, CancelAt: &release},
			0, "api"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // it is mirrored
		w.Redis.FlushAll()
		again, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || again.Hold == nil || again.Hold.ID != a.Hold.ID ||
			!again.Hold.CaptureAt.IsZero() || again.Hold.CancelAt.IsZero() {
			t.Fatalf("%+v %v", again, err)
		}
	}, func(w *testEnv, _ *stripesim.Options) { w.opts.Rules.Mirror = true })
}

// TestAuthorize_SentByOlderVersion: a request whose answer was lost was sent by
// a holdd that put other parameters to the same wish. The repetition must not
// be told to take a new key, under which the card would be authorized once
// more.
func TestAuthorize_SentByOlderVersion(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		runTestEnv(t, func(w *testEnv) {
			r := w.startReplica()
			req := newAuthorizeRequest(48 * time.Hour)
			w.addFault(stripesim.ClassCreate, 10, stripesim.FaultDropRequest)
			if _, err := r.Authorize(w.Ctx, callerKey, req, "api"); problemCode(
				err) != hold.OutcomeUnknown {
				t.Fatal(err)
			}
			w.Sim.ClearFaultRules()
			id, err := hold.AttemptID(callerKey)
			if err != nil {
				t.Fatal(err)
			}
			_, call, err := req.Validate(id, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			call.Key, call.Description = (&hold.AuthorizationAttempt{ID: id,
				Generation: 1}).IdempotencyKey(), "worded otherwise"
			if !arrived {
				call.PaymentMethod = "pm_card_visa_chargeDeclinedInsufficientFunds"
			}
			older, err := gateway.New(gateway.Options{APIKey: envtest.APIKey,
				BaseURL: "http://stripe.test", Transport: w.Sim.Transport()})
			if err != nil {
				t.Fatal(err)
			}
			defer older.Close()
			older.Do(w.Ctx, hold.Call{Op: hold.OpAuthorize, Key: call.Key, Authorize: &call})
			a, err := retryUntilKnown(t, func() (hold.AuthorizationResult, error) {
				return r.Authorize(w.Ctx, callerKey, req, "api")
			})
			if arrived {
				if err != nil || a.Hold == nil || a.Hold.ID != w.mustOneAuthorization() {
					t.Fatalf("%+v %v", a, err)
				}
			} else if problemCode(err) != hold.CardDeclined {
				t.Fatalf("%+v %v", a, err)
			}
		})
	}
}

// TestAuthorize_CaptureAfterDeadline: the card is authorized and the time lies
// beyond: the hold requires attention, and the money isn't forgotten.
func TestAuthorize_CaptureAfterDeadline(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		a, err := r.Authorize(w.Ctx, callerKey, newAuthorizeRequest(8*24*time.Hour), "api")
		if err != nil || a.Hold == nil || a.Hold.State != hold.Attention ||
			a.Hold.Reason != hold.CauseAfterDeadline {
			t.Fatalf("%+v %v", a.Hold, err)
		}
		req := newAuthorizeRequest(20 * 24 * time.Hour)
		req.ExtendedAuthorization = true
		if a, err = r.Authorize(w.Ctx, "extended-1", req, "api"); err != nil ||
			a.Hold.State != hold.Scheduled {
			t.Fatalf("%+v %v", a.Hold, err)
		}
	})
}

// TestAuthorize_CallerCancels: a browser that closes leaves no card held
// without a hold.
func TestAuthorize_CallerCancels(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		w.Sim.SetFaultFunc(func(c stripesim.Call) stripesim.Fault {
			if c.Class == stripesim.ClassCreate {
				return stripesim.Fault{RequestDelay: 2 * time.Second, ReplyDelay: 2 * time.Second}
			}
			return stripesim.Fault{}
		})
		ctx, cancel := context.WithCancel(w.Ctx)
		done := make(chan error, 1)
		go func() {
			_, err := r.Authorize(ctx, callerKey, newAuthorizeRequest(48*time.Hour), "api")
			done <- err
		}()
		time.Sleep(time.Second)
		cancel()
		<-done
		synctest.Wait()
		if h := w.mustGet(r, w.mustOneAuthorization()); h.State != hold.Scheduled {
			t.Errorf("%+v", h)
		}
	})
}

// crashPoint counts a replica's side effects and dies at one of them.
type crashPoint struct {
	mu      sync.Mutex
	steps   int
	crashAt int
	replica *replica
}

// nextStep reports whether to go on.
func (d *crashPoint) nextStep() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.steps++; d.steps == d.crashAt {
		d.replica.Kill()
	}
	return d.steps < d.crashAt
}

func (d *crashPoint) countStep() { d.nextStep() }

// newCrashingWorker makes a worker on the replica's connections that dies at
// its nth side effect: before one, or after it and before its answer is heard.
func (w *testEnv) newCrashingWorker(r *replica, crashAt int) *worker.Worker {
	w.T.Helper()
	crash := &crashPoint{crashAt: crashAt, replica: r}
	o := w.opts
	o.Replica = "doomed"
	doomed := &crashingStore{r.store, crash}
	stores := wiring.Stores(r.store)
	stores.Attempts, stores.Commit = doomed, doomed
	out, err := wiring.New(stores, r.store, r.NewGateway(crash.countStep), o)
	if err != nil {
		w.T.Fatal(err)
	}
	return out
}

type crashingStore struct {
	*store.Store
	crash *crashPoint
}

func (s *crashingStore) wrapCall(err *error) func() {
	s.crash.nextStep()
	return func() {
		if !s.crash.nextStep() {
			*err = envtest.ErrKilled
		}
	}
}

func (s *crashingStore) BeginAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, lease, resumeIn time.Duration,
) (rec hold.AuthorizationAttempt, b hold.AttemptLookup, now time.Time, err error) {
	defer s.wrapCall(&err)()
	return s.Store.BeginAuthorization(ctx, a, token, lease, resumeIn)
}

func (s *crashingStore) SaveAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, release bool, next time.Time,
) (ok bool, err error) {
	defer s.wrapCall(&err)()
	return s.Store.SaveAuthorization(ctx, a, token, release, next)
}

func (s *crashingStore) Commit(
	ctx context.Context, writes []hold.RecordWrite,
) (ok []bool, err error) {
	defer s.wrapCall(&err)()
	return s.Store.Commit(ctx, writes)
}
