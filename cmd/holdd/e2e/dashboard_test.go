package e2e_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// A capture or cancel in the Dashboard settles the hold after its webhook or in
// the next reconcile run. holdd does not capture again and logs no error.
func TestDashboard_SettlesHold(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"webhook", "reconcile", "nothing"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w, d := newWorldWithWebhooks(t, unlimitedStripeOptions)
			every := "@every 5h"
			if how == "reconcile" {
				every = "@every 1s"
			}
			r := w.startReplica(binaryPath(t, buildRace),
				append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE="+every)...)
			w.waitForFirstReconcile(r)
			d.forwardTo(r)
			d.dropAll.Store(how != "webhook")
			at := afterNow(15 * time.Second)
			all := setDueAt(w.authorizeBookings(4), at)
			w.scheduleBookings(r, all)
			dashboard := w.sim.Dashboard()
			began := time.Now()
			for _, err := range []error{dashboard.Capture(all[0].id, 0),
				dashboard.Capture(all[1].id, 4_000),
				dashboard.Cancel(all[2].id, "requested_by_customer")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if how != "nothing" {
				w.waitForState(r, all[0].id, hold.Captured, processTimeout)
				w.waitForState(r, all[1].id, hold.Captured, processTimeout)
				w.waitForState(r, all[2].id, hold.Canceled, processTimeout)
				took := time.Since(began)
				if time.Now().After(at) {
					t.Fatalf("settled after %s, when the holds were due: this test shows nothing",
						took)
				}
				t.Logf("settled %s after the Dashboard", took.Round(time.Millisecond))
			}
			// The time of all of them comes, and one more is captured by it.
			storetest.WaitUntil(t, processTimeout, "the last is captured at its time",
				func() bool { return w.moneyEffects(all[3].id) != "" })
			v := w.waitForState(r, all[0].id, hold.Captured, processTimeout)
			part := w.waitForState(r, all[1].id, hold.Captured, processTimeout)
			gone := w.waitForState(r, all[2].id, hold.Canceled, processTimeout)
			w.waitForState(r, all[3].id, hold.Captured, processTimeout)
			if v.Cause != "elsewhere" || v.CapturedAmount != all[0].amount ||
				part.CapturedAmount != 4_000 || gone.Cause != "elsewhere" {
				t.Errorf("shown as %+v, %+v, %+v", v, part, gone)
			}
			for i, want := range []string{"captured 10000 by dashboard",
				"captured 4000 by dashboard, released 6001 by dashboard",
				"canceled 10002 by dashboard", "captured 10003 by api"} {
				if got := w.moneyEffects(all[i].id); got != want {
					t.Errorf("booking %d: %q, and it should be %q", i, got, want)
				}
			}
			if n := w.countRequests(stripesim.ClassCapture); how != "nothing" && n != 1 {
				t.Errorf("%d captures were sent, and one was to be", n)
			}
			for i, b := range all {
				logged := r.log.outcomesOf(b.id)
				if len(logged) != 1 || logged[0].Level != "info" || i < 3 &&
					logged[0].Cause != "elsewhere" {
					t.Errorf("booking %d: the log says %+v", i, logged)
				}
			}
			if n := len(w.listByState(r, hold.Attention)); n != 0 {
				t.Errorf("%d holds want a person's attention", n)
			}
			checkNoErrorsLogged(t, r)
		})
	}
}

// postWebhookWith posts an event as Stripe does.
func postWebhookWith(
	client *http.Client, to string, payload []byte, signature string,
) (status int, err error) {
	req, err := http.NewRequest(http.MethodPost, to+api.WebhookPath, bytes.NewReader(payload))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Stripe-Signature", signature)
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}
