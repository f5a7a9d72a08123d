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

func TestIdempotencyKey_Replay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, unlimitedOptions(1))
		id := c.authorize(stripesim.Hold{})
		key := []string{"Idempotency-Key", "k1"}
		first := c.mustSucceed("POST", intentPath(id, "capture"),
			"amount_to_capture=700&metadata[a]=b", key...)
		assertEqual(t, "replayed", first.header.Get("Idempotent-Replayed"), "")
		assertEqual(t, "key", first.header.Get("Idempotency-Key"), "k1")
		// in another order
		again := c.mustSucceed("POST", intentPath(id, "capture"),
			"metadata[a]=b&amount_to_capture=700", key...)
		assertEqual(t, "replayed", again.header.Get("Idempotent-Replayed"), "true")
		assertEqual(t, "body", string(again.raw), string(first.raw))
		assertEqual(t, "original", again.header.Get("Original-Request"),
			first.header.Get("Request-Id"))
		assertEqual(t, "effects", c.formatEffects(id),
			"authorized 1000, captured 700!, released 300")

		a := c.mustFail(400, "", "POST", intentPath(id, "capture"), "amount_to_capture=701", key...)
		assertEqual(t, "other parameters", a.stringAt("error.type"), "idempotency_error")
		a = c.mustFail(400, "", "POST", intentPath(id, "cancel"), "", key...)
		assertEqual(t, "other endpoint", a.stringAt("error.type"), "idempotency_error")
		other := c.authorize(stripesim.Hold{})
		a = c.mustFail(400, "", "POST", intentPath(other, "capture"),
			"amount_to_capture=700&metadata[a]=b", key...)
		assertEqual(t, "other intent", a.stringAt("error.type"), "idempotency_error")
		c.mustSucceed("GET", intentPath(id), "", key...) // means nothing on a GET
		c.mustFail(400, "", "POST", intentPath(id, "capture"), "", "Idempotency-Key",
			strings.Repeat("k", 256))

		// Another account has its own keys.
		theirs := c.authorize(stripesim.Hold{Account: "acct_other"})
		c.mustSucceed("POST", intentPath(theirs, "capture"), "",
			append(key, "Stripe-Account", "acct_other")...)

		// Errors of execution are stored, errors of parameters are not.
		two := []string{"Idempotency-Key", "k2"}
		c.mustFail(400, "parameter_unknown", "POST", intentPath(other, "capture"), "amount=1",
			two...)
		c.mustFail(400, "amount_too_large", "POST", intentPath(other, "capture"),
			"amount_to_capture=5000", two...)
		a = c.mustFail(400, "amount_too_large", "POST", intentPath(other, "capture"),
			"amount_to_capture=5000", two...)
		assertEqual(t, "replayed", a.header.Get("Idempotent-Replayed"), "true")
		declined := manualCaptureForm + "pm_card_chargeCustomerFail"
		three := []string{"Idempotency-Key", "k3"}
		one := c.mustFail(402, "card_declined", "POST", "/v1/payment_intents", declined, three...)
		same := c.mustFail(402, "card_declined", "POST", "/v1/payment_intents", declined, three...)
		assertEqual(t, "the same intent", same.stringAt("error.payment_intent.id"),
			one.stringAt("error.payment_intent.id"))

		// After 24 hours the key executes anew.
		time.Sleep(day - time.Second)
		assertEqual(t, "kept", c.mustSucceed("POST", intentPath(id, "capture"),
			"amount_to_capture=700&metadata[a]=b", key...).header.Get("Idempotent-Replayed"),
			"true")
		time.Sleep(time.Second)
		a = c.mustFail(400, "payment_intent_unexpected_state", "POST", intentPath(id, "capture"),
			"amount_to_capture=700&metadata[a]=b", key...)
		assertEqual(t, "pruned", a.header.Get("Idempotent-Replayed"), "")
		c.sim.PruneIdempotencyKeys("k1")
		assertEqual(t, "pruned by hand", c.call("POST", intentPath(id, "capture"), "",
			key...).header.Get("Idempotent-Replayed"), "")
	})
}

