package hold

import (
	"maps"
	"slices"
	"time"
)

// Rules are the settings that decisions depend on.
type Rules struct {
	ExpiryMargin time.Duration   // how long before its deadline a hold's policy acts
	Thresholds   []time.Duration // how long before its deadline people are told
	Mirror       bool            // terms are written to the intent's metadata
}

// EventType names an event that others may want to know of.
type EventType string

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
)

// Event is an event as the machine knows it; whoever publishes it adds an id
// and a time.
type Event struct {
	Type  EventType
	Cause Cause
	// of hold.expiring: which threshold was passed, 0 for the deadline itself
	Threshold time.Duration
}

// Decision is what follows from something that happened. It takes effect when
// the store has committed it, or not at all.
type Decision struct {
	Hold   Hold
	Events []Event
	// Now asks for the next step in the same breath: by the worker that holds
	// the claim, or straight into the ready queue.
	Again bool
	// NewDeadline asks for the milestones to be computed anew; otherwise the
	// one that is next stays next.
	NewDeadline bool
	// NewTerms asks for the terms to be written to the intent's metadata.
	NewTerms bool
	// MirrorAt is when writing them is to be tried again.
	MirrorAt time.Time
	// Confirmed says that the caller knows that the deadline's policy acts at
	// once.
	Confirmed bool
	// Same tells that nothing is to be written.
	Unchanged bool
}

// FollowedBy is next, which followed from c before c was written, with what c
// asked for beside the hold: a deadline that it learned has its milestones yet,
// and what it had to tell is told, but of a hold that has come to its end
// meanwhile, or to a person, who sees it.
func (c Decision) FollowedBy(next Decision) Decision {
	next.NewDeadline = next.NewDeadline || c.NewDeadline
	if s := next.Hold.State; !s.Final() && s != Attention {
		next.Events = slices.Concat(c.Events, next.Events)
	}
	return next
}

func (c *Decision) addEvent(t EventType, cause Cause) {
	c.Events = append(c.Events, Event{Type: t, Cause: cause})
}

// addExpiresBeforeDue tells that the authorization will end, as far as is
// known, before the hold's own time comes.
func (c *Decision) addExpiresBeforeDue(now time.Time) {
	c.Events = append(c.Events, Event{Type: EventExpiring, Cause: CauseAfterDeadline,
		Threshold: c.Hold.ExpiresAt.Sub(now)})
}

