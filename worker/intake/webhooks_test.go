package intake_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestApplyStripeEvent_NotOurs(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(time.Hour, id))
		const unknown = "pi_unknownunknown"
		for _, test := range []struct {
			name   string
			change func(*hold.StripeEvent)
			result string
			code   hold.ProblemCode
		}{
			{"an event of the hold", func(*hold.StripeEvent) {}, intake.EventQueued, ""},
			{"other mode", func(e *hold.StripeEvent) { e.Livemode = true }, "", intake.WrongMode},
			{"other mode of a connected account", func(e *hold.StripeEvent) {
				e.Livemode, e.Account = true, "acct_12345678"
			}, intake.EventIgnored, ""},
			{"other type", func(e *hold.StripeEvent) { e.Type = "charge.refunded" },
				intake.EventIgnored, ""},
			{"no intent", func(e *hold.StripeEvent) { e.PaymentIntent = "" },
				intake.EventIgnored, ""},
			{"automatic capture", func(e *hold.StripeEvent) { e.AutomaticCapture = true },
				intake.EventIgnored, ""},
			{"charge.updated of an unknown intent", func(e *hold.StripeEvent) {
				e.Type, e.PaymentIntent = "charge.updated", unknown
			}, intake.EventIgnored, ""},
			{"unknown intent", func(e *hold.StripeEvent) { e.PaymentIntent = unknown },
				intake.EventQueued, ""},
			{"other account", func(e *hold.StripeEvent) { e.Account = "acct_12345678" },
				intake.EventIgnored, ""},
		} {
			e := hold.StripeEvent{Type: "charge.captured", PaymentIntent: id}
			test.change(&e)
			result, err := w.webhooks.ApplyStripeEvent(w.Ctx, e)
			if result != test.result || !hasCode(err, test.code) {
				t.Errorf("%s: %q, %v; want %q %q", test.name, result, err, test.result, test.code)
			}
		}
	})
}

// applyAndRefresh applies an event that leads to a read, and reads.
func (w *world) applyAndRefresh(e stripesim.Event) {
	w.T.Helper()
	before := w.hold(e.Intent)
	if result, err := w.apply(e); result != intake.EventQueued || err != nil {
		w.T.Errorf("%s: %q, %v", e.Type, result, err)
	}
	if h := w.hold(e.Intent); h.Version != before.Version {
		w.T.Errorf("%s changed the hold without a read: %+v", e.Type, h)
	}
	w.refresh()
}

func TestApplyStripeEvent_Settles(t *testing.T) {
	inWorld(t, func(w *world) {
		captured, canceled := w.AuthorizeIntent(), w.AuthorizeIntent()
		for _, id := range []string{captured, canceled} {
			w.schedule(captureIn(time.Hour, id))
		}
		w.takeEvents("")
		if err := w.Sim.Dashboard().Capture(captured, 4_000); err != nil {
			t.Fatal(err)
		}
		succeeded := w.takeEvents(captured, "payment_intent.succeeded")[0]
		if err := w.Sim.Dashboard().Cancel(canceled, ""); err != nil {
			t.Fatal(err)
		}
		over := w.takeEvents(canceled, "payment_intent.canceled")[0]

		w.commits.loseReply = 1 // the first one's, which is written once more
		w.applyAndRefresh(succeeded)
		h := w.hold(captured)
		if h.State != hold.Captured || h.CapturedAmount != 4_000 ||
			h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
		if result, err := w.apply(succeeded); result != intake.EventIgnored || err != nil {
			t.Errorf("succeeded again: %q, %v", result, err)
		}
		w.applyAndRefresh(over)
		if h := w.hold(canceled); h.State != hold.Canceled {
			t.Errorf("%+v", h)
		}
	})
}

// applyThin applies the thin events of an intent since the last call.
func (w *world) applyThin(intent string, types ...string) (results []string) {
	w.T.Helper()
	for _, e := range w.takeEvents(intent, types...) {
		e.Payload = e.ThinPayload("")
		result, err := w.apply(e)
		if err != nil {
			w.T.Fatalf("%s: %v", e.Type, err)
		}
		results = append(results, result)
	}
	return results
}

func TestApplyStripeEvent_ThinEventNeedsRead(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(time.Hour, id))
		w.takeEvents("")
		if err := w.Sim.Dashboard().Capture(id, 4_000); err != nil {
			t.Fatal(err)
		}
		results := w.applyThin(id, "payment_intent.succeeded", "charge.captured")
		slices.Sort(results)
		if !slices.Equal(results, []string{intake.EventIgnored, intake.EventQueued}) {
			t.Errorf("%q", results)
		}
		if h := w.hold(id); h.State != hold.Scheduled {
			t.Errorf("before the read: %+v", h)
		}
		w.refresh()
		if h := w.hold(id); h.State != hold.Captured || h.CapturedAmount != 4_000 {
			t.Errorf("%+v", h)
		}
	})
}

