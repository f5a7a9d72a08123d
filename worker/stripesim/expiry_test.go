package stripesim_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const day = 24 * time.Hour

func TestDeadlines(t *testing.T) {
	visaShort, week := 4*day+18*time.Hour, 7*day
	for _, row := range []struct {
		method   string
		kind     stripesim.Kind
		extended bool
		want     time.Duration
	}{
		{"pm_card_visa", stripesim.Online, false, week},
		{"pm_card_visa", stripesim.OffSession, false, visaShort},
		{"pm_card_visa", stripesim.Terminal, false, visaShort},
		{"pm_card_visa", stripesim.Online, true, 29*day + 18*time.Hour},
		{"pm_card_mastercard", stripesim.Online, false, week},
		{"pm_card_mastercard", stripesim.OffSession, false, week},
		{"pm_card_mastercard", stripesim.Terminal, false, 2 * day},
		{"pm_card_amex", stripesim.OffSession, false, week},
		{"pm_card_amex", stripesim.Terminal, false, 2 * day},
		{"pm_card_discover", stripesim.Terminal, false, 2 * day},
		{"pm_card_mastercard", stripesim.Online, true, 30 * day},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, free(1))
			id := c.hold(stripesim.Hold{PaymentMethod: row.method, Kind: row.kind, Extended: row.extended})
			details := "latest_charge.payment_method_details.card"
			if row.kind == stripesim.Terminal {
				details += "_present"
			}
			a := c.ok("GET", path(id), "expand[]=latest_charge")
			equal(t, row.method, time.Duration(a.num(details+".capture_before")-a.num("created"))*time.Second, row.want)
			status := "disabled"
			if row.extended {
				status = "enabled"
			}
			if row.kind != stripesim.Terminal {
				equal(t, "extended", a.str(details+".extended_authorization.status"), status)
			}
			time.Sleep(row.want - time.Second)
			equal(t, "just before", c.state(id).Status, "requires_capture")
			time.Sleep(time.Second)
			equal(t, "at the deadline", c.state(id).Status, "canceled")
		})
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, free(1))
		id := c.hold(stripesim.Hold{})
		part := c.hold(stripesim.Hold{Multicapture: true})
		c.ok("POST", path(part, "capture"), "amount_to_capture=400&final_capture=false")
		due := c.state(id).CaptureBefore
		time.Sleep(10 * day)

		a := c.refused(400, "payment_intent_unexpected_state", "POST", path(id, "capture"), "")
		equal(t, "status", a.str("error.payment_intent.status"), "canceled")
		equal(t, "reason", a.str("error.payment_intent.cancellation_reason"), "automatic")
		equal(t, "capturable", a.num("error.payment_intent.amount_capturable"), 0)
		equal(t, "canceled_at", a.num("error.payment_intent.canceled_at"), due.Unix())
		equal(t, "effects", c.effects(id), "authorized 1000, expired 1000!")
		equal(t, "events", c.types(id), "payment_intent.created charge.succeeded payment_intent.amount_capturable_updated charge.expired payment_intent.canceled")
		newest := c.ok("GET", "/v1/events", "type=charge.expired")
		equal(t, "event's time", newest.num("data.1.created"), due.Unix())
		if newest.at("data.1.request.id") != nil {
			t.Error("an automatic event names a request")
		}

		st := c.state(part)
		equal(t, "part", st.Status, "succeeded")
		equal(t, "effects", c.effects(part), "authorized 1000, captured 400, expired 600!")

		c.sim.SetCodes("charge_already_captured", "charge_expired_for_capture")
		c.refused(400, "charge_expired_for_capture", "POST", path(id, "capture"), "")
		done := c.hold(stripesim.Hold{})
		c.ok("POST", path(done, "capture"), "")
		c.refused(400, "charge_already_captured", "POST", path(done, "capture"), "")
	})
}

func TestExpiryOfItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := free(1)
		o.ExpiryReason = "expired"
		o.Deadline = func(stripesim.Card) time.Duration { return time.Hour }
		seen := make(chan stripesim.Event, 100)
		o.OnEvent = func(e stripesim.Event) { seen <- e }
		c := newClient(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { c.sim.Run(ctx); close(ran) }()
		start := time.Now()
		id := c.hold(stripesim.Hold{})
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		close(seen)
		var last stripesim.Event
		for last = range seen {
		}
		equal(t, "event", last.Type, "payment_intent.canceled")
		equal(t, "at", last.Created.Sub(start), time.Hour)
		equal(t, "reason", c.state(id).CancellationReason, "expired")
		cancel()
		<-ran
	})
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := free(1)
		o.Speed = 3600
		c := newClient(t, o)
		id := c.hold(stripesim.Hold{})
		start := c.sim.Now()
		time.Sleep(time.Second)
		equal(t, "speed", c.sim.Now().Sub(start), time.Hour)
		c.sim.Advance(day)
		equal(t, "advance", c.sim.Now().Sub(start), 25*time.Hour)
		if err := c.sim.SetCaptureBefore(id, c.sim.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		equal(t, "a deadline moved to the past", c.state(id).Status, "canceled")
		if err := c.sim.SetCaptureBefore(id, c.sim.Now()); err == nil {
			t.Error("moved the deadline of what is gone")
		}
	})
}

// A clock that is behind makes what is new look old, and lasts for as long as any other.
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
