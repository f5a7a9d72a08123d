package stripesim_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestIdempotency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, free(1))
		id := c.hold(stripesim.Hold{})
		key := []string{"Idempotency-Key", "k1"}
		first := c.ok("POST", path(id, "capture"), "amount_to_capture=700&metadata[a]=b", key...)
		equal(t, "replayed", first.header.Get("Idempotent-Replayed"), "")
		equal(t, "key", first.header.Get("Idempotency-Key"), "k1")
		again := c.ok("POST", path(id, "capture"), "metadata[a]=b&amount_to_capture=700", key...) // in another order
		equal(t, "replayed", again.header.Get("Idempotent-Replayed"), "true")
		equal(t, "body", string(again.raw), string(first.raw))
		equal(t, "original", again.header.Get("Original-Request"), first.header.Get("Request-Id"))
		equal(t, "effects", c.effects(id), "authorized 1000, captured 700!, released 300")

		a := c.refused(400, "", "POST", path(id, "capture"), "amount_to_capture=701", key...)
		equal(t, "other parameters", a.str("error.type"), "idempotency_error")
		a = c.refused(400, "", "POST", path(id, "cancel"), "", key...)
		equal(t, "other endpoint", a.str("error.type"), "idempotency_error")
		other := c.hold(stripesim.Hold{})
		a = c.refused(400, "", "POST", path(other, "capture"), "amount_to_capture=700&metadata[a]=b", key...)
		equal(t, "other intent", a.str("error.type"), "idempotency_error")
		c.ok("GET", path(id), "", key...) // means nothing on a GET
		c.refused(400, "", "POST", path(id, "capture"), "", "Idempotency-Key", strings.Repeat("k", 256))

		// Another account has its own keys.
		theirs := c.hold(stripesim.Hold{Account: "acct_other"})
		c.ok("POST", path(theirs, "capture"), "", append(key, "Stripe-Account", "acct_other")...)

		// Errors of execution are stored, errors of parameters are not.
		two := []string{"Idempotency-Key", "k2"}
		c.refused(400, "parameter_unknown", "POST", path(other, "capture"), "amount=1", two...)
		c.refused(400, "amount_too_large", "POST", path(other, "capture"), "amount_to_capture=5000", two...)
		a = c.refused(400, "amount_too_large", "POST", path(other, "capture"), "amount_to_capture=5000", two...)
		equal(t, "replayed", a.header.Get("Idempotent-Replayed"), "true")
		declined := manual + "pm_card_chargeCustomerFail"
		three := []string{"Idempotency-Key", "k3"}
		one := c.refused(402, "card_declined", "POST", "/v1/payment_intents", declined, three...)
		same := c.refused(402, "card_declined", "POST", "/v1/payment_intents", declined, three...)
		equal(t, "the same intent", same.str("error.payment_intent.id"), one.str("error.payment_intent.id"))

		// After 24 hours the key executes anew.
		time.Sleep(day - time.Second)
		equal(t, "kept", c.ok("POST", path(id, "capture"), "amount_to_capture=700&metadata[a]=b", key...).header.Get("Idempotent-Replayed"), "true")
		time.Sleep(time.Second)
		a = c.refused(400, "payment_intent_unexpected_state", "POST", path(id, "capture"), "amount_to_capture=700&metadata[a]=b", key...)
		equal(t, "pruned", a.header.Get("Idempotent-Replayed"), "")
		c.sim.PruneKeys("k1")
		equal(t, "pruned by hand", c.do("POST", path(id, "capture"), "", key...).header.Get("Idempotent-Replayed"), "")
	})
}

func TestKeyInUseAndLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := free(1)
		o.ServiceTime = time.Second
		c := newClient(t, o)
		id := c.hold(stripesim.Hold{})
		var wg sync.WaitGroup
		wg.Go(func() {
			start := time.Now()
			c.ok("POST", path(id, "capture"), "", "Idempotency-Key", "k")
			equal(t, "took", time.Since(start), time.Second)
		})
		time.Sleep(500 * time.Millisecond)
		a := c.refused(409, "idempotency_key_in_use", "POST", path(id, "capture"), "", "Idempotency-Key", "k")
		equal(t, "should retry", a.header.Get("Stripe-Should-Retry"), "true")
		a = c.refused(429, "lock_timeout", "POST", path(id, "cancel"), "", "Idempotency-Key", "k9")
		equal(t, "reason", a.header.Get("Stripe-Rate-Limited-Reason"), "")
		if err := c.sim.Dashboard().Cancel(id, ""); err == nil || !strings.Contains(err.Error(), "lock_timeout") {
			t.Errorf("a person got through a lock: %v", err)
		}
		c.ok("GET", path(id), "")
		wg.Wait()
		equal(t, "replayed", c.ok("POST", path(id, "capture"), "", "Idempotency-Key", "k").header.Get("Idempotent-Replayed"), "true")
		a = c.refused(400, "payment_intent_unexpected_state", "POST", path(id, "cancel"), "", "Idempotency-Key", "k9")
		equal(t, "a 429 is not stored", a.header.Get("Idempotent-Replayed"), "")
		equal(t, "lock timeouts", c.sim.Stats().LockTimeouts, 1)
	})
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, free(1))
		id := c.hold(stripesim.Hold{})
		send := func(f stripesim.Fault) error {
			c.sim.SetFaults(func(stripesim.Call) stripesim.Fault { return f })
			defer c.sim.SetFaults(nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.send(c.request(ctx, "POST", path(id, "capture"), ""))
			return err
		}
		if err := send(stripesim.Fault{Before: time.Minute}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		equal(t, "before the effect", c.effects(id), "authorized 1000")
		if err := send(stripesim.Fault{After: time.Minute}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		equal(t, "after the effect", c.effects(id), "authorized 1000, captured 1000!")
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, stripesim.Options{Seed: 1})
		var ids []string
		for range 40 {
			ids = append(ids, c.hold(stripesim.Hold{}))
		}
		for _, id := range ids[:25] {
			c.ok("POST", path(id, "capture"), "", "Idempotency-Key", id)
		}
		a := c.refused(429, "rate_limit", "POST", path(ids[25], "capture"), "", "Idempotency-Key", ids[25])
		equal(t, "reason", a.header.Get("Stripe-Rate-Limited-Reason"), "endpoint-rate")
		equal(t, "retry after", a.header.Get("Retry-After"), "")
		c.ok("POST", path(ids[26], "cancel"), "") // another endpoint
		theirs := c.hold(stripesim.Hold{Account: "acct_other"})
		c.ok("POST", path(theirs, "capture"), "", "Stripe-Account", "acct_other") // another account
		time.Sleep(40 * time.Millisecond)
		c.ok("POST", path(ids[25], "capture"), "", "Idempotency-Key", ids[25]) // one token is back, and the 429 was not stored
		c.refused(429, "rate_limit", "POST", path(ids[27], "capture"), "")
		st := c.sim.Stats()
		equal(t, "429s", st.RateLimited, 2)
		equal(t, "arrivals", st.MaxPerSecond[stripesim.ClassCapture], 28)
		time.Sleep(time.Minute)
		for range 24 {
			c.ok("GET", path(ids[0]), "")
			c.ok("GET", "/v1/events", "")
			c.ok("GET", "/v1/account", "")
			c.ok("GET", "/v1/balance", "")
		}
		for range 4 {
			c.ok("GET", "/v1/payment_intents", "")
		}
		a = c.refused(429, "rate_limit", "GET", "/v1/payment_intents", "")
		equal(t, "over all", a.header.Get("Stripe-Rate-Limited-Reason"), "global-rate")
		c.sim.SetRates(-1, -1)
		for range 200 {
			c.ok("GET", path(ids[0]), "")
		}

		o := free(2)
		o.UpdatesPerHour = 3
		c = newClient(t, o)
		id := c.hold(stripesim.Hold{})
		for range 3 {
			c.ok("POST", path(id), "description=x")
		}
		a = c.refused(429, "rate_limit", "POST", path(id), "description=x")
		equal(t, "of one intent", a.header.Get("Stripe-Rate-Limited-Reason"), "resource-specific")
		time.Sleep(time.Hour)
		c.ok("POST", path(id), "description=x")
	})
}

func TestKeys(t *testing.T) {
	o := free(1)
	o.Connected = []string{"acct_hotel"}
	c := newClient(t, o)
	id := c.hold(stripesim.Hold{})
	with := func(k string) []string { return []string{"Authorization", k} }
	for _, k := range []string{"", "Bearer ", "Bearer nonsense", "Bearer sk_prod_1", "Bearer pk_test_1", "Basic !!!"} {
		a := c.refused(401, "", "GET", path(id), "", with(k)...)
		if strings.Contains(string(a.raw), "nonsense") {
			t.Error("the answer shows the key")
		}
	}
	live := "sk_" + "live_" + strings.Repeat("1", 16)
	a := c.refused(401, "testmode_charges_only", "POST", path(id, "capture"), "", with("Bearer "+live)...)
	if !strings.Contains(a.str("error.message"), "LIVE") || strings.Contains(string(a.raw), live) {
		t.Errorf("a live key is answered with %s", a.raw)
	}
	equal(t, "basic", c.do("GET", path(id), "", with("Basic c2tfdGVzdF8xOg==")...).status, 200) // sk_test_1:
	equal(t, "restricted", c.do("GET", path(id), "", with("Bearer rk_test_1")...).status, 200)

	c.sim.RestrictKey("rk_test_1", stripesim.ClassRetrieve)
	equal(t, "allowed", c.do("GET", path(id), "", with("Bearer rk_test_1")...).status, 200)
	c.refused(403, "", "POST", path(id, "capture"), "", with("Bearer rk_test_1")...)
	c.sim.RevokeKey("rk_test_1")
	c.refused(401, "", "GET", path(id), "", with("Bearer rk_test_1")...)
	c.sim.RestoreKey("rk_test_1")
	c.refused(404, "resource_missing", "POST", path(id, "capture"), "", "Authorization", "Bearer rk_test_1", "Stripe-Account", "acct_hotel")
	c.refused(403, "account_invalid", "GET", path(id), "", "Stripe-Account", "acct_stranger")
	equal(t, "effects", c.effects(id), "authorized 1000")
}
