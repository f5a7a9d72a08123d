package gateway_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// simEnv is the Stripe simulator with a gateway, in virtual time.
type simEnv struct {
	t       *testing.T
	sim     *stripesim.Sim
	gateway *gateway.Gateway
}

func runInSim(t *testing.T, o stripesim.Options, f func(t *testing.T, w *simEnv)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Seed, o.EndpointRate, o.OverallRate = 1, -1, -1
		sim := stripesim.New(o)
		g := gatewayOn(t, sim.Transport().RoundTrip)
		f(t, &simEnv{t: t, sim: sim, gateway: g})
	})
}

func (w *simEnv) createHold(h stripesim.Hold) string {
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

func (w *simEnv) addFault(r stripesim.FaultRule) {
	w.t.Helper()
	if _, err := w.sim.Faults.AddFaultRule(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *simEnv) checkDo(c hold.Call, want hold.AnswerKind) hold.Answer {
	w.t.Helper()
	a := w.gateway.Do(w.t.Context(), c)
	if a.Kind != want {
		w.t.Errorf("%s: %+v, want %s", c.Op, a, want)
	}
	return a
}

// countEffects counts the effects of a kind on an intent.
func (w *simEnv) countEffects(id string, kind stripesim.EffectKind) (n int) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind == kind {
			n++
		}
	}
	return n
}

func TestSim_Capture(t *testing.T) {
	o := stripesim.Options{ConnectedAccounts: []string{testAccountID}}
	runInSim(t, o, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{})
		in := w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
		if in.Status != hold.StatusRequiresCapture || in.AmountCapturable != 10000 ||
			in.Currency != "eur" || in.PaymentMethodType != "card" || in.Livemode ||
			!in.CaptureBefore.After(time.Now()) || in.Created.IsZero() {
			t.Errorf("%+v", in)
		}
		capture := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "all"}
		a := w.checkDo(capture, hold.AnswerOK)
		if a.Intent.Status != hold.StatusSucceeded || a.Intent.AmountReceived != 10000 ||
			a.RequestID == "" || a.Replayed {
			t.Errorf("all: %+v %+v", a, a.Intent)
		}
		again := w.checkDo(capture, hold.AnswerOK)
		if !again.Replayed || again.Intent.AmountReceived != 10000 {
			t.Errorf("the same key: %+v", again)
		}
		capture.Amount = 500
		w.checkDo(capture, hold.AnswerIdempotencyError)
		capture.Amount, capture.Key = 0, "other"
		in = w.checkDo(capture, hold.AnswerUnexpectedState).Intent
		if in == nil || in.Status != hold.StatusSucceeded || in.AmountReceived != 10000 {
			t.Errorf("another key: %+v", in)
		}
		w.checkDo(hold.Call{Op: hold.OpCancel, PaymentIntent: id, Key: "late",
			CancellationReason: hold.ReasonAbandoned},
			hold.AnswerUnexpectedState)
		if n := w.countEffects(id, stripesim.EffectCaptured); n != 1 {
			t.Errorf("%d captures", n)
		}

		id = w.createHold(stripesim.Hold{})
		capture = hold.Call{Op: hold.OpCapture, PaymentIntent: id, Amount: 2500, Key: "part"}
		in = w.checkDo(capture, hold.AnswerOK).Intent
		if in.Status != hold.StatusSucceeded || in.AmountReceived != 2500 ||
			in.AmountCapturable != 0 {
			t.Errorf("part: %+v", in)
		}

		id = w.createHold(stripesim.Hold{})
		capture = hold.Call{Op: hold.OpCapture, PaymentIntent: id,
			Amount: 10001, Key: "too-much"}
		w.checkDo(capture, hold.AnswerAmountTooLarge)
		w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: "pi_3DoesNotExist"},
			hold.AnswerNotFound)

		id = w.createHold(stripesim.Hold{
			Amount: 4000, Currency: "eur", PaymentMethod: "pm_card_visa",
			Account: testAccountID,
		})
		capture = hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "wrong-account"}
		w.checkDo(capture, hold.AnswerNotFound)
		capture.Account, capture.Key = testAccountID, "right-account"
		if in = w.checkDo(capture, hold.AnswerOK).Intent; in.AmountReceived != 4000 {
			t.Errorf("connected: %+v", in)
		}

		id = w.createHold(stripesim.Hold{Multicapture: true})
		if err := w.sim.Dashboard().CapturePart(id, 4000); err != nil {
			t.Fatal(err)
		}
		in = w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
		if in.Status != hold.StatusRequiresCapture || in.AmountReceived != 4000 ||
			in.AmountCapturable != 6000 || in.SingleCapture {
			t.Errorf("captured in part by another system: %+v", in)
		}
		release := hold.Call{Op: hold.OpCapture, PaymentIntent: id,
			ReleaseRest: true, Key: "release"}
		if in = w.checkDo(release, hold.AnswerOK).Intent; in.Status != hold.StatusSucceeded ||
			in.AmountReceived != 4000 {
			t.Errorf("released: %+v", in)
		}
		read := hold.Call{Op: hold.OpRead, PaymentIntent: w.createHold(stripesim.Hold{})}
		if in = w.checkDo(read, hold.AnswerOK).Intent; !in.SingleCapture {
			t.Errorf("without multicapture: %+v", in)
		}
	})
}

