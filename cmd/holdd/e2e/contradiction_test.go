package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// forgeEvent sends an event that Stripe never sent, with a valid signature.
func (w *world) forgeEvent(r *replica, id, eventType, status string) {
	w.tb.Helper()
	now := time.Now()
	body := fmt.Appendf(nil, `{"id":"evt_forged","object":"event","type":%q,"created":%d,
		"livemode":false,"data":{"object":{"object":"payment_intent","id":%q,"status":%q,
		"amount":10000,"amount_received":10000,"currency":"eur","created":%d,
		"capture_method":"manual"}}}`, eventType, now.Unix(), id, status, now.Unix())
	code, text := postWebhook(w.tb, r, body, stripesim.Sign(body, now, signingSecret))
	if code != 200 {
		w.tb.Fatalf("%s: %d %s", eventType, code, text)
	}
}

// A sender who knows the signing secret ends no hold: holdd reads the
// PaymentIntent, keeps the hold and captures it in time.
func TestWebhook_ForgedEventSettlesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRace),
		append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h")...)
	w.waitForFirstReconcile(r)
	at := afterNow(20 * time.Second)
	forged := map[string]string{}
	for _, eventType := range []string{"payment_intent.succeeded", "payment_intent.canceled"} {
		id := w.authorizeHold(stripesim.Hold{Amount: 10_000})
		forged[id] = eventType
		w.scheduleAll(r, []hold.ScheduleRequest{{PaymentIntent: id, CaptureAt: formatTime(at)}})
	}
	storetest.WaitUntil(t, processTimeout, "the holds are read", func() bool {
		for _, v := range w.listByState(r, hold.Scheduled) {
			if !v.Verified {
				return false
			}
		}
		return true
	})
	for id, eventType := range forged {
		reads := w.countRequests(stripesim.ClassRetrieve)
		w.forgeEvent(r, id, eventType, strings.TrimPrefix(eventType, "payment_intent."))
		storetest.WaitUntil(t, processTimeout, "the event leads to a read", func() bool {
			return w.countRequests(stripesim.ClassRetrieve) > reads
		})
		v, err := r.client.Get(t.Context(), id)
		if err != nil || v.State == "captured" && time.Now().Before(at) || v.State == "canceled" {
			t.Errorf("%s: %+v %v", eventType, v, err)
		}
	}
	for id := range forged {
		v := w.waitForState(r, id, hold.Captured, time.Until(at)+processTimeout)
		if got := w.moneyEffects(id); got != "captured 10000 by api" || v.Cause != "schedule" {
			t.Errorf("%s: %s, %s", forged[id], got, v.Cause)
		}
	}
	checkNoErrorsLogged(t, r)
}

// plantCaptured changes a scheduled hold in Redis to captured, without Stripe.
func (w *world) plantCaptured(id string) {
	w.tb.Helper()
	ctx := w.tb.Context()
	s, _, err := store.Open(ctx, store.Options{URL: w.redis.URL()})
	if err != nil {
		w.tb.Fatal(err)
	}
	defer s.Close()
	read, now, err := s.ReadHolds(ctx, id)
	if err != nil || read[0] == nil {
		w.tb.Fatal(read, err)
	}
	h := *read[0]
	h.State, h.NextOp, h.NextAt, h.SettledAt = hold.Captured, 0, time.Time{}, now
	results, err := s.Commit(ctx, []hold.HoldWrite{{Version: h.Version, Hold: h,
		PreviousReference: h.Reference, Placement: hold.SortedSetPlacement{SettledAt: now}}})
	if err != nil || results[0] != hold.CommitWritten {
		w.tb.Fatal(results, err)
	}
}

// A hold that is recorded as captured while Stripe still holds the money is
// found by reconcile. It requires attention, nothing captures it by itself, and
// the operator's capture takes the money once.
func TestReconcile_FindsPlantedSettlement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	bin := binaryPath(t, buildRace)
	r := w.startReplica(bin, append(highBudgetSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h")...)
	w.waitForFirstReconcile(r)
	id := w.authorizeHold(stripesim.Hold{Amount: 10_000})
	w.scheduleAll(r, []hold.ScheduleRequest{{PaymentIntent: id,
		CaptureAt: formatTime(afterNow(48 * time.Hour))}})
	storetest.WaitUntil(t, processTimeout, "it is read and mirrored", func() bool {
		v := w.listByState(r, hold.Scheduled)[id]
		return v.Verified && v.Mirrored
	})
	w.plantCaptured(id)
	w.waitForState(r, id, hold.Captured, processTimeout)
	cli := &cliRunner{t, bin, []string{"HOLDD_URL=" + r.url}}
	// A list says nothing of a hold that changed in the last seconds.
	storetest.WaitUntil(t, processTimeout, "the run finds it", func() bool {
		return strings.Contains(cli.runCommand(0, []string{"reconcile", "--dry-run"}),
			"contradiction")
	})
	cli.runCommand(0, []string{"reconcile", "-o", "wide"}, "1 contradiction", id, "but Stripe says")
	v := w.waitForState(r, id, hold.Attention, processTimeout)
	if v.Cause != "contradiction" || w.moneyEffects(id) != "" {
		t.Errorf("%+v, %q at Stripe", v, w.moneyEffects(id))
	}
	if n := metricValue(t, r, `holdd_events_total{cause="contradiction",type="hold.attention"}`,
		nil); n != 1 {
		t.Errorf("%v contradictions are counted", n)
	}
	cli.runCommand(0, []string{"reconcile"}, "no differences")
	cli.runCommand(0, []string{"capture", id, "--yes"})
	w.waitForState(r, id, hold.Captured, processTimeout)
	if got := w.moneyEffects(id); got != "captured 10000 by api" {
		t.Errorf("%q", got)
	}
}
