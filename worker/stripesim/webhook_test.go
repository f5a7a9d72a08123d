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

// verified checks a signature as Stripe describes it, by other code than that which made it.
func verified(payload []byte, header, secret string) bool {
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

func TestWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []stripesim.Delivery
		var at []time.Duration
		start := time.Now()
		fail := 2
		o := free(1)
		o.Webhook = stripesim.Webhook{Secrets: []string{"whsec_old", "whsec_new"}, APIVersion: "2025-01-27.acacia", Attempts: 3, Backoff: time.Second,
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
		c := newClient(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { c.sim.Run(ctx); close(ran) }()

		id := c.hold(stripesim.Hold{Account: "acct_other"})
		c.ok("POST", path(id, "capture"), "", "Stripe-Account", "acct_other", "Idempotency-Key", "k1")
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "tries", fmt.Sprint(at), "[0s 1s 3s]")
		d := got[2]
		equal(t, "attempt", d.Attempt, 3)
		for _, s := range []string{"whsec_old", "whsec_new"} {
			equal(t, s, verified(d.Event.Payload, d.Signature, s), true)
		}
		equal(t, "another secret", verified(d.Event.Payload, d.Signature, "whsec_other"), false)
		equal(t, "the time is that of the try", strings.HasPrefix(d.Signature, fmt.Sprintf("t=%d,", start.Unix()+3)), true)
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
		equal(t, "account", e.Account, "acct_other")
		equal(t, "version", e.APIVersion, "2025-01-27.acacia")
		equal(t, "key", e.Request.Key, "k1")
		equal(t, "livemode", e.Livemode, false)
		equal(t, "delivered", c.ok("GET", "/v1/events", "delivery_success=true", "Stripe-Account", "acct_other").num("data.0.pending_webhooks"), 0)

		fail = 100
		id = c.hold(stripesim.Hold{})
		c.ok("POST", path(id, "capture"), "")
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "bounded tries", len(got), 6)
		equal(t, "given up", c.sim.Stats().WebhooksDropped, 1)
		equal(t, "still listed", len(c.ok("GET", "/v1/events", "type=charge.captured").ids()), 1)
		equal(t, "undelivered", len(c.ok("GET", "/v1/events", "delivery_success=false").ids()), 1)
		cancel()
		<-ran
	})
}

func TestWebhookOverHTTP(t *testing.T) {
	bodies := make(chan bool, 10)
	answers := make(chan int, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- verified(b, r.Header.Get("Stripe-Signature"), "whsec_1")
		w.WriteHeader(<-answers)
	}))
	defer server.Close()
	o := free(1)
	o.Webhook = stripesim.Webhook{URL: server.URL, Secrets: []string{"whsec_1"}, Attempts: 1}
	c := newClient(t, o)
	c.hold(stripesim.Hold{}) // three events
	answers <- 200
	answers <- 302 // a redirect without a place to go
	answers <- 500
	equal(t, "due", c.sim.Deliver(t.Context()), 3)
	for range 3 {
		equal(t, "signed", <-bodies, true)
	}
	st := c.sim.Stats()
	equal(t, "sent", st.WebhooksSent, 1)
	equal(t, "failed", st.WebhooksFailed, 2)
	equal(t, "none left", c.sim.Deliver(t.Context()), 0)
}