// planNext sets what comes next from the hold's own terms.
func planNext(h *Hold, now time.Time) {
	tryAnew(h)
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

// tryAnew forgets how often what came before was tried.
func tryAnew(h *Hold) { h.Retries, h.InconclusiveReads, h.Calls, h.Refusals = 0, 0, 0, 0 }

const day = 24 * time.Hour

// windows is how long an authorization lasts if its charge has no
// capture_before. Japan's 30 days and extended authorizations are not listed,
// because only capture_before shows them.
var windows = map[string]time.Duration{
	"affirm":            30 * day,
	"afterpay_clearpay": 13 * day,
	"card_present":      2 * day, // Visa has 4 days 18 hours, but the brand is not known here
	"cashapp":           7 * day,
	"klarna":            28 * day, // back to midnight: see alignEnd
	"paypal":            10 * day, // Stripe extends it to 20 days, unless PayPal refuses
}

// assumedWindow applies to cards and to methods that windows does not list. A
// merchant-initiated Visa authorization is shorter (4 days 18 hours), but an
// intent does not say who initiated it.
const assumedWindow = 7 * day

// windowEnd returns when the window of the intent's payment method ends. It
// counts from the intent's creation, because the charge is never older.
func windowEnd(in *Intent) time.Time {
	w, ok := windows[in.PaymentMethodType]
	if !ok {
		w = assumedWindow
	}
	return alignEnd(in.PaymentMethodType, in.Created.Add(w))
}

// alignEnd moves the end of a Klarna window back to midnight UTC. "Midnight of
// the 28th day" could mean the start or the end of that day: the start is the
// one in Stripe's example (1 October 14:00 to 29 October 00:00), and it is safe
// for both.
func alignEnd(method string, end time.Time) time.Time {
	if method == "klarna" {
		return end.UTC().Truncate(day)
	}
	return end
}

// assumedDeadline returns the deadline of an authorization whose charge has no
// capture_before.
func assumedDeadline(in *Intent, now time.Time) time.Time {
	if end := windowEnd(in); end.After(now) {
		return end
	}
	// Stripe still has the hold, so the window is longer than assumed, by an
	// unknown time.
	return alignEnd(in.PaymentMethodType, now.Add(day))
}

// New makes a hold of a draft. in is what Stripe says of the intent, nil if it
// could not be asked: then the hold is accepted on the caller's word and
// checked later. Errors are *[Problem].
func New(d *Draft, in *Intent, by string, now time.Time) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	h := Hold{
		ID: d.ID, PaymentIntent: d.ID, Account: d.Account, Reference: d.Reference,
		Amount: d.Amount, Currency: d.Currency, CaptureAt: d.CaptureAt, CancelAt: d.CancelAt,
		CaptureAmount: d.CaptureAmount,
		ExpiresAt:     d.ExpiresAt, ExpiresSource: SourceCaller,
		OnExpiry: d.OnExpiry, Metadata: d.Metadata,
		Revision: 1, Generation: 1, CreatedAt: now,
	}
	if h.ExpiresAt.IsZero() {
		h.ExpiresAt, h.ExpiresSource = now.Add(assumedWindow), SourceAssumed
	}
	if in != nil {
		if in.Status != StatusRequiresCapture {
			return Decision{}, problem(NotCapturable, "payment_intent",
				"%s is %s at Stripe, not requires_capture: there is no hold to act on", d.ID,
				in.Status)
		}
		if d.Currency != "" && d.Currency != in.Currency {
			return Decision{}, problem(CurrencyMismatch, "currency", "%s is in %s, not in %s", d.ID,
				in.Currency, d.Currency)
		}
		if d.Amount != 0 && !in.holds(d.Amount) {
			return Decision{}, problem(AmountMismatch, "amount", "%s holds %d %s, not %d", d.ID,
				in.AmountCapturable, in.Currency, d.Amount)
		}
		adoptIntent(&h, in, now)
	}
	if err := checkCaptureAmount(h.CaptureAmount, authorized(&h), h.Currency); err != nil {
		return Decision{}, err
	}
	// An assumption made without Stripe is no ground to send a booking system
	// away, but people are told what is likely.
	late, known := checkBeforeDeadline(&h), in != nil || h.ExpiresSource == SourceCaller
	if late != nil && known && !d.FromMetadata {
		return Decision{}, late
	}
	planNext(&h, now)
	scheduled := HistoryEntry{At: now, Kind: HistoryScheduled, By: by}
	if d.Confirm {
		scheduled.Note = confirmedNote
	}
	appendHistory(&h, scheduled)
	if h.CapturedElsewhere > 0 {
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Cause: CauseElsewhere, Note: sharedNote(&h)})
	}
	c := Decision{Hold: h, NewDeadline: true}
	c.addEvent(EventScheduled, 0)
	if late != nil && !known && !h.CaptureAt.IsZero() {
		// a release that comes too late costs nobody anything
		c.addExpiresBeforeDue(now)
	}
	next := Decision{}
	switch {
	case d.Paused:
		var err error
		if next, err = h.Pause(0, by, now); err != nil {
			return Decision{}, err
		}
	case late != nil && known:
		next = requireAttention(h, CauseAfterDeadline, "ends at "+h.ExpiresAt.Format(time.RFC3339),
			now)
	case d.TooLateToCapture:
		next = requireAttention(h, CauseOverdue, "was to be captured at "+
			h.CaptureAt.Format(time.RFC3339), now)
	default:
		c.setMirroredFrom(d)
		return c, nil
	}
	next.Events, next.NewDeadline = append(c.Events, next.Events...), true
	next.setMirroredFrom(d)
	return next, nil
}

// setMirroredFrom says of a new hold whether its terms stand in the intent's
// metadata: those that were found there do.
func (c *Decision) setMirroredFrom(d *Draft) {
	c.markTermsChanged()
	c.Hold.Mirrored, c.NewTerms = d.FromMetadata, !d.FromMetadata
}

// markTermsChanged says that the terms are others now than what stands in the
// intent's metadata.
func (c *Decision) markTermsChanged() {
	c.Hold.Mirrored, c.Hold.Unmirrorable, c.NewTerms = false, false, true
}

// adoptIntent takes over what Stripe says of an intent that still holds money.
func adoptIntent(h *Hold, in *Intent, now time.Time) {
	// an assumption that Stripe's word was the ground of is not made anew: the
	// deadline would run away
	known := h.Verified
	h.Amount, h.Currency, h.Verified = in.AmountCapturable, in.Currency, true
	// Each capture of holdd's is final, so what an open intent has received was
	// taken by another system.
	h.CapturedElsewhere, h.SingleCapture = in.AmountReceived,
		in.SingleCapture && in.AmountReceived == 0
	switch {
	case !in.CaptureBefore.IsZero():
		h.ExpiresAt, h.ExpiresSource = in.CaptureBefore, SourceCharge
	case h.ExpiresSource == SourceAssumed && (!known || !h.ExpiresAt.After(now)):
		h.ExpiresAt = assumedDeadline(in, now)
	case h.ExpiresSource == SourceAssumed && in.PaymentMethodType != "":
		// The record may carry a later end than the method's window has. Acting
		// early is the safe side.
		if end := windowEnd(in); end.After(now) {
			h.ExpiresAt = minTime(h.ExpiresAt, end)
		}
	}
}

