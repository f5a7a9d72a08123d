package hold_test

import (
	"fmt"
	"maps"
	"reflect"
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
	c, err := hold.DecideNewHold(
		d,
		&hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture,
			Amount: 500, AmountCapturable: 500, Currency: "eur", Created: now},
		"test",
		now,
	)
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
	closed := &hold.FraudReview{ID: "prv_1", Reason: "approved"}
	for name, c := range map[string]struct {
		h       hold.Hold
		e       hold.StripeEvent
		want    hold.StripeEventFollowUp
		written bool
	}{
		"captured": {scheduled, hold.StripeEvent{Intent: succeeded}, hold.StripeEventNeedsRead,
			false},
		"expired":         {scheduled, hold.StripeEvent{Intent: expired}, hold.StripeEventNeedsRead, false},
		"another amount":  {scheduled, hold.StripeEvent{Intent: stale}, hold.StripeEventNeedsRead, false},
		"event of charge": {scheduled, hold.StripeEvent{}, hold.StripeEventNeedsRead, false},
		"open review": {scheduled, hold.StripeEvent{Review: &hold.FraudReview{ID: "prv_1",
			Open: true}},
			hold.StripeEventNeedsRead, false},
		"closed review": {scheduled, hold.StripeEvent{Review: closed}, hold.StripeEventNeedsRead,
			true},
		"claimed, captured": {working, hold.StripeEvent{Intent: succeeded},
			hold.StripeEventNeedsRead, false},
		"claimed, review closed": {working, hold.StripeEvent{Review: closed},
			hold.StripeEventNeedsRead, false},
		"claimed while paused, review closed": {readingPaused, hold.StripeEvent{Review: closed},
			hold.StripeEventRetryLater, false},
		"earlier intent of the hold": {other, hold.StripeEvent{Intent: expired},
			hold.StripeEventNeedsNothing, false},
		"other account": {scheduled, hold.StripeEvent{Intent: expired, Account: "acct_12345678"},
			hold.StripeEventNeedsNothing, false},
		"settled hold": {final, hold.StripeEvent{Intent: expired}, hold.StripeEventNeedsNothing,
			false},
	} {
		t.Run(name, func(t *testing.T) {
			c.e.PaymentIntent = eventIntentID
			d, action := c.h.ApplyStripeEvent(&c.e, now)
			if action != c.want || d.Unchanged == c.written || len(d.Events) > 0 {
				t.Errorf("action %d, unchanged %t, events %v", action, d.Unchanged, d.Events)
			}
			got, want := d.Hold, c.h
			got.History, want.History = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the event changed more than the history:\n%+v\n%+v", got, want)
			}
		})
	}
}

