package stripesim_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// isSignatureValid checks a signature as Stripe documents it. It shares no code
// with Sign.
func isSignatureValid(payload []byte, header, secret string) bool {
	var stamp string
	var sums []string
	for _, p := range strings.Split(header, ",") {
		k, v, _ := strings.Cut(p, "=")
		switch k {
		case "t":
			stamp = v
		case "v1":
			sums = append(sums, v)
		}
	}
	m := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(m, "%s.%s", stamp, payload)
	for _, s := range sums {
		if b, err := hex.DecodeString(s); err == nil && hmac.Equal(b, m.Sum(nil)) {
			return true
		}
	}
	return false
}

func TestWebhook_DeliveryAndRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []stripesim.Delivery
		var at []time.Duration
		start := time.Now()
		fail := 2
		o := unlimitedOptions(1)
		o.Webhook = stripesim.Webhook{Secrets: []string{"whsec_old", "whsec_new"},
			APIVersion: "2025-01-27.acacia", Attempts: 3, Backoff: time.Second,
			Deliver: func(_ context.Context, d stripesim.Delivery) error {
				if d.Event.Type != "charge.captured" {
					return nil
				}
				got = append(got, d)
				at = append(at, time.Since(start))
				if fail--; fail >= 0 {
					return errors.New("503")
				}
				return nil
			}}
		c := newTestClient(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.sim.Run(ctx); close(done) }()

		id := c.authorize(stripesim.Hold{Account: "acct_other"})
		c.mustSucceed("POST", intentPath(id, "capture"), "", "Stripe-Account", "acct_other",
			"Idempotency-Key", "k1")
		time.Sleep(time.Minute)
		synctest.Wait()
		assertEqual(t, "tries", fmt.Sprint(at), "[0s 1s 3s]")
		d := got[2]
		assertEqual(t, "attempt", d.Attempt, 3)
		for _, s := range []string{"whsec_old", "whsec_new"} {
			assertEqual(t, s, isSignatureValid(d.Event.Payload, d.Signature, s), true)
		}
		assertEqual(t, "another secret", isSignatureValid(d.Event.Payload,
			d.Signature, "whsec_other"), false)
		assertEqual(t, "the time is that of the try", strings.HasPrefix(d.Signature,
			fmt.Sprintf("t=%d,", start.Unix()+3)), true)
		var e struct {
			Account    string
			APIVersion string `json:"api_version"`
			Request    struct {
				Key string `json:"idempotency_key"`
			}
			Livemode bool
		}
		if err := json.Unmarshal(d.Event.Payload, &e); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "account", e.Account, "acct_other")
		assertEqual(t, "version", e.APIVersion, "2025-01-27.acacia")
		assertEqual(t, "key", e.Request.Key, "k1")
		assertEqual(t, "livemode", e.Livemode, false)
		assertEqual(t, "delivered", c.mustSucceed("GET", "/v1/events", "delivery_success=true",
			"Stripe-Account", "acct_other").numberAt("data.0.pending_webhooks"), 0)

		fail = 100
		id = c.authorize(stripesim.Hold{})
		c.mustSucceed("POST", intentPath(id, "capture"), "")
		time.Sleep(time.Minute)
		synctest.Wait()
		assertEqual(t, "bounded tries", len(got), 6)
		assertEqual(t, "given up", c.sim.Stats().WebhooksDropped, 1)
		assertEqual(t, "still listed",
			len(c.mustSucceed("GET", "/v1/events", "type=charge.captured").ids()), 1)
		assertEqual(t, "undelivered",
			len(c.mustSucceed("GET", "/v1/events", "delivery_success=false").ids()), 1)
		cancel()
		<-done
	})
}

func TestWebhook_DeliveryOverHTTP(t *testing.T) {
	bodies := make(chan bool, 10)
	answers := make(chan int, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- isSignatureValid(b, r.Header.Get("Stripe-Signature"), "whsec_1")
		w.WriteHeader(<-answers)
	}))
	defer server.Close()
	o := unlimitedOptions(1)
	o.Webhook = stripesim.Webhook{URL: server.URL, Secrets: []string{"whsec_1"}, Attempts: 1}
	c := newTestClient(t, o)
	c.authorize(stripesim.Hold{}) // three events
	answers <- 200
	answers <- 302 // a redirect without a place to go
	answers <- 500
	assertEqual(t, "due", c.sim.DeliverDueWebhooks(t.Context()), 3)
	for range 3 {
		assertEqual(t, "signed", <-bodies, true)
	}
	st := c.sim.Stats()
	assertEqual(t, "sent", st.WebhooksSent, 1)
	assertEqual(t, "failed", st.WebhooksFailed, 2)
	assertEqual(t, "none left", c.sim.DeliverDueWebhooks(t.Context()), 0)
}
