package hold_test

import (
	"maps"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const eventIntentID = "pi_eventhold01"

func newEventHold(t *testing.T, now time.Time) hold.Hold {
	t.Helper()
	d, err := (&hold.ScheduleRequest{PaymentIntent: eventIntentID,
		CaptureAt: now.Add(24 * time.Hour).Format(time.RFC3339)}).Validate(now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := hold.New(d, &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture,
		Amount: 500, AmountCapturable: 500, Currency: "eur", Created: now}, "test", now)
	if err != nil {
		t.Fatal(err)
	}
	return c.Hold
}

func TestApplyStripeEvent(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	scheduled := newEventHold(t, now)
	working := scheduled
	working.State, working.PreviousState = hold.Working, hold.Scheduled
	readingPaused := working
	readingPaused.PreviousState = hold.Paused
	other := scheduled
	other.PaymentIntent = "pi_another001"
	final := scheduled
	final.State = hold.Captured
	succeeded := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusSucceeded, Amount: 500,
		AmountReceived: 300, Currency: "eur"}
	expired := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusCanceled,
		CancellationReason: "automatic", Currency: "eur"}
	stale := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture, Amount: 999,
		AmountCapturable: 999, Currency: "eur"}
	closed := &hold.Review{ID: "prv_1", Reason: "approved"}
	for name, c := range map[string]struct {
		h     hold.Hold
		e     hold.StripeEvent
		want  hold.StripeEventAction
		state hold.State
		cause hold.Cause
	}{
		"captured elsewhere": {scheduled, hold.StripeEvent{Intent: succeeded},
			hold.StripeEventNeedsNothing, hold.Captured, hold.CauseElsewhere},
		"captured by our own key": {scheduled,
			hold.StripeEvent{Intent: &hold.PaymentIntent{Status: hold.StatusSucceeded,
				AmountReceived: 500, Currency: "eur"}, IdempotencyKey: "holdd-" + eventIntentID +
				"-capture-0-1"}, hold.StripeEventNeedsNothing, hold.Captured, hold.CauseSchedule},
		"by another hold's key": {scheduled, hold.StripeEvent{Intent: succeeded,
			IdempotencyKey: "holdd-pi_another001-capture-0-1"}, hold.StripeEventNeedsNothing,
			hold.Captured, hold.CauseElsewhere},
		"lapsed": {scheduled, hold.StripeEvent{Intent: expired},
			hold.StripeEventNeedsNothing, hold.Expired, hold.CauseExpired},
		"a snapshot may be stale": {scheduled, hold.StripeEvent{Intent: stale},
			hold.StripeEventNeedsRead, hold.Scheduled, hold.CauseSchedule},
		"a charge's event": {scheduled, hold.StripeEvent{}, hold.StripeEventNeedsRead,
			hold.Scheduled, hold.CauseSchedule},
		"an open review": {scheduled,
			hold.StripeEvent{Review: &hold.Review{ID: "prv_1", Open: true}}, hold.StripeEventNeedsRead,
			hold.Scheduled, hold.CauseSchedule},
		"under work": {working, hold.StripeEvent{Intent: succeeded},
			hold.StripeEventNeedsRead, hold.Working, hold.CauseSchedule},
		"under work, review closed": {working, hold.StripeEvent{Review: closed},
			hold.StripeEventNeedsRead, hold.Working, hold.CauseSchedule},
		"read while paused": {readingPaused, hold.StripeEvent{Review: closed},
			hold.StripeEventRetryLater, hold.Working, hold.CauseSchedule},
		"of an earlier intent": {other, hold.StripeEvent{Intent: expired},
			hold.StripeEventNeedsNothing, hold.Scheduled, hold.CauseSchedule},
		"of an account that isn't's": {scheduled, hold.StripeEvent{Intent: expired,
			Account: "acct_12345678"}, hold.StripeEventNeedsNothing, hold.Scheduled, hold.CauseSchedule},
		"after its end": {final, hold.StripeEvent{Intent: expired},
			hold.StripeEventNeedsNothing, hold.Captured, hold.CauseSchedule},
	} {
		c.e.PaymentIntent = eventIntentID
		got, action := c.h.ApplyStripeEvent(&c.e, now)
		if action != c.want || got.Hold.State != c.state || got.Hold.Reason != c.cause ||
			got.Unchanged != (c.h.State == c.state) && name != "an open review" {
			t.Errorf("%s: %s %s, hearing %d, same %v", name, got.Hold.State,
				got.Hold.Reason, action, got.Unchanged)
		}
	}
}