func checkBeforeDeadline(h *Hold) error {
	if t := h.ActionTime(); !t.IsZero() && !t.Before(h.ExpiresAt) {
		field := "capture_at"
		if h.CaptureAt.IsZero() {
			field = "cancel_at"
		}
		p := problem(AfterDeadline, field, "%s is not before %s, when the authorization ends (%s)",
			t.Format(time.RFC3339), h.ExpiresAt.Format(time.RFC3339), h.ExpiresSource)
		p.Deadline = h.ExpiresAt
		return p
	}
	return nil
}

// SameTerms reports whether scheduling d once more would ask for what h already
// is.
func (h *Hold) SameTerms(d *Draft) bool {
	if len(d.Metadata) != len(h.Metadata) {
		return false
	}
	for k, v := range d.Metadata {
		if w, ok := h.Metadata[k]; !ok || v != w {
			return false
		}
	}
	return d.ID == h.ID && d.Account == h.Account && d.Reference == h.Reference &&
		d.CaptureAt.Equal(h.CaptureAt) && d.CancelAt.Equal(h.CancelAt) &&
		d.CaptureAmount == h.CaptureAmount && d.OnExpiry == h.OnExpiry &&
		(d.Amount == 0 || h.Amount == 0 || (d.Amount == h.Amount || d.Amount == authorized(h)) &&
			d.Currency == h.Currency)
}

// SameTermsAs reports whether two states of one hold have the same terms.
func HaveSameTerms(h *Hold, other *Hold) bool {
	return h.SameTerms(&Draft{ID: other.ID, Account: other.Account, Reference: other.Reference,
		CaptureAt: other.CaptureAt, CancelAt: other.CancelAt,
		CaptureAmount: other.CaptureAmount, OnExpiry: other.OnExpiry, Metadata: other.Metadata})
}

// HistoryIncludes reports whether what made the hold into wanted stands in its
// history, so that it is what became of wanted.
func HistoryIncludes(h *Hold, wanted *Hold) bool {
	if len(wanted.History) == 0 || h.Revision < wanted.Revision {
		return false
	}
	e := wanted.History[len(wanted.History)-1]
	return slices.ContainsFunc(h.History, func(f HistoryEntry) bool {
		return f.At.Equal(e.At) &&
			f.Kind == e.Kind && f.By == e.By && f.Op == e.Op
	})
}

// checkChangeable says whether a wish still comes in time.
func checkChangeable(h *Hold) error {
	switch {
	case h.State.Final():
		return alreadySettled(h)
	case h.State == Working:
		return problem(TooLate, "", "hold %s is being worked on (%s): look again in a moment", h.ID,
			h.NextOp)
	}
	return nil
}

// readFirstAfterAttention makes sure that a hold leaving Attention is looked up
// before its key is used again: Stripe may have kept the refusal for it.
func readFirstAfterAttention(h *Hold) {
	if h.State == Attention && (h.Attempt.Count > 0 || h.Attempt.Unknown) {
		h.ReadFirst = true
	}
}

// ApplyPatch changes a hold's terms. Errors are *[Problem].
func (h Hold) ApplyPatch(p *Patch, by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	old := h
	now = now.UTC().Truncate(time.Millisecond)
	if err := p.applyTo(&h, now); err != nil {
		return Decision{}, err
	}
	timeSent := p.CaptureAt != nil || p.CancelAt != nil
	timed := !h.ActionTime().Equal(old.ActionTime()) ||
		h.CaptureAt.IsZero() != old.CaptureAt.IsZero()
	money := timed || h.CaptureAmount != old.CaptureAmount
	if old.CancelWanted && (money || timeSent) {
		return Decision{},
			problem(CancelAccepted, "", "hold %s is being canceled: it can't be rescheduled", h.ID)
	}
	late, known := checkBeforeDeadline(&h), h.Verified || h.ExpiresSource == SourceCaller
	if timed && late != nil && known {
		return Decision{}, late
	}
	sameMetadata := maps.Equal(h.Metadata, old.Metadata)
	// a person confirms the time: that is a wish, though the terms stay
	again := old.State == Attention && timeSent
	if !money && !again && h.OnExpiry == old.OnExpiry && h.Reference == old.Reference &&
		sameMetadata {
		return Decision{Hold: old, Unchanged: true}, nil
	}
	switch {
	case again || timed && old.State != Paused:
		readFirstAfterAttention(&h)
		planNext(&h, now)
	case h.OnExpiry != old.OnExpiry && old.State == Scheduled && old.Reason == CauseOnExpiry:
		revertPolicy(&h, now)
		if late != nil && h.State == Scheduled {
			h.State, h.NextOp, h.NextAt, h.Reason = Attention, 0, time.Time{}, CauseAfterDeadline
		}
	}
	h.Revision++
	h.Acknowledged = false
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryChanged, By: by})
	c := Decision{Hold: h, NewDeadline: timed || again || old.Acknowledged ||
		h.OnExpiry != old.OnExpiry}
	c.markTermsChanged()
	c.addEvent(EventChanged, 0)
	if h.State == Attention && old.State != Attention {
		c.addEvent(EventAttention, h.Reason)
	}
	if timed && late != nil && !h.CaptureAt.IsZero() {
		c.addExpiresBeforeDue(now)
	}
	return c, nil
}

