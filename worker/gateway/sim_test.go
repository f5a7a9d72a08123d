package gateway_test

import (
	"context"
	"maps"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// world is the simulator with a gateway on it, in virtual time.
type world struct {
	t   *testing.T
	sim *stripesim.Sim
	g   *gateway.Gateway
}

func inWorld(t *testing.T, o stripesim.Options, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Seed, o.EndpointRate, o.OverallRate = 1, -1, -1
		sim := stripesim.New(o)
		f(t, &world{t: t, sim: sim, g: open(t, gateway.Options{Transport: sim.Transport()})})
	})
}

func (w *world) authorize(h stripesim.Hold) string {
	w.t.Helper()
	if h.Amount == 0 {
		h.Amount, h.Currency, h.PaymentMethod = 10000, "eur", "pm_card_visa"
	}
	id, err := w.sim.Authorize(h)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) fault(r stripesim.Rule) {
	w.t.Helper()
	if _, err := w.sim.AddFault(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) do(c hold.Call, want hold.AnswerKind) hold.Answer {
	w.t.Helper()
	a := w.g.Do(w.t.Context(), c)
	if a.Kind != want {
		w.t.Errorf("%s: %+v, want %s", c.Op, a, want)
	}
	return a
}

// effects counts what happened to an intent.
func (w *world) effects(id string, kind stripesim.EffectKind) (n int) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind == kind {
			n++
		}
	}
	return n
}

func TestSimSettles(t *testing.T) {
	inWorld(t, stripesim.Options{Connected: []string{account}}, func(t *testing.T, w *world) {
		id := w.authorize(stripesim.Hold{})
		in := w.do(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
		if in.Status != hold.StatusRequiresCapture || in.AmountCapturable != 10000 || in.Currency != "eur" || in.PaymentMethodType != "card" || in.Livemode ||
			!in.CaptureBefore.After(time.Now()) || in.Created.IsZero() {
			t.Errorf("%+v", in)
		}
		a := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "all"}, hold.AnswerOK)
		if a.Intent.Status != hold.StatusSucceeded || a.Intent.AmountReceived != 10000 || a.RequestID == "" || a.Replayed {
			t.Errorf("all: %+v %+v", a, a.Intent)
		}
		again := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "all"}, hold.AnswerOK)
		if !again.Replayed || again.Intent.AmountReceived != 10000 {
			t.Errorf("the same key: %+v", again)
		}
		other := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "other"}, hold.AnswerUnexpectedState)
		if other.Intent == nil || other.Intent.Status != hold.StatusSucceeded || other.Intent.AmountReceived != 10000 {
			t.Errorf("another key: %+v", other)
		}
		w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Amount: 500, Key: "all"}, hold.AnswerIdempotencyError)
		w.do(hold.Call{Op: hold.OpCancel, PaymentIntent: id, Key: "late"}, hold.AnswerUnexpectedState)
		if n := w.effects(id, stripesim.Captured); n != 1 {
			t.Errorf("%d captures", n)
		}

		id = w.authorize(stripesim.Hold{})
		in = w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Amount: 2500, Key: "part"}, hold.AnswerOK).Intent
		if in.Status != hold.StatusSucceeded || in.AmountReceived != 2500 || in.AmountCapturable != 0 {
			t.Errorf("part: %+v", in)
		}

		id = w.authorize(stripesim.Hold{})
		in = w.do(hold.Call{Op: hold.OpCancel, PaymentIntent: id, Key: "cancel"}, hold.AnswerOK).Intent
		if in.Status != hold.StatusCanceled || in.CancellationReason != "abandoned" {
			t.Errorf("cancel: %+v", in)
		}
		late := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "after-cancel"}, hold.AnswerUnexpectedState)
		if late.Intent == nil || late.Intent.Status != hold.StatusCanceled {
			t.Errorf("capture after cancel: %+v", late)
		}

		id = w.authorize(stripesim.Hold{})
		w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Amount: 10001, Key: "too-much"}, hold.AnswerAmountTooLarge)
		w.do(hold.Call{Op: hold.OpRead, PaymentIntent: "pi_3NobodyKnowsThis"}, hold.AnswerNotFound)

		id = w.authorize(stripesim.Hold{Amount: 4000, Currency: "eur", PaymentMethod: "pm_card_visa", Account: account})
		w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "wrong-account"}, hold.AnswerNotFound)
		in = w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Account: account, Key: "right-account"}, hold.AnswerOK).Intent
		if in.AmountReceived != 4000 {
			t.Errorf("connected: %+v", in)
		}

		id = w.authorize(stripesim.Hold{Amount: 9000, Currency: "eur", PaymentMethod: "pm_card_visa", Multicapture: true})
		first := w.g.Capture(t.Context(), gateway.CaptureParams{PaymentIntent: id, Key: "m1", Amount: new(int64(3000)), Final: new(false)})
		if first.Kind != hold.AnswerOK || first.Intent.Status != hold.StatusRequiresCapture || first.Intent.AmountCapturable != 6000 {
			t.Errorf("not final: %+v %+v", first, first.Intent)
		}
		rest := w.g.Capture(t.Context(), gateway.CaptureParams{PaymentIntent: id, Key: "m2", Amount: new(int64(0)), Final: new(true)})
		if rest.Kind != hold.AnswerOK || rest.Intent.Status != hold.StatusSucceeded || rest.Intent.AmountReceived != 3000 {
			t.Errorf("rest: %+v %+v", rest, rest.Intent)
		}

		id = w.authorize(stripesim.Hold{Multicapture: true})
		if err := w.sim.Dashboard().CapturePart(id, 4000); err != nil {
			t.Fatal(err)
		}
		in = w.do(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
		if in.Status != hold.StatusRequiresCapture || in.AmountReceived != 4000 || in.AmountCapturable != 6000 || in.SingleCapture {
			t.Errorf("captured in part by another system: %+v", in)
		}
		in = w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, ReleaseRest: true, Key: "release"}, hold.AnswerOK).Intent
		if in.Status != hold.StatusSucceeded || in.AmountReceived != 4000 {
			t.Errorf("released: %+v", in)
		}
		if in = w.do(hold.Call{Op: hold.OpRead, PaymentIntent: w.authorize(stripesim.Hold{})}, hold.AnswerOK).Intent; !in.SingleCapture {
			t.Errorf("without multicapture: %+v", in)
		}
	})
}