func TestApplyStripeEvent_ThinEventAdoptsTermsInMetadata(t *testing.T) {
	inWorld(t, func(w *world) {
		const authorized = "payment_intent.amount_capturable_updated"
		id := w.AuthorizeIntent(withMetadata(map[string]string{
			"holdd_capture_at": envtest.In(time.Hour), "holdd_reference": "BK-7"}))
		if results := w.applyThin(id, authorized); !slices.Equal(
			results, []string{intake.EventQueued}) {
			t.Errorf("%q", results)
		}
		before := w.countRetrieves()
		w.refresh()
		if h := w.hold(id); h == nil || h.State != hold.Scheduled || h.Reference != "BK-7" {
			t.Errorf("%+v", h)
		}
		if n := w.countRetrieves() - before; n != 1 {
			t.Errorf("%d reads", n)
		}
		// An intent without terms, and one that has ended, are read once and
		// then remembered until their holds are scheduled.
		none, over := w.AuthorizeIntent(), w.AuthorizeIntent()
		events := w.events
		w.applyThin(none, authorized)
		w.events = events
		w.applyThin(over, authorized)
		if err := w.Sim.Dashboard().Cancel(over, ""); err != nil {
			t.Fatal(err)
		}
		w.refresh()
		if pending := w.pendingAfter(time.Minute); len(pending) != 0 {
			t.Errorf("still pending: %+v", pending)
		}
		for _, id := range []string{none, over} {
			if h := w.hold(id); h != nil {
				t.Errorf("%+v", h)
			}
			w.schedule(completeRequest(id))
			if pending := w.pendingAfter(time.Second); !slices.ContainsFunc(pending,
				func(p hold.PendingRefresh) bool { return p.Hold.ID == id }) {
				t.Errorf("%s is not read after it was scheduled", id)
			}
		}
	})
}

// fullStore queues no refresh.
type fullStore struct{ *store.Store }

func (fullStore) RequestRefresh(context.Context, string, string, bool) error {
	return errors.New("OOM command not allowed")
}

// Stripe must send an event again unless what it means is in the store.
func TestApplyStripeEvent_NotWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		h := w.schedule(captureIn(time.Hour, id))
		w.takeEvents("")
		if err := w.Sim.Dashboard().Cancel(id, ""); err != nil {
			t.Fatal(err)
		}
		e := w.takeEvents(id, "payment_intent.canceled")[0]
		w.Redis.SetError("LOADING")
		if result, err := w.apply(e); result != "" || !errors.Is(err, health.ErrUnavailable) {
			t.Errorf("Redis unavailable: %q, %v", result, err)
		}
		w.Redis.SetError("")
		webhooks := w.webhooks
		w.webhooks = intake.NewWebhookProcessor(fullStore{w.store}, w.committer,
			intake.WebhookProcessorOptions{Clock: w.clock, Health: w.health})
		if result, err := w.apply(e); result != "" || !errors.Is(err, health.ErrUnavailable) {
			t.Errorf("Redis queues nothing: %q, %v", result, err)
		}
		w.webhooks = webhooks
		if got := w.hold(id); got.Version != h.Version {
			t.Errorf("%+v", got)
		}
		w.applyAndRefresh(e)
		if got := w.hold(id); got.State != hold.Canceled {
			t.Errorf("sent again: %+v", got)
		}
	})
}

func TestApplyStripeEvent_Conflict(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(time.Hour, id))
		w.openReview(id)
		closed := w.closeReview(id)
		w.commits.before = func() {
			if _, _, err := w.changer.AcknowledgeWarnings(w.Ctx, id, 0, "other"); err != nil {
				t.Error(err)
			}
		}
		if result, err := w.apply(closed); result != intake.EventQueued || err != nil {
			t.Errorf("%q, %v", result, err)
		}
		w.refresh()
		if h := w.hold(id); h.State != hold.Scheduled || !h.Acknowledged {
			t.Errorf("%+v", h)
		}
	})
}

