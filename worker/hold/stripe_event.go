package hold

import (
	"strings"
	"time"
)

// StripeEvent is what a signed webhook of Stripe's tells. It tells of one
// moment, and comes once, twice, late, or after one that happened later.
type StripeEvent struct {
	ID               string
	Type             string // such as payment_intent.succeeded
	Account          string // connected account, empty for one's own
	Created          time.Time
	Livemode         bool
	IdempotencyKey   string  // idempotency key of the request that caused it, if one did
	PaymentIntent    string  // whom it concerns; empty: no intent
	Intent           *Intent // the intent at that moment, of payment_intent.* only
	AutomaticCapture bool    // the intent is captured by Stripe at once: it never was a hold
	Review           *Review // of review.* only
}

// Review is a fraud review at Stripe, as an event shows it.
type Review struct {
	ID     string
	Open   bool
	Reason string // why it was closed, such as approved
}

// EventAction is what is to be done about an event beside the change that it
// makes.
type EventAction uint8

const (
	EventNeedsNothing EventAction = iota + 1 // it is of no concern, or told all
	EventNeedsRead                           // Stripe is to be read: the event may be stale
	EventRetryLater                          // the hold is under work: the same event again, later
)

// ApplyStripeEvent decides what a known hold makes of an event.
//
// The statuses succeeded and canceled are final at Stripe, so a signed event
// that shows one can't be stale: it settles the hold without a read. A capture
// that leaves something for later ones (multicapture) doesn't show succeeded,
// and the amount in one that does is the sum. A closed review is final as well.
// Everything else may have been overtaken, and asks for a read. A hold under
// work is left to its worker, who meets the same truth; it is looked at once it
// is not.
func (h Hold) ApplyStripeEvent(e *StripeEvent, now time.Time) (Decision, EventAction) {
	now = now.UTC().Truncate(time.Millisecond)
	same := Decision{Hold: h, Unchanged: true}
	if h.State.Final() || h.PaymentIntent != e.PaymentIntent || h.Account != e.Account {
		return same, EventNeedsNothing
	}
	if h.State == Working {
		if e.closesReview() && h.PreviousState == Paused {
			return same, EventRetryLater // how it was closed stands nowhere else
		}
		return same, EventNeedsRead
	}
	switch {
	case e.Intent != nil && (e.Intent.Status == StatusSucceeded ||
		e.Intent.Status == StatusCanceled):
		return settleAs(h, e.Intent, ownsKey(&h, e.IdempotencyKey), nil, now), EventNeedsNothing
	case e.closesReview():
		return applyReviewClosed(h, e.Review, now), EventNeedsRead
	}
	return same, EventNeedsRead
}

func (e *StripeEvent) closesReview() bool { return e.Review != nil && !e.Review.Open }

// ownsKey tells whether an idempotency key is one of this hold's.
func ownsKey(h *Hold, key string) bool { return strings.HasPrefix(key, keyPrefix+h.ID+"-") }

// reviewApproved is how a review is closed that lets the payment go on.
const reviewApproved = "approved"

// applyReviewClosed resumes the hold that this review paused if it was
// approved, and hands it to a person if it was closed otherwise and the money
// is still held. In any case the hold remembers it: an event or a read of the
// open review that comes after must not pause it any more.
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
	if err != nil { // not paused after all
		return Decision{Hold: h}
	}
	return c
}

const reviewClosedNote = "closed "

// reviewCloseTimeout is how long a closed review's event may take before a
// person is asked: a read doesn't tell how it was closed.
const reviewCloseTimeout = time.Hour

// pauseForReview goes on with a hold that was just read: an open review pauses
// it, once.
func (c Decision) pauseForReview(in *Intent, now time.Time) Decision {
	h := c.Hold
	switch {
	case in.Review != "":
		own := h.State == Waiting || h.State == Scheduled && h.Reason == CauseSchedule
		if !own || historyHasNote(&h, in.Review) || historyHasNote(&h, reviewClosedNote+in.Review) {
			return c
		}
		p, err := h.Pause(CauseReview, "stripe", now)
		if err != nil {
			return c
		}
		// a fresh slice: record never appends in place
		p.Hold.History[len(p.Hold.History)-1].Note = in.Review
		return c.FollowedBy(p)
	case h.State == Paused && h.Reason == CauseReview &&
		now.Sub(lastEntryAt(&h, HistoryPaused)) >= reviewCloseTimeout:
		return c.FollowedBy(
			requireAttention(h, CauseReview,
				"the review is over, and how it was closed was not told", now))
	}
	return c
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