// TestSimLostReply: whatever happened to the reply, the same key brings the outcome and no second effect.
func TestSimLostReply(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{stripesim.DropReply, stripesim.BrokenBody, stripesim.CutBody, stripesim.HTMLAfter} {
		for op, effect := range map[hold.Op]stripesim.EffectKind{hold.OpCapture: stripesim.Captured, hold.OpCancel: stripesim.Canceled} {
			inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
				id := w.authorize(stripesim.Hold{})
				w.fault(stripesim.Rule{Intent: id, Nth: 1, Fault: stripesim.Fault{Kind: kind}})
				c := hold.Call{Op: op, PaymentIntent: id, Key: "k"}
				w.do(c, hold.AnswerUnknown)
				if a := w.do(c, hold.AnswerOK); !a.Replayed {
					t.Errorf("%s, %s: %+v", kind, op, a)
				}
				if n := w.effects(id, effect); n != 1 {
					t.Errorf("%s, %s: %d effects", kind, op, n)
				}
			})
		}
	}
}

// TestSimLostRequest: nothing happened, and nobody can know; the same key does it.
func TestSimLostRequest(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{stripesim.DropRequest, stripesim.HTML, stripesim.Unavailable, stripesim.Dependency} {
		inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
			id := w.authorize(stripesim.Hold{})
			w.fault(stripesim.Rule{Intent: id, Nth: 1, Fault: stripesim.Fault{Kind: kind}})
			c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			w.do(c, hold.AnswerUnknown)
			if a := w.do(c, hold.AnswerOK); a.Replayed {
				t.Errorf("%s: %+v", kind, a)
			}
		})
	}
}

// TestSimStoredError: a 500 that is kept for the key, whether the effect happened or not. Only reading tells.
func TestSimStoredError(t *testing.T) {
	for kind, want := range map[stripesim.FaultKind]hold.Status{
		stripesim.ErrorAfter: hold.StatusSucceeded, stripesim.ErrorBefore: hold.StatusRequiresCapture,
	} {
		inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
			id := w.authorize(stripesim.Hold{})
			w.fault(stripesim.Rule{Class: stripesim.ClassCapture, Intent: id, Nth: 1, Fault: stripesim.Fault{Kind: kind}})
			c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			w.do(c, hold.AnswerUnknown)
			for range 2 {
				if a := w.do(c, hold.AnswerReplayedError); !a.Replayed || a.HTTPStatus != 500 {
					t.Errorf("%s: %+v", kind, a)
				}
			}
			if in := w.do(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent; in.Status != want {
				t.Errorf("%s: %+v", kind, in)
			}
		})
	}
}

func TestSimOtherAnswers(t *testing.T) {
	for kind, want := range map[stripesim.FaultKind]hold.AnswerKind{
		stripesim.RateLimited: hold.AnswerRateLimited, stripesim.LockTimeout: hold.AnswerLockTimeout, stripesim.Conflict: hold.AnswerKeyInUse,
		stripesim.Unauthorized: hold.AnswerUnauthorized, stripesim.Forbidden: hold.AnswerForbidden, stripesim.NotFound: hold.AnswerNotFound,
	} {
		inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
			id := w.authorize(stripesim.Hold{})
			w.fault(stripesim.Rule{Intent: id, Nth: 1, Fault: stripesim.Fault{Kind: kind}})
			c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			w.do(c, want)
			w.do(c, hold.AnswerOK) // none of them is kept for the key
		})
	}
}