var allCaptureParams = hold.CaptureParams{ApplicationFeeAmount: 900,
	TransferData: hold.TransferData{Amount: 800}, StatementDescriptorSuffix: "BK-2071",
	CaptureMetadata: map[string]string{"room": "41", "guests": "2"}}

// A retry with the same key sends the same parameters, and Stripe replays the
// capture.
func TestSim_CaptureParams(t *testing.T) {
	o := stripesim.Options{ConnectedAccounts: []string{testAccountID}}
	runInSim(t, o, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{Amount: 10000, Currency: "eur",
			PaymentMethod: "pm_card_visa", Account: testAccountID})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Account: testAccountID, Amount: 2500,
			CaptureParams: allCaptureParams, Key: "k"}
		w.checkDo(c, hold.AnswerOK)
		if a := w.checkDo(c, hold.AnswerOK); !a.Replayed {
			t.Errorf("again: %+v", a)
		}
		want := stripesim.CaptureDetails{ApplicationFeeAmount: 900, TransferAmount: 800,
			DescriptorSuffix: "BK-2071", Metadata: `{"guests":"2","room":"41"}`}
		for _, e := range w.sim.Ledger() {
			if e.Kind == stripesim.EffectCaptured && e.CaptureDetails != want {
				t.Errorf("captured with %+v", e.CaptureDetails)
			}
		}
		c.CaptureParams.ApplicationFeeAmount++
		w.checkDo(c, hold.AnswerIdempotencyError)
	})
}

func TestSim_Cancel(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{})
		in := w.checkDo(hold.Call{Op: hold.OpCancel, PaymentIntent: id, Key: "cancel",
			CancellationReason: hold.ReasonAbandoned},
			hold.AnswerOK).Intent
		if in.Status != hold.StatusCanceled || in.CancellationReason != "abandoned" {
			t.Errorf("cancel: %+v", in)
		}
		capture := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "late"}
		in = w.checkDo(capture, hold.AnswerUnexpectedState).Intent
		if in == nil || in.Status != hold.StatusCanceled {
			t.Errorf("capture after cancel: %+v", in)
		}
	})
}

// TestSim_LostReply checks that a retry with the same key returns the outcome
// and has no second effect.
func TestSim_LostReply(t *testing.T) {
	effects := map[hold.Op]stripesim.EffectKind{
		hold.OpCapture: stripesim.EffectCaptured, hold.OpCancel: stripesim.EffectCanceled,
	}
	for _, kind := range []stripesim.FaultKind{
		stripesim.FaultDropReply, stripesim.FaultBrokenBody, stripesim.FaultCutBody,
		stripesim.FaultHTMLAfter,
	} {
		for op, effect := range effects {
			runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
				id := w.createHold(stripesim.Hold{})
				w.addFault(stripesim.FaultRule{Intent: id, Nth: 1,
					Fault: stripesim.Fault{Kind: kind}})
				c := hold.Call{Op: op, PaymentIntent: id, Key: "k",
					CancellationReason: hold.ReasonAbandoned}
				w.checkDo(c, hold.AnswerUnknown)
				if a := w.checkDo(c, hold.AnswerOK); !a.Replayed {
					t.Errorf("%s, %s: %+v", kind, op, a)
				}
				if n := w.countEffects(id, effect); n != 1 {
					t.Errorf("%s, %s: %d effects", kind, op, n)
				}
			})
		}
	}
}