// A claimed hold is left to its executor, and read after the claim.
func TestApplyStripeEvent_Working(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(-time.Second, id))
		claimed := w.claim(id)
		w.takeEvents("")
		if err := w.Sim.Dashboard().Cancel(id, ""); err != nil {
			t.Fatal(err)
		}
		result, err := w.apply(w.takeEvents(id, "payment_intent.canceled")[0])
		if h := w.hold(id); result != intake.EventQueued || err != nil ||
			h.Version != claimed.Version {
			t.Errorf("%q, %v: %+v", result, err, h)
		}
		w.refresh()
		if pending := w.pendingAfter(0); len(pending) != 0 {
			t.Errorf("due at once: %+v", pending)
		}
		if pending := w.pendingAfter(6 * time.Second); len(pending) != 1 {
			t.Errorf("pending later: %+v", pending)
		}
	})
}

// openReview opens a review of an intent and applies its event.
func (w *world) openReview(id string) {
	w.T.Helper()
	w.takeEvents("")
	if err := w.Sim.Dashboard().OpenReview(id); err != nil {
		w.T.Fatal(err)
	}
	w.applyAndRefresh(w.takeEvents(id, "review.opened")[0])
	if h := w.hold(id); h.State != hold.Paused || h.Reason != hold.CauseReview {
		w.T.Fatalf("%+v", h)
	}
}

// closeReview approves the open review of an intent and returns the event.
func (w *world) closeReview(id string) stripesim.Event {
	w.T.Helper()
	if err := w.Sim.Dashboard().CloseReview(id, "approved"); err != nil {
		w.T.Fatal(err)
	}
	return w.takeEvents(id, "review.closed")[0]
}

func TestApplyStripeEvent_Review(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(time.Hour, id))
		w.openReview(id)
		closed := w.closeReview(id)
		w.commits.before = func() { w.Redis.SetError("LOADING") }
		if result, err := w.apply(closed); result != "" || !errors.Is(err, health.ErrUnavailable) {
			t.Errorf("Redis unavailable at the commit: %q, %v", result, err)
		}
		w.Redis.SetError("")
		if result, err := w.apply(closed); result != intake.EventQueued || err != nil {
			t.Errorf("closed: %q, %v", result, err)
		}
		if h := w.hold(id); h.State != hold.Paused {
			t.Errorf("resumed before the read: %+v", h)
		}
		w.refresh()
		if h := w.hold(id); h.State != hold.Scheduled {
			t.Errorf("%+v", h)
		}
	})
}

// TestApplyStripeEvent_FalseEvents signs events that Stripe never sent, as a
// sender can that knows the signing secret.
func TestApplyStripeEvent_FalseEvents(t *testing.T) {
	inWorld(t, func(w *world) {
		id, reviewed := w.AuthorizeIntent(), w.AuthorizeIntent()
		for _, id := range []string{id, reviewed} {
			w.schedule(captureIn(time.Hour, id))
		}
		w.openReview(reviewed)
		review := w.hold(reviewed).History[1].Note
		intent := func(status hold.PaymentIntentStatus, received int64) *hold.PaymentIntent {
			return &hold.PaymentIntent{ID: id, Status: status, Amount: 10_000, Currency: "eur",
				AmountReceived: received, AmountCapturable: 10_000 - received}
		}
		soon := intent(hold.StatusRequiresCapture, 0)
		soon.CaptureBefore = time.Now().Add(time.Minute)
		for name, e := range map[string]hold.StripeEvent{
			"captured": {Type: "payment_intent.succeeded", PaymentIntent: id,
				Intent: intent(hold.StatusSucceeded, 10_000)},
			"canceled": {Type: "payment_intent.canceled", PaymentIntent: id,
				Intent: intent(hold.StatusCanceled, 10_000)},
			"expired":       {Type: "charge.expired", PaymentIntent: id},
			"near deadline": {Type: "charge.updated", PaymentIntent: id, Authorized: soon},
			"review approved": {Type: "review.closed", PaymentIntent: reviewed,
				Review: &hold.FraudReview{ID: review, Reason: "approved"}},
		} {
			before := w.hold(e.PaymentIntent)
			reads := w.countRetrieves()
			e.Created = time.Now()
			result, err := w.webhooks.ApplyStripeEvent(w.Ctx, e)
			if result != intake.EventQueued || err != nil {
				t.Errorf("%s: %q, %v", name, result, err)
			}
			w.refresh()
			h := w.hold(e.PaymentIntent)
			if h.State != before.State || !h.ExpiresAt.Equal(before.ExpiresAt) ||
				h.Amount != before.Amount || w.countRetrieves() != reads+1 {
				t.Errorf("%s: %d reads, %+v", name, w.countRetrieves()-reads, h)
			}
		}
	})
}