// TestSimInUse: a second request with the key of one that is still under way, and one with another key meanwhile.
func TestSimInUse(t *testing.T) {
	inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
		id := w.authorize(stripesim.Hold{})
		w.fault(stripesim.Rule{Intent: id, Nth: 1, Fault: stripesim.Fault{Service: 3 * time.Second}})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
		first := make(chan hold.Answer)
		go func() { first <- w.g.Do(context.Background(), c) }()
		synctest.Wait()
		w.do(c, hold.AnswerKeyInUse)
		c.Key = "another"
		w.do(c, hold.AnswerLockTimeout)
		if a := <-first; a.Kind != hold.AnswerOK {
			t.Errorf("%+v", a)
		}
	})
}

// TestSimTimeout: the gateway gives up on an answer that comes too late.
func TestSimTimeout(t *testing.T) {
	inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
		id := w.authorize(stripesim.Hold{})
		w.fault(stripesim.Rule{Intent: id, Nth: 1, Fault: stripesim.Fault{After: time.Minute}})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
		start := time.Now()
		w.do(c, hold.AnswerUnknown)
		if took := time.Since(start); took != gateway.DefaultTimeout {
			t.Errorf("gave up after %s", took)
		}
		if a := w.do(c, hold.AnswerOK); !a.Replayed {
			t.Errorf("%+v", a)
		}
	})
}

func TestSimExpired(t *testing.T) {
	for _, reason := range []string{"automatic", "expired"} {
		inWorld(t, stripesim.Options{ExpiryReason: reason}, func(t *testing.T, w *world) {
			id := w.authorize(stripesim.Hold{})
			w.sim.Advance(31 * 24 * time.Hour)
			w.sim.Tick()
			a := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}, hold.AnswerUnexpectedState)
			if a.Intent == nil || a.Intent.Status != hold.StatusCanceled || a.Intent.CancellationReason != reason {
				t.Errorf("%+v %+v", a, a.Intent)
			}
			if in := w.do(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent; in.CancellationReason != reason || in.AmountCapturable != 0 {
				t.Errorf("%+v", in)
			}
		})
	}
}

func TestSimChargeCodes(t *testing.T) {
	inWorld(t, stripesim.Options{AlreadyCapturedCode: "charge_already_captured", ExpiredCode: "charge_expired_for_capture"}, func(t *testing.T, w *world) {
		id := w.authorize(stripesim.Hold{})
		if err := w.sim.Dashboard().Capture(id, 0); err != nil {
			t.Fatal(err)
		}
		w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "a"}, hold.AnswerChargeGone)
		id = w.authorize(stripesim.Hold{})
		w.sim.Advance(31 * 24 * time.Hour)
		w.sim.Tick()
		w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "b"}, hold.AnswerChargeGone)
	})
}

// TestSimList pages through everything, newest first, each intent once.
func TestSimList(t *testing.T) {
	inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
		start := time.Now()
		var want []string
		for range 250 {
			want = append(want, w.authorize(stripesim.Hold{}))
			w.sim.Advance(time.Second)
		}
		slices.Reverse(want)
		var got []string
		q := gateway.ListQuery{CreatedFrom: start, CreatedTo: start.Add(time.Hour)}
		pages := 0
		for more := true; more; pages++ {
			var page []hold.Intent
			var a hold.Answer
			page, more, a = w.g.List(t.Context(), q)
			if a.Kind != hold.AnswerOK {
				t.Fatalf("%+v", a)
			}
			for _, in := range page {
				if in.CaptureBefore.IsZero() || in.PaymentMethodType != "card" {
					t.Fatalf("the charge isn't expanded: %+v", in)
				}
				got = append(got, in.ID)
			}
			q.StartingAfter = page[len(page)-1].ID
		}
		if pages != 3 || !slices.Equal(got, want) {
			t.Errorf("%d pages, %d intents", pages, len(got))
		}
		page, _, a := w.g.List(t.Context(), gateway.ListQuery{CreatedFrom: start.Add(10 * time.Second), CreatedTo: start.Add(20 * time.Second)})
		if len(page) != 10 || a.Kind != hold.AnswerOK {
			t.Errorf("%d intents in 10 s: %+v", len(page), a)
		}
		if a := w.g.Check(t.Context()); a.Kind != hold.AnswerOK {
			t.Errorf("%+v", a)
		}
		w.sim.RevokeKey(testKey)
		if a := w.g.Check(t.Context()); a.Kind != hold.AnswerUnauthorized || a.Message == "" {
			t.Errorf("%+v", a)
		}
	})
}