func TestReview_PausesOnce(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	open := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture, Amount: 500,
		AmountCapturable: 500, Currency: "eur", Created: now, Review: "prv_1"}
	withoutReview := *open
	withoutReview.Review = ""
	closed := func(reason string) *hold.StripeEvent {
		return &hold.StripeEvent{PaymentIntent: eventIntentID,
			Review: &hold.Review{ID: "prv_1", Reason: reason}}
	}
	paused := newEventHold(t, now).ApplyPaymentIntent(open, now).Hold
	if paused.State != hold.Paused || paused.Reason != hold.CauseReview {
		t.Fatalf("%+v", paused)
	}
	// Somebody resumed it in spite of the review: it is not paused again.
	c, err := paused.Resume("desk", now)
	if err != nil || c.Hold.ApplyPaymentIntent(open, now).Hold.State != hold.Scheduled {
		t.Errorf("paused again")
	}
	if c, _ := paused.ApplyStripeEvent(closed("approved"), now); c.Hold.State != hold.Scheduled ||
		len(c.Events) != 1 || c.Events[0].Type != hold.EventResumed {
		t.Errorf("%+v", c.Hold)
	} else if again, _ := c.Hold.ApplyStripeEvent(closed("approved"), now); !again.Unchanged {
		t.Error("told twice, done twice")
	}
	if c, _ := paused.ApplyStripeEvent(closed("refunded_as_fraud"),
		now); c.Hold.State != hold.Attention || c.Hold.Reason != hold.CauseReview {
		t.Errorf("%+v", c.Hold)
	}
	// Closed before it was heard of: neither an event nor a read that comes
	// late pauses the hold.
	if c, _ := newEventHold(t, now).ApplyStripeEvent(closed("approved"), now); c.Unchanged ||
		c.Hold.ApplyPaymentIntent(open, now).Hold.State != hold.Scheduled {
		t.Error("a read that was overtaken paused it")
	}
	// A pause of somebody's own is not the review's to end.
	ownPause, err := newEventHold(t, now).Pause(0, "desk", now)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := ownPause.Hold.ApplyStripeEvent(closed("approved"),
		now); c.Hold.State != hold.Paused {
		t.Errorf("resumed from a pause of the desk's")
	}
	// How it was closed never came through: a person is asked, not at once.
	if s := paused.ApplyPaymentIntent(&withoutReview,
		now.Add(59*time.Minute)).Hold.State; s != hold.Paused {
		t.Errorf("%s", s)
	}
	if s := paused.ApplyPaymentIntent(&withoutReview,
		now.Add(61*time.Minute)).Hold.State; s != hold.Attention {
		t.Errorf("%s", s)
	}
}

func TestMetadataUpdate_IdempotencyKeys(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	h := newEventHold(t, now)
	pairs, first, ok := hold.MetadataUpdate(&h, nil, now)
	if !ok || pairs[hold.MetaCaptureAt] == "" || len(pairs) != 1 {
		t.Errorf("%q", pairs)
	}
	if _, again, _ := hold.MetadataUpdate(&h, nil, now); again != first {
		t.Error("the same has another key")
	}
	if _, later, _ := hold.MetadataUpdate(&h, nil, now.Add(time.Second)); later == first {
		t.Error("another try has the same key")
	}
	c, err := h.Pause(0, "desk", now)
	if err != nil {
		t.Fatal(err)
	}
	pairs, second, _ := hold.MetadataUpdate(&c.Hold, nil, now)
	if second == first || pairs[hold.MetaPaused] != "true" || pairs[hold.MetaCancelAt] != "" {
		t.Errorf("%q", pairs)
	}
	if _, present := pairs[hold.MetaCancelAt]; !present {
		t.Error("what earlier terms left is not taken out")
	}
	written := maps.Clone(pairs)
	maps.DeleteFunc(written, func(_, v string) bool { return v == "" })
	if remaining, _, _ := hold.MetadataUpdate(&c.Hold, written, now); len(remaining) != 0 {
		t.Errorf("written, and still to write: %q", remaining)
	}
}

// Whatever stands in an intent's metadata: no panic, and an error is a problem
// that says which pair is wrong.
func FuzzRequestFromMetadata(f *testing.F) {
	f.Add("2026-12-01T11:00:00Z", "", "5", "cancel", "BK", "true", `{"a":"b"}`)
	f.Add("2026-12-01T11:00", "tomorrow", "-5", "explode", "\x00", "yes", `{"a":1}`)
	f.Fuzz(func(t *testing.T, capture, cancel, amount, policy, reference, paused, pairs string) {
		now := time.Unix(1764000000, 0)
		in := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture,
			Amount: 500, AmountCapturable: 500, Currency: "eur", Created: now,
			Metadata: map[string]string{
				hold.MetaCaptureAt: capture, hold.MetaCancelAt: cancel,
				hold.MetaCaptureAmount: amount,
				hold.MetaOnExpiry:      policy, hold.MetaReference: reference,
				hold.MetaPaused:   paused,
				hold.MetaMetadata: pairs,
			}}
		w, startPaused, ok, err := hold.RequestFromMetadata(in, "")
		if err != nil {
			checkIsProblem(t, err)
		}
		if err != nil || !ok {
			return
		}
		d, err := w.ValidateRecovered(startPaused, now)
		if err != nil {
			checkIsProblem(t, err)
		}
		if err != nil {
			return
		}
		c, err := hold.New(d, in, "stripe", now)
		if err != nil {
			checkIsProblem(t, err)
		}
		if err == nil && !c.Hold.Mirrored {
			t.Error("found there and not mirrored")
		}
	})
}