// TestSim_LostRequest checks that a lost request is unknown, and that a retry
// with the same key has the effect.
func TestSim_LostRequest(t *testing.T) {
	for _, kind := range []stripesim.FaultKind{
		stripesim.FaultDropRequest, stripesim.FaultHTML, stripesim.FaultUnavailable,
		stripesim.FaultFailedDependency,
	} {
		runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
			id := w.createHold(stripesim.Hold{})
			w.addFault(stripesim.FaultRule{Intent: id, Nth: 1, Fault: stripesim.Fault{Kind: kind}})
			c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			w.checkDo(c, hold.AnswerUnknown)
			if a := w.checkDo(c, hold.AnswerOK); a.Replayed {
				t.Errorf("%s: %+v", kind, a)
			}
		})
	}
}

// TestSim_StoredServerError replays a stored 500, with and without an effect.
// Only a read shows the effect.
func TestSim_StoredServerError(t *testing.T) {
	for kind, want := range map[stripesim.FaultKind]hold.PaymentIntentStatus{
		stripesim.FaultErrorAfter:  hold.StatusSucceeded,
		stripesim.FaultErrorBefore: hold.StatusRequiresCapture,
	} {
		runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
			id := w.createHold(stripesim.Hold{})
			fault := stripesim.Fault{Kind: kind}
			w.addFault(stripesim.FaultRule{Class: stripesim.ClassCapture,
				Intent: id, Nth: 1, Fault: fault})
			c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			w.checkDo(c, hold.AnswerUnknown)
			for range 2 {
				if a := w.checkDo(c, hold.AnswerReplayedError); !a.Replayed || a.HTTPStatus != 500 {
					t.Errorf("%s: %+v", kind, a)
				}
			}
			in := w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
			if in.Status != want {
				t.Errorf("%s: %+v", kind, in)
			}
		})
	}
}

func TestSim_ErrorsNotStoredForKey(t *testing.T) {
	for kind, want := range map[stripesim.FaultKind]hold.AnswerKind{
		stripesim.FaultRateLimited:  hold.AnswerRateLimited,
		stripesim.FaultLockTimeout:  hold.AnswerLockTimeout,
		stripesim.FaultKeyInUse:     hold.AnswerKeyInUse,
		stripesim.FaultUnauthorized: hold.AnswerUnauthorized,
		stripesim.FaultForbidden:    hold.AnswerForbidden,
		stripesim.FaultNotFound:     hold.AnswerNotFound,
	} {
		runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
			id := w.createHold(stripesim.Hold{})
			w.addFault(stripesim.FaultRule{Intent: id, Nth: 1, Fault: stripesim.Fault{Kind: kind}})
			c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			w.checkDo(c, want)
			w.checkDo(c, hold.AnswerOK)
		})
	}
}

// TestSim_ConcurrentCalls sends a second request with the key of a request in
// flight, and one with another key.
func TestSim_ConcurrentCalls(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{})
		w.addFault(stripesim.FaultRule{Intent: id, Nth: 1,
			Fault: stripesim.Fault{ServiceTime: 3 * time.Second}})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
		first := make(chan hold.Answer)
		go func() { first <- w.gateway.Do(context.Background(), c) }()
		synctest.Wait()
		w.checkDo(c, hold.AnswerKeyInUse)
		c.Key = "another"
		w.checkDo(c, hold.AnswerLockTimeout)
		if a := <-first; a.Kind != hold.AnswerOK {
			t.Errorf("%+v", a)
		}
	})
}

// TestSim_Timeout checks a response that arrives after the timeout.
func TestSim_Timeout(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{})
		w.addFault(stripesim.FaultRule{Intent: id, Nth: 1,
			Fault: stripesim.Fault{ReplyDelay: time.Minute}})
		c := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
		start := time.Now()
		w.checkDo(c, hold.AnswerUnknown)
		if took := time.Since(start); took != gateway.DefaultTimeout {
			t.Errorf("gave up after %s", took)
		}
		if a := w.checkDo(c, hold.AnswerOK); !a.Replayed {
			t.Errorf("%+v", a)
		}
	})
}

func TestSim_ExpiredAuthorization(t *testing.T) {
	for _, reason := range []string{"automatic", "expired"} {
		runInSim(t, stripesim.Options{ExpiryReason: reason}, func(t *testing.T, w *simEnv) {
			id := w.createHold(stripesim.Hold{})
			w.sim.Advance(31 * 24 * time.Hour)
			w.sim.ProcessDue()
			capture := hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "k"}
			in := w.checkDo(capture, hold.AnswerUnexpectedState).Intent
			if in == nil || in.Status != hold.StatusCanceled || in.CancellationReason != reason {
				t.Errorf("%+v", in)
			}
			in = w.checkDo(hold.Call{Op: hold.OpRead, PaymentIntent: id}, hold.AnswerOK).Intent
			if in.CancellationReason != reason || in.AmountCapturable != 0 {
				t.Errorf("%+v", in)
			}
		})
	}
}

