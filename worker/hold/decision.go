package hold

import (
	"slices"
	"time"
)

// DecisionRules are the settings that decisions depend on.
type DecisionRules struct {
	ExpiryMargin time.Duration   // how long before its deadline a hold's on_expiry acts
	Thresholds   []time.Duration // how long before its deadline a hold is warned of
	Mirror       bool            // terms are written to the intent's metadata
	// CaptureInterval is the time between two runs of the job that captures due
	// holds.
	CaptureInterval time.Duration
	// CancellationReason is the reason of a cancel that names none.
	CancellationReason string
}

// EventType names an event about a hold.
type EventType string

// The events about holds, as callbacks and the event stream name them.
const (
	EventScheduled    EventType = "hold.scheduled"
	EventChanged      EventType = "hold.changed"
	EventPaused       EventType = "hold.paused"
	EventResumed      EventType = "hold.resumed"
	EventExpiring     EventType = "hold.expiring"
	EventRetrying     EventType = "hold.retrying"
	EventCaptured     EventType = "hold.captured"
	EventCanceled     EventType = "hold.canceled"
	EventExpired      EventType = "hold.expired"
	EventAttention    EventType = "hold.attention"
	EventAcknowledged EventType = "hold.acknowledged"
	EventIncremented  EventType = "hold.incremented"
	// the authorized amount is the old one
	EventIncrementFailed EventType = "hold.increment_failed"
	// a part is captured, and the rest stays held
	EventPartlyCaptured EventType = "hold.partly_captured"
	// a new authorization holds the money
	EventRenewed EventType = "hold.renewed"
	// the bank requires the cardholder for the renewal
	EventRequiresAction EventType = "hold.requires_action"
)

// Event is an event about a hold. Package event adds its id and time.
type Event struct {
	Type  EventType
	Cause Cause
	// Threshold of hold.expiring is the one that was passed, 0 for the
	// deadline.
	Threshold time.Duration
	// Detail of hold.increment_failed is the bank's code, or a text.
	Detail string
	// CardholderLink leads the cardholder to the page on which the renewal goes
	// on. The committer adds it.
	CardholderLink string
	// Amount of hold.partly_captured is what this capture took, in minor units;
	// 0 if another system took it.
	Amount int64
}

// Decision is what follows from something that happened to a hold. It takes
// effect when the store has committed it.
type Decision struct {
	Hold   Hold
	Events []Event
	// Again asks for the next step at once. The executor goes on with a claim,
	// [Decision.SortedSetPlacement] makes another hold ready, and the committer
	// wakes the dispatcher for it.
	NextStepNow bool
	// NewDeadline asks for the milestones to be computed anew. Otherwise the
	// next milestone stays.
	NewDeadline bool
	// NewTerms asks for the terms to be written to the intent's metadata.
	NewTerms bool
	// MirrorAt is when writing them is to be retried.
	MirrorAt time.Time
	// Confirmed says that the caller confirmed that on_expiry acts at once.
	Confirmed bool
	// Unchanged says that there is nothing to write.
	Unchanged bool
}

// Merge returns next, a decision on d's hold that was made before d was
// written. It keeps d's new deadline, and d's events unless the hold has ended
// or requires attention.
func (d Decision) Merge(next Decision) Decision {
	next.NewDeadline = next.NewDeadline || d.NewDeadline
	if s := next.Hold.State; !s.IsFinal() && s != Attention {
		next.Events = slices.Concat(d.Events, next.Events)
	}
	return next
}

func (d *Decision) addEvent(t EventType, cause Cause) {
	d.Events = append(d.Events, Event{Type: t, Cause: cause})
}

// addAfterDeadlineWarning adds the warning that the authorization ends before
// the hold's own time.
func (d *Decision) addAfterDeadlineWarning(now time.Time) {
	d.Events = append(d.Events, Event{Type: EventExpiring, Cause: CauseAfterDeadline,
		Threshold: d.Hold.ExpiresAt.Sub(now)})
}

// planNextOp sets the next operation from the hold's own terms.
func planNextOp(h *Hold, now time.Time) {
	resetRetryCounters(h)
	h.Increment = Increment{}
	cancelRequestedPart(h)
	switch {
	case h.CancelWanted:
		h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, OpCancel, now, CauseTrigger
	case !h.CaptureAt.IsZero():
		h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, OpCapture, h.CaptureAt, CauseSchedule
	case !h.CancelAt.IsZero():
		h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, OpCancel, h.CancelAt, CauseSchedule
	default:
		h.State, h.NextOp, h.NextAt, h.Reason = Waiting, 0, time.Time{}, 0
	}
}

// resetRetryCounters forgets the retries of an earlier plan.
func resetRetryCounters(
	h *Hold,
) {
	h.Retries, h.InconclusiveReads, h.Calls, h.Refusals = 0, 0, 0, 0
}
