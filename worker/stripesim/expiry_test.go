package stripesim_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const day = 24 * time.Hour

func TestDefaultAuthorizationWindow(t *testing.T) {
	visaShort, week := 4*day+18*time.Hour, 7*day
	for _, row := range []struct {
		method   string
		kind     stripesim.PaymentChannel
		extended bool
		want     time.Duration
	}{
		{"pm_card_visa", stripesim.ChannelOnline, false, week},
		{"pm_card_visa", stripesim.ChannelOffSession, false, visaShort},
		{"pm_card_visa", stripesim.ChannelTerminal, false, visaShort},
		{"pm_card_visa", stripesim.ChannelOnline, true, 29*day + 18*time.Hour},
		{"pm_card_mastercard", stripesim.ChannelOnline, false, week},
		{"pm_card_mastercard", stripesim.ChannelOffSession, false, week},
		{"pm_card_mastercard", stripesim.ChannelTerminal, false, 2 * day},
		{"pm_card_amex", stripesim.ChannelOffSession, false, week},
		{"pm_card_amex", stripesim.ChannelTerminal, false, 2 * day},
		{"pm_card_discover", stripesim.ChannelTerminal, false, 2 * day},
		{"pm_card_mastercard", stripesim.ChannelOnline, true, 30 * day},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, unlimitedOptions(1))
			id := c.authorize(stripesim.Hold{PaymentMethod: row.method, Channel: row.kind,
				Extended: row.extended})
			details := "latest_charge.payment_method_details.card"
			if row.kind == stripesim.ChannelTerminal {
				details += "_present"
			}
			a := c.mustSucceed("GET", intentPath(id), "expand[]=latest_charge")
			assertEqual(t, row.method,
				time.Duration(a.numberAt(details+".capture_before")-a.numberAt(
					"created"))*time.Second, row.want)
			status := "disabled"
			if row.extended {
				status = "enabled"
			}
			if row.kind != stripesim.ChannelTerminal {
				assertEqual(t, "extended", a.stringAt(details+".extended_authorization.status"),
					status)
			}
			time.Sleep(row.want - time.Second)
			assertEqual(t, "just before", c.intentState(id).Status, "requires_capture")
			time.Sleep(time.Second)
			assertEqual(t, "at the deadline", c.intentState(id).Status, "canceled")
		})
	}
}

// TestDefaultAuthorizationWindow_ByPaymentMethodType shows when authorizations
// end that have no capture_before. The clock begins at midnight UTC.
func TestDefaultAuthorizationWindow_ByPaymentMethodType(t *testing.T) {
	for methodType, row := range map[string]struct{ authorizedAfter, want time.Duration }{
		"paypal":            {0, 10 * day},
		"affirm":            {0, 30 * day},
		"afterpay_clearpay": {0, 13 * day},
		"cashapp":           {0, 7 * day},
		"klarna":            {14 * time.Hour, 27*day + 10*time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(row.authorizedAfter)
			c := newTestClient(t, unlimitedOptions(1))
			id := c.authorize(stripesim.Hold{PaymentMethodType: methodType,
				ManualByType: methodType == "paypal"})
			assertEqual(t, methodType, time.Until(c.intentState(id).CaptureBefore), row.want)
			time.Sleep(row.want - time.Second)
			assertEqual(t, "just before", c.intentState(id).Status, "requires_capture")
			time.Sleep(time.Second)
			assertEqual(t, "at the deadline", c.intentState(id).Status, "canceled")
		})
	}
}

