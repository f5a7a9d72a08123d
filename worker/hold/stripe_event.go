package hold

import (
	"strings"
	"time"
)

// StripeEvent is an event from a signed Stripe webhook. It describes one
// moment. It may arrive twice, late, or after a later event.
type StripeEvent struct {
	ID             string
	Type           string // such as payment_intent.succeeded
	Account        string // connected account; empty for the platform's own
	Created        time.Time
	Livemode       bool
	IdempotencyKey string         // of the request that caused it; empty if none did
	PaymentIntent  string         // id; empty if the event is about no intent
	Intent         *PaymentIntent // of payment_intent.* only: the intent at that moment
	// of charge.* only: what an uncaptured charge shows of the intent
	Authorized       *PaymentIntent
	AutomaticCapture bool    // Stripe captures the intent at once, so it is no hold
	Review           *Review // of review.* only
}

// Review is a fraud review at Stripe, as an event shows it.
type Review struct {
	ID     string
	Open   bool
	Reason string // of the close, such as approved
}

// StripeEventAction is what an event asks for besides the change that it makes.
type StripeEventAction uint8

// The actions that an event asks for.
const (
	StripeEventNeedsNothing StripeEventAction = iota + 1
	StripeEventNeedsRead                      // a read at Stripe, because the event may be stale
	StripeEventRetryLater                     // the same event later, because the hold is claimed
)

// ApplyStripeEvent decides what an event changes about its hold.
//
// The statuses succeeded and canceled are final at Stripe, so an event that
// shows one cannot be stale: it settles the hold without a read. With
// multicapture only the last capture shows succeeded, and its amount is the
// sum. A closed review is final as well. A snapshot of an authorization can
// save a read, see applySnapshot. Everything else may be stale and needs a
// read. A claimed hold is left to its worker, which reads the same state.
func (h Hold) ApplyStripeEvent(e *StripeEvent, now time.Time) (Decision, StripeEventAction) {
	now = now.UTC().Truncate(time.Millisecond)
	same := Decision{Hold: h, Unchanged: true}
	if h.State.Final() || h.PaymentIntent != e.PaymentIntent || h.Account != e.Account {
		return same, StripeEventNeedsNothing
	}
	if h.State == Working {
		if e.closesReview() && h.PreviousState == Paused {
			return same, StripeEventRetryLater // no read shows how it was closed
		}
		return same, StripeEventNeedsRead
	}
	switch {
	case e.Intent != nil && (e.Intent.Status == StatusSucceeded ||
		e.Intent.Status == StatusCanceled):
		return settleAs(
			h,
			e.Intent,
			ownsIdempotencyKey(&h, e.IdempotencyKey),
			nil,
			now,
		), StripeEventNeedsNothing
	case e.closesReview():
		return applyReviewClosed(h, e.Review, now), StripeEventNeedsRead
	}
	return applySnapshot(h, e, now)
}

func (e *StripeEvent) closesReview() bool { return e.Review != nil && !e.Review.Open }

// ownsIdempotencyKey reports whether an idempotency key belongs to this hold.
func ownsIdempotencyKey(
	h *Hold,
	key string,
) bool {
	return strings.HasPrefix(key, keyPrefix+h.ID+"-")
}

// reviewApproved is the reason of a closed review that lets the payment
// continue.
const reviewApproved = "approved"

// applyReviewClosed resumes the hold that this review paused if the review was
// approved, and requires attention if it was closed otherwise. The history
// keeps the close, so that a late event of the open review does not pause the
// hold again.
func applyReviewClosed(h Hold, r *Review, now time.Time) Decision {
	note := reviewClosedNote + r.ID
	paused := h.State == Paused && h.Reason == CauseReview &&
		lastEntryNote(&h, HistoryPaused) == r.ID
	if historyHasNote(&h, note) {
		return Decision{Hold: h, Unchanged: true}
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
		Cause: CauseReview, Note: note})
	switch {
	case !paused:
		return Decision{Hold: h}
	case r.Reason != reviewApproved:
		return requireAttention(h, CauseReview, "the review was closed as "+r.Reason, now)
	}
	c, err := h.Resume("stripe", now)
	if err != nil { // the hold is not paused
		return Decision{Hold: h}
	}
	return c
}

const reviewClosedNote = "closed "

// reviewCloseTimeout is how long the event of a closed review may take before
// the hold requires attention: a read does not show how it was closed.
const reviewCloseTimeout = time.Hour

// pauseForReview pauses a hold whose intent was read and has an open review.
// Each review pauses it once.
func (d Decision) pauseForReview(in *PaymentIntent, now time.Time) Decision {
	h := d.Hold
	switch {
	case in.Review != "":
		own := h.State == Waiting || h.State == Scheduled && h.Reason == CauseSchedule
		if !own || historyHasNote(&h, in.Review) || historyHasNote(&h, reviewClosedNote+in.Review) {
			return d
		}
		p, err := h.Pause(CauseReview, "stripe", now)
		if err != nil {
			return d
		}
		// appendHistory has copied the slice
		p.Hold.History[len(p.Hold.History)-1].Note = in.Review
		return d.FollowedBy(p)
	case h.State == Paused && h.Reason == CauseReview &&
		now.Sub(lastEntryAt(&h, HistoryPaused)) >= reviewCloseTimeout:
		return d.FollowedBy(requireAttention(h, CauseReview,
			"the review is closed, and Stripe sent no event that says how", now))
	}
	return d
}

func historyHasNote(h *Hold, note string) bool {
	for i := range h.History {
		if h.History[i].Note == note {
			return true
		}
	}
	return false
}

func lastEntry(h *Hold, k HistoryKind) HistoryEntry {
	for i := len(h.History) - 1; i >= 0; i-- {
		if h.History[i].Kind == k {
			return h.History[i]
		}
	}
	return HistoryEntry{}
}

func lastEntryNote(h *Hold, k HistoryKind) string  { return lastEntry(h, k).Note }
func lastEntryAt(h *Hold, k HistoryKind) time.Time { return lastEntry(h, k).At }