func TestSim_ChargeErrorCodes(t *testing.T) {
	o := stripesim.Options{
		AlreadyCapturedCode: "charge_already_captured", ExpiredCode: "charge_expired_for_capture",
	}
	runInSim(t, o, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{})
		if err := w.sim.Dashboard().Capture(id, 0); err != nil {
			t.Fatal(err)
		}
		w.checkDo(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "a"}, hold.AnswerChargeGone)
		id = w.createHold(stripesim.Hold{})
		w.sim.Advance(31 * 24 * time.Hour)
		w.sim.ProcessDue()
		w.checkDo(hold.Call{Op: hold.OpCapture, PaymentIntent: id, Key: "b"}, hold.AnswerChargeGone)
	})
}

// TestSim_ListPages checks that the pages have each intent once, newest first.
func TestSim_ListPages(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		var want []string
		for range 250 {
			want = append(want, w.createHold(stripesim.Hold{}))
			w.sim.Advance(time.Second)
		}
		slices.Reverse(want)
		var got []string
		call := hold.Call{Op: hold.OpList}
		pages := 0
		for more := true; more; pages++ {
			page := w.checkDo(call, hold.AnswerOK).Page
			for _, in := range page.Intents {
				if in.CaptureBefore.IsZero() || in.PaymentMethodType != "card" {
					t.Fatalf("the charge is not expanded: %+v", in)
				}
				got = append(got, in.ID)
			}
			more, call.After = page.More, got[len(got)-1]
		}
		if pages != 3 || !slices.Equal(got, want) {
			t.Errorf("%d pages, %d intents", pages, len(got))
		}
	})
}

func TestSim_Check(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		w.createHold(stripesim.Hold{})
		w.checkDo(hold.Call{Op: hold.OpCheck}, hold.AnswerOK)
		w.sim.Keys.RevokeKey(testAPIKey)
		if a := w.checkDo(hold.Call{Op: hold.OpCheck}, hold.AnswerUnauthorized); a.Message == "" {
			t.Errorf("%+v", a)
		}
	})
}

func TestSim_UpdateMetadata(t *testing.T) {
	runInSim(t, stripesim.Options{}, func(t *testing.T, w *simEnv) {
		id := w.createHold(stripesim.Hold{
			Amount: 10000, Currency: "eur", PaymentMethod: "pm_card_visa",
			Metadata: map[string]string{"room": "12", "holdd_paused": "true"},
		})
		update := func(key string, pairs map[string]string, want hold.AnswerKind) hold.Answer {
			t.Helper()
			return w.checkDo(hold.Call{Op: hold.OpUpdate, PaymentIntent: id,
				Metadata: pairs, Key: key}, want)
		}
		failOnce := func(kind stripesim.FaultKind) {
			fault := stripesim.Fault{Kind: kind}
			w.addFault(stripesim.FaultRule{Class: stripesim.ClassUpdate, Times: 1, Fault: fault})
		}
		pairs := map[string]string{"holdd_capture_at": "2026-12-01T10:00:00Z", "holdd_paused": ""}
		after := map[string]string{"room": "12", "holdd_capture_at": "2026-12-01T10:00:00Z"}
		a := update("u-1", pairs, hold.AnswerOK)
		if a.Intent.CaptureBefore.IsZero() || !maps.Equal(a.Intent.Metadata, after) {
			t.Errorf("%+v %+v", a, a.Intent)
		}
		if a = update("u-1", pairs, hold.AnswerOK); !a.Replayed {
			t.Errorf("again: %+v", a)
		}
		update("u-1", map[string]string{"room": "13"}, hold.AnswerIdempotencyError)
		failOnce(stripesim.FaultDropReply)
		update("u-2", map[string]string{"room": "13"}, hold.AnswerUnknown)
		if st, _ := w.sim.Intent(id); st.Metadata["room"] != "13" {
			t.Errorf("%v", st.Metadata)
		}
		failOnce(stripesim.FaultRateLimited)
		update("u-3", map[string]string{"room": "14"}, hold.AnswerRateLimited)
	})
}
