package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// TestApplyStripeEvent_Snapshots lists when the snapshot of an authorization
// saves the read of the intent.
func TestApplyStripeEvent_Snapshots(t *testing.T) {
	now := time.Unix(1764000000, 0).UTC()
	deadline := now.Add(6 * 24 * time.Hour)
	verified := newEventHold(t, now)
	unverified := verified
	unverified.Verified, unverified.Amount, unverified.Currency = false, 0, ""
	with := func(h hold.Hold, f func(*hold.Hold)) hold.Hold { f(&h); return h }
	shown := func(f func(*hold.PaymentIntent)) *hold.PaymentIntent {
		in := &hold.PaymentIntent{ID: eventIntentID, Status: hold.StatusRequiresCapture,
			Amount:           500,
			AmountCapturable: 500, Currency: "eur", Created: now, CaptureBefore: deadline}
		f(in)
		return in
	}
	same := func(*hold.PaymentIntent) {}
	noDeadline := func(in *hold.PaymentIntent) { in.CaptureBefore = time.Time{} }
	for name, c := range map[string]struct {
		h    hold.Hold
		in   *hold.PaymentIntent
		at   time.Time
		read bool
	}{
		"the verify job reads it, perhaps before the event": {unverified, shown(same), now, true},
		"no deadline": {unverified, shown(noDeadline), now, true},
		"the verify job does not read it": {
			with(unverified, func(h *hold.Hold) {
				h.Amount, h.Currency, h.ExpiresSource = 500, "eur", hold.SourceCaller
			}), shown(same), now, true},
		"an open review": {unverified,
			shown(func(in *hold.PaymentIntent) { in.Review = "prv_1" }), now, true},
		"a part captured": {unverified,
			shown(func(in *hold.PaymentIntent) { in.AmountReceived = 100 }), now, true},
		"another status": {unverified,
			shown(func(in *hold.PaymentIntent) { in.Status = hold.StatusProcessing }), now, true},
		"the deadline has passed": {unverified,
			shown(func(in *hold.PaymentIntent) { in.CaptureBefore = now }), now, true},
		"ends before the capture": {unverified,
			shown(func(in *hold.PaymentIntent) { in.CaptureBefore = now.Add(time.Hour) }), now,
			true},
		"agrees": {verified, shown(noDeadline), now.Add(-time.Hour), false},
		"agrees while paused": {
			with(verified, func(h *hold.Hold) { h.State = hold.Paused }),
			shown(noDeadline), now, false},
		"another amount": {verified,
			shown(func(in *hold.PaymentIntent) { noDeadline(in); in.AmountCapturable = 999 }), now,
			true},
		"another currency": {verified,
			shown(func(in *hold.PaymentIntent) { noDeadline(in); in.Currency = "usd" }), now, true},
		"another deadline": {verified, shown(same), now, true},
		"a part was captured": {
			with(verified, func(h *hold.Hold) { h.CapturedElsewhere = 100 }),
			shown(noDeadline), now, true},
		"paused by a review": {with(verified, func(h *hold.Hold) {
			h.State, h.Reason = hold.Paused, hold.CauseReview
		}), shown(noDeadline), now, true},
		"requires attention": {with(verified, func(h *hold.Hold) { h.State = hold.Attention }),
			shown(noDeadline), now, true},
	} {
		e := &hold.StripeEvent{PaymentIntent: eventIntentID, Created: c.at, Authorized: c.in}
		d, action := c.h.ApplyStripeEvent(e, now)
		if (action == hold.StripeEventNeedsRead) != c.read || action == hold.StripeEventRetryLater ||
			!d.Unchanged {
			t.Errorf("%s: action %d, unchanged %t", name, action, d.Unchanged)
		}
	}
}
