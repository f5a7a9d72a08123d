package stripesim_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

// TestConcurrentCaptureAndCancel lets many callers with their own keys capture
// and cancel the same few intents. One caller of each intent succeeds.
func TestConcurrentCaptureAndCancel(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	const intents, callers = 20, 16
	var ids []string
	for i := range intents {
		ids = append(ids, c.authorize(stripesim.Hold{Account: fmt.Sprintf("acct_%04d", i%3)}))
	}
	var successes atomic.Int64
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for i, id := range ids {
				act := []string{"capture", "cancel"}[(n+i)%2]
				a, err := c.tryCall("POST", intentPath(id, act), "", "Idempotency-Key",
					fmt.Sprint(n, id), "Stripe-Account", fmt.Sprintf("acct_%04d", i%3))
				switch {
				case err != nil:
					t.Error(err)
				case a.status == 200:
					successes.Add(1)
				case a.stringAt("error.code") != "payment_intent_unexpected_state":
					t.Errorf("%s", a.raw)
				}
				c.sim.ProcessDue()
				c.sim.Stats()
			}
		})
	}
	wg.Wait()
	assertEqual(t, "winners", successes.Load(), intents)
	assertEqual(t, "effects", len(c.sim.Ledger()), 2*intents)
}

// FuzzAPIRequest sends arbitrary requests. Every answer is JSON with one of
// Stripe's statuses, and only a capture takes money.
func FuzzAPIRequest(f *testing.F) {
	for _, row := range [][3]string{
		{"POST", "/v1/payment_intents", manualCaptureForm + "pm_card_visa"},
		{"POST", "/v1/payment_intents/ID/capture", "amount_to_capture=5&metadata[a]=b"},
		{"POST", "/v1/payment_intents/ID/confirm", "payment_method_options[card][cvc_token]=x"},
		{"GET", "/v1/payment_intents/search", `query=status:"x" AND -metadata["a"]:"b\"" amount>5`},
		{"GET", "/v1/payment_intents", "created[gt]=5&limit=3&expand[]=data.latest_charge"},
		{"GET", "/v1/events", "types[]=a&types[1]=b*&delivery_success=1"},
		{"POST", "/v1/customers", "metadata[]=&metadata[a][b]=c"},
		{"POST", "/v1/payment_methods", "type=card&card[number]=4242&card[exp_year]=-1"},
		{"POST", "/v1/payment_methods/pm_card_visa/attach", "customer=%zz"},
		{"DELETE", "/v1//", "%"},
	} {
		f.Add(row[0], row[1], row[2])
	}
	f.Fuzz(func(t *testing.T, method, where, form string) {
		c := newTestClient(t, unlimitedOptions(1))
		id := c.authorize(stripesim.Hold{})
		where = strings.ReplaceAll(where, "ID", id)
		r := &http.Request{Method: method, URL: &url.URL{Scheme: "https", Host: "api.stripe.com",
			Path: where}, Header: http.Header{"Authorization": {"Bearer " + testAPIKey},
			"Content-Type": {"application/x-www-form-urlencoded"}}}
		if method == "POST" {
			r.Body = io.NopCloser(strings.NewReader(form))
		} else {
			r.URL.RawQuery = form
		}
		a, err := c.send(r)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%s %s %s: %v", method, where, form, err)
		}
		switch a.status {
		case 200, 400, 402, 404, 413:
		default:
			t.Fatalf("%s %s %s: %d %s", method, where, form, a.status, a.raw)
		}
		if a.status != 200 && a.stringAt("error.message") == "" {
			t.Fatalf("no message: %s", a.raw)
		}
	})
}
