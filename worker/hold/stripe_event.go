package hold

import (
	"strings"
	"time"
)

// StripeEvent is an event from a signed Stripe webhook. It describes one
// moment. It may arrive twice, late, or after a later event.
type StripeEvent struct {
	ID            string
	Type          string // such as payment_intent.succeeded
	Account       string // connected account; empty for the platform's own
	Created       time.Time
	Livemode      bool
	PaymentIntent string         // id; empty if the event is about no intent
	Intent        *PaymentIntent // of payment_intent.* only: the intent at that moment
	// of charge.* only: what an uncaptured charge shows of the intent
	Authorized       *PaymentIntent
	AutomaticCapture bool         // Stripe captures the intent at once, so it is no hold
	Review           *FraudReview // of review.* only
}

// FraudReview is a fraud review at Stripe, as an event shows it.
type FraudReview struct {
	ID     string
	Open   bool
	Reason string // of the close, such as approved
}

// StripeEventFollowUp is what an event asks for besides the change that it makes.
type StripeEventFollowUp uint8

// The actions that an event asks for.
const (
	StripeEventNeedsNothing StripeEventFollowUp = iota + 1
	StripeEventNeedsRead                        // a read at Stripe, because the event may be stale
	StripeEventRetryLater                       // the same event later, because the hold is claimed
)

// ApplyStripeEvent decides what an event about its hold asks for.
//
// An event never changes what holdd does with the money. It may be stale, and
// whoever knows the signing secret can forge it. So the final statuses, an
// expired charge and every other difference lead to a read, and the hold
// applies the answer. An event that says what a read has shown already needs
// none, see mustRetrieveAfterStripeEvent. The only change is an entry in the history: how
// a review was closed, because a read does not show it.
func (h Hold) ApplyStripeEvent(e *StripeEvent, now time.Time) (Decision, StripeEventFollowUp) {
	now = now.UTC().Truncate(time.Millisecond)
	same := Decision{Hold: h, Unchanged: true}
	if r := h.Renewal; r != nil && r.Intent == e.PaymentIntent && r.Intent != "" &&
		h.Account == e.Account && !h.State.IsFinal() {
		return scheduleNewIntentRetrieveNow(h, now), StripeEventNeedsNothing
	}
	if h.State.IsFinal() || h.PaymentIntent != e.PaymentIntent || h.Account != e.Account {
		return same, StripeEventNeedsNothing
	}
	switch {
	case h.State == Working && e.closesReview() && h.PreviousState == Paused:
		return same, StripeEventRetryLater // the entry would change a claimed hold
	case h.State == Working:
		return same, StripeEventNeedsRead
	case e.closesReview():
		return recordClosedReview(h, e.Review, now), StripeEventNeedsRead
	case mustRetrieveAfterStripeEvent(&h, e, now):
		return same, StripeEventNeedsRead
	}
	return same, StripeEventNeedsNothing
}

func (e *StripeEvent) closesReview() bool { return e.Review != nil && !e.Review.Open }

// reviewApproved is the reason of a closed review that lets the payment
// continue.
const reviewApproved = "approved"

const (
	reviewClosedNote = "closed "
	reviewReasonNote = " as "
	// maxReviewsClosed bounds the reviews of a hold that its history shows as
	// closed, so that events do not displace other entries.
	maxReviewsClosed = 4
)

// recordClosedReview adds to the history how a review was closed. A read that
// shows no open review applies it, see pauseOrResumeByReview.
func recordClosedReview(h Hold, r *FraudReview, now time.Time) Decision {
	closed := 0
	for i := range h.History {
		if strings.HasPrefix(h.History[i].Note, reviewClosedNote) {
			closed++
		}
	}
	if _, recorded := closedReviewReasonInHistory(&h, r.ID); recorded || closed >= maxReviewsClosed {
		return Decision{Hold: h, Unchanged: true}
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
		Cause: CauseReview, Note: reviewClosedNote + r.ID + reviewReasonNote + r.Reason})
	return Decision{Hold: h}
}

// closedReviewReasonInHistory returns the reason with which an event said that a review
// was closed.
func closedReviewReasonInHistory(h *Hold, id string) (reason string, ok bool) {
	for i := range h.History {
		reason, ok = strings.CutPrefix(h.History[i].Note, reviewClosedNote+id+reviewReasonNote)
		if ok {
			return reason, true
		}
	}
	return "", false
}

// reviewCloseTimeout is how long the event of a closed review may take before
// the hold requires attention: a read does not show how it was closed.
const reviewCloseTimeout = time.Hour

// pauseOrResumeByReview applies what a read shows of the review of an intent.
// An open review pauses the hold, each review once. If the review that paused
// the hold is no longer open, pauseOrResumeByReview applies how an event said
// it was closed.
func pauseOrResumeByReview(d Decision, in *PaymentIntent, now time.Time) Decision {
	h := d.Hold
	switch {
	case in.Review != "":
		own := h.State == Waiting || h.State == Scheduled && h.Reason == CauseSchedule
		if !own || historyHasNote(&h, in.Review) {
			return d
		}
		p, err := h.Pause(CauseReview, "stripe", now)
		if err != nil {
			return d
		}
		// appendHistory has copied the slice
		p.Hold.History[len(p.Hold.History)-1].Note = in.Review
		return d.Merge(p)
	case h.State == Paused && h.Reason == CauseReview:
		return resumeIfReviewApproved(d, now)
	}
	return d
}

// resumeIfReviewApproved resumes a hold whose review a read no longer shows if the
// review was approved, and requires attention if it was closed otherwise.
func resumeIfReviewApproved(d Decision, now time.Time) Decision {
	h := d.Hold
	reason, known := closedReviewReasonInHistory(&h, lastHistoryNoteOfKind(&h, HistoryPaused))
	switch {
	case known && reason == reviewApproved:
		resumed, err := h.Resume("stripe", now)
		if err != nil { // the hold is not paused
			return d
		}
		return d.Merge(resumed)
	case known:
		return d.Merge(requireAttention(h, CauseReview,
			"the review was closed as "+reason, now))
	case now.Sub(lastHistoryTimeOfKind(&h, HistoryPaused)) >= reviewCloseTimeout:
		return d.Merge(requireAttention(h, CauseReview,
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

func lastHistoryEntryOfKind(h *Hold, k HistoryKind) HistoryEntry {
	for i := len(h.History) - 1; i >= 0; i-- {
		if h.History[i].Kind == k {
			return h.History[i]
		}
	}
	return HistoryEntry{}
}

func lastHistoryNoteOfKind(
	h *Hold,
	k HistoryKind,
) string {
	return lastHistoryEntryOfKind(h, k).Note
}

func lastHistoryTimeOfKind(
	h *Hold,
	k HistoryKind,
) time.Time {
	return lastHistoryEntryOfKind(h, k).At
}