func TestExpiry_OnNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, unlimitedOptions(1))
		id := c.authorize(stripesim.Hold{})
		part := c.authorize(stripesim.Hold{Multicapture: true})
		c.mustSucceed("POST", intentPath(part, "capture"),
			"amount_to_capture=400&final_capture=false")
		due := c.intentState(id).CaptureBefore
		time.Sleep(10 * day)

		a := c.mustFail(400, "payment_intent_unexpected_state", "POST", intentPath(id, "capture"),
			"")
		assertEqual(t, "status", a.stringAt("error.payment_intent.status"), "canceled")
		assertEqual(t, "reason", a.stringAt("error.payment_intent.cancellation_reason"),
			"automatic")
		assertEqual(t, "capturable", a.numberAt("error.payment_intent.amount_capturable"), 0)
		assertEqual(t, "canceled_at", a.numberAt("error.payment_intent.canceled_at"), due.Unix())
		assertEqual(t, "effects", c.formatEffects(id), "authorized 1000, expired 1000!")
		assertEqual(t, "events", c.eventTypes(id),
			"payment_intent.created charge.succeeded payment_intent.amount_capturable_updated charge.refunded charge.expired payment_intent.canceled")
		newest := c.mustSucceed("GET", "/v1/events", "type=charge.expired")
		assertEqual(t, "event's time", newest.numberAt("data.1.created"), due.Unix())
		if newest.valueAt("data.1.request.id") != nil {
			t.Error("an automatic event names a request")
		}

		st := c.intentState(part)
		assertEqual(t, "part", st.Status, "succeeded")
		assertEqual(t, "effects", c.formatEffects(part),
			"authorized 1000, captured 400, expired 600!")

		c.sim.Settings.SetCaptureErrorCodes("charge_already_captured", "charge_expired_for_capture")
		c.mustFail(400, "charge_expired_for_capture", "POST", intentPath(id, "capture"), "")
		done := c.authorize(stripesim.Hold{})
		c.mustSucceed("POST", intentPath(done, "capture"), "")
		c.mustFail(400, "charge_already_captured", "POST", intentPath(done, "capture"), "")
	})
}

func TestExpiry_WhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unlimitedOptions(1)
		o.ExpiryReason = "expired"
		o.AuthorizationWindow = func(stripesim.Card) time.Duration { return time.Hour }
		seen := make(chan stripesim.Event, 100)
		o.OnEvent = func(e stripesim.Event) { seen <- e }
		c := newTestClient(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.sim.Run(ctx); close(done) }()
		start := time.Now()
		id := c.authorize(stripesim.Hold{})
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		close(seen)
		var last stripesim.Event
		for last = range seen {
		}
		assertEqual(t, "event", last.Type, "payment_intent.canceled")
		assertEqual(t, "at", last.Created.Sub(start), time.Hour)
		assertEqual(t, "reason", c.intentState(id).CancellationReason, "expired")
		cancel()
		<-done
	})
}

func TestClock_SpeedAndAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unlimitedOptions(1)
		o.Speed = 3600
		c := newTestClient(t, o)
		id := c.authorize(stripesim.Hold{})
		start := c.sim.Now()
		time.Sleep(time.Second)
		assertEqual(t, "speed", c.sim.Now().Sub(start), time.Hour)
		c.sim.Advance(day)
		assertEqual(t, "advance", c.sim.Now().Sub(start), 25*time.Hour)
		if err := c.sim.Dashboard().SetCaptureBefore(id, c.sim.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "a deadline moved to the past", c.intentState(id).Status, "canceled")
		if err := c.sim.Dashboard().SetCaptureBefore(id, c.sim.Now()); err == nil {
			t.Error("moved the deadline of an expired authorization")
		}
	})
}

// With a negative offset a new object looks old, and its authorization lasts as
// long as any other.
func TestClockOffset(t *testing.T) {
	s := stripesim.New(stripesim.Options{Seed: 1, ClockOffset: -time.Hour})
	id, err := s.Authorize(stripesim.Hold{Amount: 500})
	if err != nil {
		t.Fatal(err)
	}
	st, _ := s.Intent(id)
	if age := time.Since(st.Created); age < time.Hour || age > time.Hour+time.Minute {
		t.Errorf("made %s ago", age)
	}
	if left := st.CaptureBefore.Sub(s.Now()); left < 7*24*time.Hour-time.Minute {
		t.Errorf("held for %s", left)
	}
	s.Advance(time.Hour)
	if d := time.Since(s.Now()).Abs(); d > time.Minute {
		t.Errorf("an hour forward, and %s apart", d)
	}
}
