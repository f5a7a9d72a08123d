package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// killPoint stops the first request to an endpoint until the test has killed
// the process that sent it.
type killPoint struct {
	next        http.Handler
	endpoint    string // the end of the path
	afterEffect bool

	used    atomic.Bool
	reached chan struct{}
	killed  chan struct{}
}

func (k *killPoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, k.endpoint) ||
		!k.used.CompareAndSwap(false, true) {
		k.next.ServeHTTP(w, r)
		return
	}
	if k.afterEffect {
		k.next.ServeHTTP(w, r)
	}
	close(k.reached)
	select {
	case <-k.killed:
	case <-time.After(2 * processTimeout):
	}
}

// newRenewalWorld is a world in which a saved card was authorized six and a half
// days ago, so that a renewal is due at once.
func newRenewalWorld(t *testing.T, endpoint string, afterEffect bool) (
	w *world, kill *killPoint, id string,
) {
	const age = 156 * time.Hour
	o := unlimitedStripeOptions
	o.ClockOffset = -age
	w = newWorld(t, o)
	kill = &killPoint{next: w.sim.Handler(), endpoint: endpoint, afterEffect: afterEffect,
		reached: make(chan struct{}), killed: make(chan struct{})}
	w.stripe.close()
	w.stripe.handler = kill
	w.stripe.open()
	customer, card, err := w.sim.Cards.SaveCard("", "")
	if err != nil {
		t.Fatal(err)
	}
	id, err = w.sim.Authorize(stripesim.Hold{Amount: 12_500, Currency: "eur", Customer: customer,
		PaymentMethod: card, FutureUsage: "off_session"})
	if err != nil {
		t.Fatal(err)
	}
	w.sim.Advance(age)
	return w, kill, id
}

// TestRenewal_ProcessKilled kills the process at a request of a renewal. Another
// process takes over when the lease has ended.
func TestRenewal_ProcessKilled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpoint    string
		afterEffect bool
	}{
		{"/payment_intents", true},
		{"/confirm", false},
		{"/confirm", true},
		{"/cancel", false}, // after the swap
		{"/cancel", true},
	} {
		t.Run(fmt.Sprintf("%s, had its effect %v", tt.endpoint[1:], tt.afterEffect),
			func(t *testing.T) {
				t.Parallel()
				w, kill, id := newRenewalWorld(t, tt.endpoint, tt.afterEffect)
				bin := binaryPath(t, buildRace)
				settings := shortLeaseSettings
				first := w.startReplica(bin, settings...)
				w.scheduleAll(first, []hold.ScheduleRequest{{PaymentIntent: id,
					Renewal: &hold.RenewalRequest{Until: formatTime(afterNow(72 * time.Hour))}}})
				select {
				case <-kill.reached:
				case <-time.After(processTimeout):
					t.Fatal("the renewal has not come that far")
				}
				first.sendSignal(syscall.SIGKILL)
				close(kill.killed)
				w.checkRenewedOnce(w.startReplica(bin, settings...), id)
			})
	}
}

// checkRenewedOnce checks that a hold is renewed once: in the end one intent of
// two holds the money, and at no time none or three did.
func (w *world) checkRenewedOnce(r *replica, id string) {
	w.tb.Helper()
	storetest.WaitUntil(w.tb, 2*processTimeout, "the renewal to end", func() bool {
		h, err := r.client.Get(w.tb.Context(), id)
		return err == nil && h.Renewal != nil && h.Renewal.Completed == 1 &&
			h.Renewal.Releasing == ""
	})
	held, intents := map[string]bool{}, 0
	for _, e := range w.sim.Ledger() {
		if e.Kind == stripesim.EffectAuthorized {
			held[e.Intent] = true
			intents++
		} else {
			delete(held, e.Intent)
		}
		if len(held) == 0 || len(held) > 2 {
			w.tb.Errorf("%d intents hold money after %+v", len(held), e)
		}
	}
	h, err := r.client.Get(w.tb.Context(), id)
	if err != nil || intents != 2 || len(held) != 1 || !held[h.PaymentIntent] || h.PaymentIntent == id {
		w.tb.Errorf("%d authorizations, held: %v, the hold says %s (%v)", intents, held,
			h.PaymentIntent, err)
	}
	for _, in := range w.sim.Intents("") {
		if in.ID != h.PaymentIntent && in.Status != "canceled" {
			w.tb.Errorf("%s is left %s", in.ID, in.Status)
		}
	}
}

// TestLongStays_Snippets runs the requests of long-stays.md, at times that are
// still to come.
func TestLongStays_Snippets(t *testing.T) {
	t.Parallel()
	snippets := readSnippets(t, "deploy/docs/long-stays.md", "Terms")
	if len(snippets) != 2 {
		t.Fatalf("the page has %d requests, want 2", len(snippets))
	}
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease))
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	captureAt := time.Now().In(zone).AddDate(0, 0, 20).Truncate(time.Minute)
	until := captureAt.AddDate(0, 0, 2)
	const local = "2006-01-02T15:04"
	for _, s := range snippets {
		customer, card, err := w.sim.Cards.SaveCard("", "")
		if err != nil {
			t.Fatal(err)
		}
		id := w.authorizeHold(stripesim.Hold{Amount: 12_500, Currency: "eur", Customer: customer,
			PaymentMethod: card, FutureUsage: "off_session"})
		s.text = strings.NewReplacer("http://127.0.0.1:8420", r.url, "pi_…", id,
			"holdd schedule", binaryPath(t, buildRelease)+" schedule",
			"2026-12-20T11:00:00+01:00", captureAt.Format(time.RFC3339),
			"2026-12-22T12:00:00+01:00", until.Format(time.RFC3339),
			"2026-12-20T11:00", captureAt.Format(local),
			"2026-12-22T12:00", until.Format(local)).Replace(s.text)
		s.run(t, "HOLDD_URL="+r.url)
		h, err := r.client.Get(t.Context(), id)
		if err != nil || h.CaptureAt == nil || !h.CaptureAt.Equal(captureAt) ||
			h.Renewal == nil || !h.Renewal.Until.Equal(until) {
			t.Errorf("%s\n%+v, %v", s.text, h, err)
		}
	}
}
