package stripesim_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// TestWebhook_ThinEvents delivers thin events, which are not in /v1.
func TestWebhook_ThinEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []stripesim.Delivery
		o := unlimitedOptions(1)
		o.Webhook = stripesim.Webhook{URL: "http://127.0.0.1:1/hook", Thin: true,
			Secrets: []string{"whsec_1"}, Attempts: 1,
			Deliver: func(_ context.Context, d stripesim.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, d)
				return nil
			}}
		c := newTestClient(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.sim.Run(ctx); close(done) }()
		id := c.authorize(stripesim.Hold{Account: "acct_other"})
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		got = nil
		mu.Unlock()
		c.mustSucceed("POST", intentPath(id, "capture"), "", "Stripe-Account", "acct_other",
			"Idempotency-Key", "k1")
		time.Sleep(time.Second)
		synctest.Wait()
		types := map[string]string{}
		mu.Lock()
		defer mu.Unlock()
		for _, d := range got {
			var e testResponse
			if err := json.Unmarshal(d.Event.Payload, &e.body); err != nil {
				t.Fatal(err)
			}
			types[e.stringAt("type")] = e.stringAt("related_object.id")
			assertEqual(t, "signature",
				isSignatureValid(d.Event.Payload, d.Signature, "whsec_1"), true)
			assertEqual(t, "object", e.stringAt("object"), "v2.core.event")
			assertEqual(t, "context", e.stringAt("context"), "acct_other")
			assertEqual(t, "key", e.stringAt("reason.request.idempotency_key"), "k1")
			assertEqual(t, "data", e.valueAt("data"), nil)
			if at, err := time.Parse(time.RFC3339Nano, e.stringAt("created")); err != nil ||
				!at.Equal(d.Event.Created) {
				t.Errorf("created %s, %v", at, err)
			}
		}
		assertEqual(t, "intent", types["v1.payment_intent.succeeded"], id)
		assertEqual(t, "charge", types["v1.charge.captured"][:3], "ch_")
		assertEqual(t, "endpoints",
			len(c.get("/v1/webhook_endpoints", "").valueAt("data").([]any)), 0)
		assertEqual(t, "snapshot in the log", c.mustSucceed("GET", "/v1/events", "limit=1",
			"Stripe-Account", "acct_other").stringAt("data.0.object"), "event")
		cancel()
		<-done
	})
}