func TestFraudReview_PausesOnce(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	open := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture, Amount: 500,
		AmountCapturable: 500, Currency: "eur", Created: now, Review: "prv_1"}
	withoutReview := *open
	withoutReview.Review = ""
	closed := func(reason string) *hold.StripeEvent {
		return &hold.StripeEvent{PaymentIntent: eventIntentID,
			Review: &hold.FraudReview{ID: "prv_1", Reason: reason}}
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
	for reason, want := range map[string]hold.State{
		"approved": hold.Scheduled, "refunded_as_fraud": hold.Attention,
	} {
		reported, _ := paused.ApplyStripeEvent(closed(reason), now)
		if reported.Hold.State != hold.Paused || reported.Unchanged {
			t.Errorf("%s: the event alone led to %+v", reason, reported.Hold)
		}
		if again, _ := reported.Hold.ApplyStripeEvent(closed(reason), now); !again.Unchanged {
			t.Errorf("%s: recorded twice", reason)
		}
		if s := reported.Hold.ApplyPaymentIntent(open, now).Hold.State; s != hold.Paused {
			t.Errorf("%s: %s while Stripe shows the open review", reason, s)
		}
		read := reported.Hold.ApplyPaymentIntent(&withoutReview, now)
		if read.Hold.State != want || len(read.Events) != 1 || read.Unchanged {
			t.Errorf("%s: %+v", reason, read)
		}
		if s := read.Hold.ApplyPaymentIntent(open, now).Hold.State; s != want {
			t.Errorf("%s: %s after a late read of the open review", reason, s)
		}
	}
	// An event that says that the review is closed does not keep an open review
	// from pausing the hold.
	c2, _ := newEventHold(t, now).ApplyStripeEvent(closed("approved"), now)
	if s := c2.Hold.ApplyPaymentIntent(open, now).Hold.State; s != hold.Paused {
		t.Errorf("%s under an open review", s)
	}
	// A caller's own pause does not end with the review.
	ownPause, err := newEventHold(t, now).Pause(0, "desk", now)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := ownPause.Hold.ApplyStripeEvent(closed("approved"), now)
	if s := own.Hold.ApplyPaymentIntent(&withoutReview, now).Hold.State; s != hold.Paused {
		t.Errorf("%s, paused by the caller", s)
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

func TestApplyStripeEvent_BoundsHistory(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	h := newEventHold(t, now)
	for i := range 3 * hold.MaxHistory {
		d, _ := h.ApplyStripeEvent(&hold.StripeEvent{PaymentIntent: eventIntentID,
			Review: &hold.FraudReview{ID: fmt.Sprintf("prv_%d", i), Reason: "approved"}}, now)
		h = d.Hold
	}
	if h.HistoryDropped > 0 || len(h.History) > 5 {
		t.Errorf("%d entries, %d dropped", len(h.History), h.HistoryDropped)
	}
}

func TestMetadataUpdate_IdempotencyKeys(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	h := newEventHold(t, now)
	pairs, first, ok := hold.MetadataDiffWithIdempotencyKey(&h, nil, now)
	if !ok || pairs[hold.MetaCaptureAt] == "" || len(pairs) != 1 {
		t.Errorf("%q", pairs)
	}
	if _, again, _ := hold.MetadataDiffWithIdempotencyKey(&h, nil, now); again != first {
		t.Error("the same has another key")
	}
	if _, later, _ := hold.MetadataDiffWithIdempotencyKey(&h, nil, now.Add(time.Second)); later == first {
		t.Error("another try has the same key")
	}
	c, err := h.Pause(0, "desk", now)
	if err != nil {
		t.Fatal(err)
	}
	pairs, second, _ := hold.MetadataDiffWithIdempotencyKey(&c.Hold, nil, now)
	if second == first || pairs[hold.MetaPaused] != "true" || pairs[hold.MetaCancelAt] != "" {
		t.Errorf("%q", pairs)
	}
	if _, present := pairs[hold.MetaCancelAt]; !present {
		t.Error("what earlier terms left is not taken out")
	}
	written := maps.Clone(pairs)
	maps.DeleteFunc(written, func(_, v string) bool { return v == "" })
	if remaining, _, _ := hold.MetadataDiffWithIdempotencyKey(&c.Hold, written, now); len(
		remaining,
	) != 0 {
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
		d, err := w.ValidateRecoveredTerms(startPaused, now)
		if err != nil {
			checkIsProblem(t, err)
		}
		if err != nil {
			return
		}
		c, err := hold.DecideNewHold(d, in, "stripe", now)
		if err != nil {
			checkIsProblem(t, err)
		}
		if err == nil && !c.Hold.Mirrored {
			t.Error("found there and not mirrored")
		}
	})
}

// TestMetadataUpdate_RemovesUnread checks that an update without a read removes
// terms that would allow or capture more than the new ones.
func TestMetadataUpdate_RemovesUnread(t *testing.T) {
	h := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)))
	c, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(2 * day)))}, "api", t0)
	if err != nil {
		t.Fatal(err)
	}
	pairs, _, _ := hold.MetadataDiffWithIdempotencyKey(&c.Hold, nil, t0)
	for _, k := range []string{hold.MetaRenewalReleaseFirst, hold.MetaCaptures,
		hold.MetaCaptures + "_2", hold.MetaCaptures + "_4"} {
		if v, ok := pairs[k]; !ok || v != "" {
			t.Errorf("%s stays", k)
		}
	}
}