// TestSimOverSockets: the same over real connections, where a dropped one is a dropped one.
func TestSimOverSockets(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1})
	s := httptest.NewUnstartedServer(sim.Handler())
	s.Config.ErrorLog = quiet()
	s.Start()
	defer s.Close()
	w := &world{t: t, sim: sim, g: open(t, gateway.Options{Base: s.URL})}
	for _, kind := range []stripesim.FaultKind{stripesim.DropRequest, stripesim.DropReply, stripesim.CutBody, stripesim.BrokenBody} {
		id := w.authorize(stripesim.Hold{})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k-" + id}
		w.fault(stripesim.Rule{Intent: id, Times: 2, Fault: stripesim.Fault{Kind: kind}})
		// net/http may have sent it again by itself over a new connection, and met the second fault or the end of it.
		for range 3 {
			if a := w.g.Do(t.Context(), c); a.Kind == hold.AnswerOK {
				break
			} else if a.Kind != hold.AnswerUnknown {
				t.Errorf("%s: %+v", kind, a)
			}
		}
		if st, _ := sim.Intent(id); st.Received != 10000 || w.effects(id, stripesim.Captured) != 1 {
			t.Errorf("%s: %+v", kind, st)
		}
	}
}

// net/http sends a request with an Idempotency-Key again by itself when a kept-alive connection dies. The answer to the second try can come
// before Stripe looks at the key: it must not pass for "nothing happened".
func TestSimRepeatedOnTheWay(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1})
	s := httptest.NewUnstartedServer(sim.Handler())
	s.Config.ErrorLog = quiet()
	s.Start()
	defer s.Close()
	w := &world{t: t, sim: sim, g: open(t, gateway.Options{Base: s.URL})}
	id := w.authorize(stripesim.Hold{})
	w.do(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK) // leaves a connection that is kept alive
	w.fault(stripesim.Rule{Intent: id, Class: stripesim.ClassCapture, Nth: 1, Fault: stripesim.Fault{Kind: stripesim.DropReply}})
	w.fault(stripesim.Rule{Intent: id, Class: stripesim.ClassCapture, Times: 1, Fault: stripesim.Fault{Kind: stripesim.LockTimeout}})
	a := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k-" + id}, hold.AnswerLockTimeout)
	if !a.Retransmitted || w.effects(id, stripesim.Captured) != 1 {
		t.Errorf("repeated %v, captured %d times", a.Retransmitted, w.effects(id, stripesim.Captured))
	}
	if a := w.do(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k-" + id}, hold.AnswerOK); a.Retransmitted {
		t.Error("an ordinary call passes for a repeated one")
	}
}

func TestSimUpdates(t *testing.T) {
	inWorld(t, stripesim.Options{}, func(t *testing.T, w *world) {
		id := w.authorize(stripesim.Hold{Amount: 10000, Currency: "eur", PaymentMethod: "pm_card_visa", Metadata: map[string]string{"room": "12", "holdd_paused": "true"}})
		pairs := map[string]string{"holdd_capture_at": "2026-12-01T10:00:00Z", "holdd_paused": ""}
		a := w.g.Update(t.Context(), id, "", pairs, "u-1")
		if a.Kind != hold.AnswerOK || a.Intent.CaptureBefore.IsZero() || !maps.Equal(a.Intent.Metadata, map[string]string{"room": "12", "holdd_capture_at": "2026-12-01T10:00:00Z"}) {
			t.Errorf("%+v %+v", a, a.Intent)
		}
		if a = w.g.Update(t.Context(), id, "", pairs, "u-1"); a.Kind != hold.AnswerOK || !a.Replayed {
			t.Errorf("again: %+v", a)
		}
		if a = w.g.Update(t.Context(), id, "", map[string]string{"room": "13"}, "u-1"); a.Kind != hold.AnswerIdempotencyError {
			t.Errorf("other pairs: %+v", a)
		}
		w.fault(stripesim.Rule{Class: stripesim.ClassUpdate, Times: 1, Fault: stripesim.Fault{Kind: stripesim.DropReply}})
		if a = w.g.Update(t.Context(), id, "", map[string]string{"room": "13"}, "u-2"); a.Kind != hold.AnswerUnknown {
			t.Errorf("reply lost: %+v", a)
		}
		if st, _ := w.sim.Intent(id); st.Metadata["room"] != "13" {
			t.Errorf("%v", st.Metadata)
		}
		w.fault(stripesim.Rule{Class: stripesim.ClassUpdate, Times: 1, Fault: stripesim.Fault{Kind: stripesim.RateLimited}})
		if a = w.g.Update(t.Context(), id, "", map[string]string{"room": "14"}, "u-3"); a.Kind != hold.AnswerRateLimited {
			t.Errorf("rate: %+v", a)
		}
	})
}
