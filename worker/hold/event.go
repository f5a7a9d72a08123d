package hold

import (
	"strings"
	"time"
)

// Event is what a signed webhook of Stripe's tells. It tells of one moment, and comes once, twice, late, or after one that happened later.
type Event struct {
	ID            string
	Type          string // such as payment_intent.succeeded
	Account       string // connected account, empty for one's own
	Created       time.Time
	Livemode      bool
	Key           string  // idempotency key of the request that caused it, if one did
	PaymentIntent string  // whom it concerns; empty: no intent
	Intent        *Intent // the intent at that moment, of payment_intent.* only
	Automatic     bool    // the intent is captured by Stripe at once: it never was a hold
	Review        *Review // of review.* only
}

// Review is a fraud review at Stripe, as an event shows it.
type Review struct {
	ID     string
	Open   bool
	Reason string // why it was closed, such as approved
}

// Hearing is what is to be done about an event beside the change that it makes.
type Hearing uint8

const (
	HearNothing Hearing = iota + 1 // it is of no concern, or told all
	HearLook                       // Stripe is to be read: the event may be stale
	HearLater                      // the hold is under work: the same event again, later
)

// Heard decides what a known hold makes of an event.
//
// The statuses succeeded and canceled are final at Stripe, so a signed event that shows one can't be stale: it settles the hold without a read. A
// capture that leaves something for later ones (multicapture) doesn't show succeeded, and the amount in one that does is the sum. A closed review is
// final as well. Everything else may have been overtaken, and asks for a read. A hold under work is left to its worker, who meets the same
// truth; it is looked at once it is not.
func (h Hold) Heard(e *Event, now time.Time) (Change, Hearing) {
	now = now.UTC().Truncate(time.Millisecond)
	same := Change{Hold: h, Same: true}
	if h.State.Final() || h.PaymentIntent != e.PaymentIntent || h.Account != e.Account {
		return same, HearNothing
	}
	if h.State == Working {
		if e.closesReview() && h.Prior == Paused {
			return same, HearLater // how it was closed stands nowhere else
		}
		return same, HearLook
	}
	switch {
	case e.Intent != nil && (e.Intent.Status == StatusSucceeded || e.Intent.Status == StatusCanceled):
		return h.settle(e.Intent, h.owns(e.Key), nil, now), HearNothing
	case e.closesReview():
		return h.reviewClosed(e.Review, now), HearLook
	}
	return same, HearLook
}

func (e *Event) closesReview() bool { return e.Review != nil && !e.Review.Open }

// owns tells whether an idempotency key is one of this hold's.
func (h *Hold) owns(key string) bool { return strings.HasPrefix(key, keyPrefix+h.ID+"-") }

// approved is how a review is closed that lets the payment go on.
const approved = "approved"

// reviewClosed resumes the hold that this review paused if it was approved, and hands it to a person if it was closed otherwise and the money is
// still held. In any case the hold remembers it: an event or a read of the open review that comes after must not pause it any more.
func (h Hold) reviewClosed(r *Review, now time.Time) Change {
	note := reviewClosedNote + r.ID
	paused := h.State == Paused && h.Why == CauseReview && h.lastNote(EntryPaused) == r.ID
	if h.noted(note) {
		return Change{Hold: h, Same: true}
	}
	h.record(Entry{At: now, Kind: EntryObserved, By: "stripe", Cause: CauseReview, Note: note})
	switch {
	case !paused:
		return Change{Hold: h}
	case r.Reason != approved:
		return h.look(CauseReview, "the review was closed as "+r.Reason, now)
	}
	c, err := h.Resuming("stripe", now)
	if err != nil { // not paused after all
		return Change{Hold: h}
	}
	return c
}

const reviewClosedNote = "closed "

// reviewPatience is how long a closed review's event may take before a person is asked: a read doesn't tell how it was closed.
const reviewPatience = time.Hour

// reviewed goes on with a hold that was just read: an open review pauses it, once.
func (c Change) reviewed(in *Intent, now time.Time) Change {
	h := c.Hold
	switch {
	case in.Review != "":
		own := h.State == Waiting || h.State == Scheduled && h.Why == CauseSchedule
		if !own || h.noted(in.Review) || h.noted(reviewClosedNote+in.Review) {
			return c
		}
		p, err := h.Pausing(CauseReview, "stripe", now)
		if err != nil {
			return c
		}
		p.Hold.History[len(p.Hold.History)-1].Note = in.Review // a fresh slice: record never appends in place
		return c.Then(p)
	case h.State == Paused && h.Why == CauseReview && now.Sub(h.lastAt(EntryPaused)) >= reviewPatience:
		return c.Then(h.look(CauseReview, "the review is over, and how it was closed was not told", now))
	}
	return c
}

func (h *Hold) noted(note string) bool {
	for i := range h.History {
		if h.History[i].Note == note {
			return true
		}
	}
	return false
}

func (h *Hold) last(k EntryKind) Entry {
	for i := len(h.History) - 1; i >= 0; i-- {
		if h.History[i].Kind == k {
			return h.History[i]
		}
	}
	return Entry{}
}

func (h *Hold) lastNote(k EntryKind) string  { return h.last(k).Note }
func (h *Hold) lastAt(k EntryKind) time.Time { return h.last(k).At }