// RequestCapture asks for the money now; amount 0 means what the terms say.
func (h Hold) RequestCapture(amount int64, by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if h.CancelWanted {
		return Decision{},
			problem(CancelAccepted, "", "hold %s is being canceled: it can't be captured any more",
				h.ID)
	}
	if h.State == Paused {
		return Decision{}, problem(HoldPaused, "", "hold %s is paused: resume it first", h.ID)
	}
	want := amount
	if want == 0 {
		want = h.CaptureAmount
	}
	if err := checkCaptureAmount(want, authorized(&h), h.Currency); err != nil {
		return Decision{}, err
	}
	if h.NextOp == OpCapture && h.Reason == CauseTrigger && h.State == Scheduled &&
		(amount == 0 || amount == h.CaptureAmount) {
		return Decision{Hold: h, Unchanged: true}, nil // asked before, not yet claimed
	}
	if amount > 0 {
		h.CaptureAmount = amount
	}
	return scheduleNow(h, OpCapture, by, now), nil
}

// RequestCancel asks to let the money go now. Once accepted nothing captures
// this hold any more.
func (h Hold) RequestCancel(by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if h.CancelWanted && h.State == Scheduled {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	h.CancelWanted = true
	return scheduleNow(h, OpCancel, by, now), nil
}

func scheduleNow(h Hold, op Op, by string, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	readFirstAfterAttention(&h)
	h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, op, now, CauseTrigger
	tryAnew(&h)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryTriggered, By: by, Op: op})
	return Decision{Hold: h, Again: true}
}

// Pause puts off the hold's own time until it is resumed. The deadline is not
// put off: near it, on_expiry cancel still acts, because letting go is what
// would happen anyway; capture does not, because somebody said no.
func (h Hold) Pause(cause Cause, by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	switch {
	case h.State == Paused:
		return Decision{}, problem(AlreadyPaused, "", "hold %s is paused already", h.ID)
	case h.State == Attention:
		return Decision{},
			problem(TooLate, "",
				"hold %s waits for a person: nothing is going to happen that could be paused", h.ID)
	case h.CancelWanted:
		return Decision{},
			problem(CancelAccepted, "", "hold %s is being canceled: it can't be paused", h.ID)
	}
	h.State, h.NextOp, h.NextAt, h.Reason = Paused, 0, time.Time{}, cause
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryPaused, By: by, Cause: cause})
	c := Decision{Hold: h, NewDeadline: true}
	c.markTermsChanged()
	c.addEvent(EventPaused, cause)
	return c, nil
}

// Resume takes a paused hold back to its own terms. A time that passed
// meanwhile means now.
func (h Hold) Resume(by string, now time.Time) (Decision, error) {
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	now = now.UTC().Truncate(time.Millisecond)
	if h.State != Paused {
		return Decision{}, problem(NotPaused, "", "hold %s is not paused", h.ID)
	}
	planNext(&h, now)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryResumed, By: by})
	c := Decision{Hold: h, NewDeadline: true}
	c.markTermsChanged()
	c.addEvent(EventResumed, 0)
	return c, nil
}

// Acknowledge silences the thresholds that are still to come, until the terms
// change.
func (h Hold) Acknowledge(by string, now time.Time) (Decision, error) {
	if h.State.Final() {
		return Decision{}, alreadySettled(&h)
	}
	if h.State == Working {
		return Decision{},
			problem(TooLate, "", "hold %s is being worked on (%s): look again in a moment", h.ID,
				h.NextOp)
	}
	if h.Acknowledged {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	h.Acknowledged = true
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryAcknowledged, By: by})
	c := Decision{Hold: h}
	c.addEvent(EventAcknowledged, 0)
	return c, nil
}