func TestIdempotencyKey_InUseAndLockTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unlimitedOptions(1)
		o.ServiceTime = time.Second
		c := newTestClient(t, o)
		id := c.authorize(stripesim.Hold{})
		var wg sync.WaitGroup
		wg.Go(func() {
			start := time.Now()
			c.mustSucceed("POST", intentPath(id, "capture"), "", "Idempotency-Key", "k")
			assertEqual(t, "took", time.Since(start), time.Second)
		})
		time.Sleep(500 * time.Millisecond)
		a := c.mustFail(409, "idempotency_key_in_use", "POST", intentPath(id, "capture"),
			"", "Idempotency-Key", "k")
		assertEqual(t, "should retry", a.header.Get("Stripe-Should-Retry"), "true")
		a = c.mustFail(429, "lock_timeout", "POST", intentPath(id, "cancel"), "",
			"Idempotency-Key", "k9")
		assertEqual(t, "reason", a.header.Get("Stripe-Rate-Limited-Reason"), "")
		if err := c.sim.Dashboard().Cancel(id, ""); err == nil ||
			!strings.Contains(err.Error(), "lock_timeout") {
			t.Errorf("the Dashboard ignored a lock: %v", err)
		}
		c.mustSucceed("GET", intentPath(id), "")
		wg.Wait()
		assertEqual(t, "replayed", c.mustSucceed("POST", intentPath(id, "capture"), "",
			"Idempotency-Key", "k").header.Get("Idempotent-Replayed"), "true")
		a = c.mustFail(400, "payment_intent_unexpected_state", "POST", intentPath(id, "cancel"), "",
			"Idempotency-Key", "k9")
		assertEqual(t, "a 429 is not stored", a.header.Get("Idempotent-Replayed"), "")
		assertEqual(t, "lock timeouts", c.sim.Stats().LockTimeouts, 1)
	})
}

func TestCall_ContextTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, unlimitedOptions(1))
		id := c.authorize(stripesim.Hold{})
		send := func(f stripesim.Fault) error {
			c.sim.Faults.SetFaultFunc(func(stripesim.Call) stripesim.Fault { return f })
			defer c.sim.Faults.SetFaultFunc(nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.send(c.newRequest(ctx, "POST", intentPath(id, "capture"), ""))
			return err
		}
		if err := send(stripesim.Fault{RequestDelay: time.Minute}); !errors.Is(
			err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		assertEqual(t, "before the effect", c.formatEffects(id), "authorized 1000")
		if err := send(stripesim.Fault{ReplyDelay: time.Minute}); !errors.Is(
			err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		assertEqual(t, "after the effect", c.formatEffects(id), "authorized 1000, captured 1000!")
	})
}

func TestRateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, stripesim.Options{Seed: 1})
		var ids []string
		for range 40 {
			ids = append(ids, c.authorize(stripesim.Hold{}))
		}
		for _, id := range ids[:25] {
			c.mustSucceed("POST", intentPath(id, "capture"), "", "Idempotency-Key", id)
		}
		a := c.mustFail(429, "rate_limit", "POST", intentPath(ids[25], "capture"), "",
			"Idempotency-Key", ids[25])
		assertEqual(t, "reason", a.header.Get("Stripe-Rate-Limited-Reason"), "endpoint-rate")
		assertEqual(t, "retry after", a.header.Get("Retry-After"), "")
		c.mustSucceed("POST", intentPath(ids[26], "cancel"), "") // another endpoint
		theirs := c.authorize(stripesim.Hold{Account: "acct_other"})
		// another account
		c.mustSucceed("POST", intentPath(theirs, "capture"), "", "Stripe-Account", "acct_other")
		time.Sleep(40 * time.Millisecond)
		// one token is back, and the 429 was not stored
		c.mustSucceed("POST", intentPath(ids[25], "capture"), "", "Idempotency-Key", ids[25])
		c.mustFail(429, "rate_limit", "POST", intentPath(ids[27], "capture"), "")
		st := c.sim.Stats()
		assertEqual(t, "429s", st.RateLimited, 2)
		assertEqual(t, "arrivals", st.MaxPerSecond[stripesim.ClassCapture], 28)
		time.Sleep(time.Minute)
		for range 24 {
			c.mustSucceed("GET", intentPath(ids[0]), "")
			c.mustSucceed("GET", "/v1/events", "")
			c.mustSucceed("GET", "/v1/account", "")
			c.mustSucceed("GET", "/v1/balance", "")
		}
		for range 4 {
			c.mustSucceed("GET", "/v1/payment_intents", "")
		}
		a = c.mustFail(429, "rate_limit", "GET", "/v1/payment_intents", "")
		assertEqual(t, "over all", a.header.Get("Stripe-Rate-Limited-Reason"), "global-rate")
		c.sim.Settings.SetRateLimits(-1, -1)
		for range 200 {
			c.mustSucceed("GET", intentPath(ids[0]), "")
		}

		o := unlimitedOptions(2)
		o.UpdatesPerHour = 3
		c = newTestClient(t, o)
		id := c.authorize(stripesim.Hold{})
		for range 3 {
			c.mustSucceed("POST", intentPath(id), "description=x")
		}
		a = c.mustFail(429, "rate_limit", "POST", intentPath(id), "description=x")
		assertEqual(t, "of one intent", a.header.Get("Stripe-Rate-Limited-Reason"),
			"resource-specific")
		time.Sleep(time.Hour)
		c.mustSucceed("POST", intentPath(id), "description=x")
	})
}

func TestAPIKeys(t *testing.T) {
	o := unlimitedOptions(1)
	o.ConnectedAccounts = []string{"acct_hotel"}
	c := newTestClient(t, o)
	id := c.authorize(stripesim.Hold{})
	with := func(k string) []string { return []string{"Authorization", k} }
	for _, k := range []string{"", "Bearer ", "Bearer nonsense", "Bearer sk_prod_1",
		"Bearer pk_prod_1", "Basic !!!"} {
		a := c.mustFail(401, "", "GET", intentPath(id), "", with(k)...)
		if strings.Contains(string(a.raw), "nonsense") {
			t.Error("the answer shows the key")
		}
	}
	live := "sk_" + "live_" + strings.Repeat("1", 16)
	a := c.mustFail(401, "testmode_charges_only", "POST", intentPath(id, "capture"), "",
		with("Bearer "+live)...)
	if !strings.Contains(a.stringAt("error.message"), "LIVE") ||
		strings.Contains(string(a.raw), live) {
		t.Errorf("a live key is answered with %s", a.raw)
	}
	// sk_test_1:
	assertEqual(t, "basic", c.call("GET", intentPath(id), "",
		with("Basic c2tfdGVzdF8xOg==")...).status, 200)
	assertEqual(t, "restricted", c.call("GET", intentPath(id), "",
		with("Bearer rk_test_1")...).status, 200)

	c.sim.Keys.RestrictKey("rk_test_1", stripesim.ClassRetrieve)
	assertEqual(t, "allowed", c.call("GET", intentPath(id), "", with("Bearer rk_test_1")...).status,
		200)
	c.mustFail(403, "", "POST", intentPath(id, "capture"), "", with("Bearer rk_test_1")...)
	c.sim.Keys.RevokeKey("rk_test_1")
	c.mustFail(401, "", "GET", intentPath(id), "", with("Bearer rk_test_1")...)
	c.sim.Keys.RestoreKey("rk_test_1")
	c.mustFail(404, "resource_missing", "POST", intentPath(id, "capture"), "", "Authorization",
		"Bearer rk_test_1", "Stripe-Account", "acct_hotel")
	c.mustFail(403, "account_invalid", "GET", intentPath(id), "", "Stripe-Account", "acct_stranger")
	assertEqual(t, "effects", c.formatEffects(id), "authorized 1000")
}
