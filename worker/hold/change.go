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

// NoticeType names an event that others may want to know of.
type NoticeType string

const (
	NoticeScheduled    NoticeType = "hold.scheduled"
	NoticeChanged      NoticeType = "hold.changed"
	NoticePaused       NoticeType = "hold.paused"
	NoticeResumed      NoticeType = "hold.resumed"
	NoticeExpiring     NoticeType = "hold.expiring"
	NoticeRetrying     NoticeType = "hold.retrying"
	NoticeCaptured     NoticeType = "hold.captured"
	NoticeCanceled     NoticeType = "hold.canceled"
	NoticeExpired      NoticeType = "hold.expired"
	NoticeAttention    NoticeType = "hold.attention"
	NoticeAcknowledged NoticeType = "hold.acknowledged"
)

// Notice is an event as the machine knows it; whoever publishes it adds an id and a time.
type Notice struct {
	Type      NoticeType
	Cause     Cause
	Threshold time.Duration // of hold.expiring: which threshold was passed, 0 for the deadline itself
}

// Change is what follows from something that happened. It takes effect when the store has committed it, or not at all.
type Change struct {
	Hold    Hold
	Notices []Notice
	// Now asks for the next step in the same breath: by the worker that holds the claim, or straight into the ready queue.
	Now bool
	// NewDeadline asks for the milestones to be computed anew; otherwise the one that is next stays next.
	NewDeadline bool
	// NewTerms asks for the terms to be written to the intent's metadata.
	NewTerms bool
	// MirrorAt is when writing them is to be tried again.
	MirrorAt time.Time
	// Confirmed says that the caller knows that the deadline's policy acts at once.
	Confirmed bool
	// Same tells that nothing is to be written.
	Same bool
}

// Then is next, which followed from c before c was written, with what c asked for beside the hold: a deadline that it learned has its milestones yet, and
// what it had to tell is told, but of a hold that has come to its end meanwhile, or to a person, who sees it.
func (c Change) Then(next Change) Change {
	next.NewDeadline = next.NewDeadline || c.NewDeadline
	if s := next.Hold.State; !s.Final() && s != Attention {
		next.Notices = slices.Concat(c.Notices, next.Notices)
	}
	return next
}

func (c *Change) notify(t NoticeType, cause Cause) {
	c.Notices = append(c.Notices, Notice{Type: t, Cause: cause})
}

// endsFirst tells that the authorization will end, as far as is known, before the hold's own time comes.
func (c *Change) endsFirst(now time.Time) {
	c.Notices = append(c.Notices, Notice{Type: NoticeExpiring, Cause: CauseAfterDeadline, Threshold: c.Hold.ExpiresAt.Sub(now)})
}

// plan sets what comes next from the hold's own terms.
func (h *Hold) plan(now time.Time) {
	h.tryAnew()
	switch {
	case h.CancelWanted:
		h.State, h.Next, h.NextAt, h.Why = Scheduled, OpCancel, now, CauseTrigger
	case !h.CaptureAt.IsZero():
		h.State, h.Next, h.NextAt, h.Why = Scheduled, OpCapture, h.CaptureAt, CauseSchedule
	case !h.CancelAt.IsZero():
		h.State, h.Next, h.NextAt, h.Why = Scheduled, OpCancel, h.CancelAt, CauseSchedule
	default:
		h.State, h.Next, h.NextAt, h.Why = Waiting, 0, time.Time{}, 0
	}
}

// tryAnew forgets how often what came before was tried.
func (h *Hold) tryAnew() { h.Retries, h.Misses, h.Calls, h.Refusals = 0, 0, 0, 0 }

const day = 24 * time.Hour

// windows is how long an authorization lasts if its charge has no capture_before. Japan's 30 days
// and extended authorizations are not listed, because only capture_before shows them.
var windows = map[string]time.Duration{
	"affirm":            30 * day,
	"afterpay_clearpay": 13 * day,
	"card_present":      2 * day, // Visa has 4 days 18 hours, but the brand is not known here
	"cashapp":           7 * day,
	"klarna":            28 * day, // back to midnight: see alignEnd
	"paypal":            10 * day, // Stripe extends it to 20 days, unless PayPal refuses
}

// assumedWindow applies to cards and to methods that windows does not list. A merchant-initiated Visa
// authorization is shorter (4 days 18 hours), but an intent does not say who initiated it.
const assumedWindow = 7 * day

// windowEnd returns when the window of the intent's payment method ends. It counts from the intent's
// creation, because the charge is never older.
func windowEnd(in *Intent) time.Time {
	w, ok := windows[in.Method]
	if !ok {
		w = assumedWindow
	}
	return alignEnd(in.Method, in.Created.Add(w))
}

// alignEnd moves the end of a Klarna window back to midnight UTC. "Midnight of the 28th day" could
// mean the start or the end of that day: the start is the one in Stripe's example (1 October 14:00
// to 29 October 00:00), and it is safe for both.
func alignEnd(method string, end time.Time) time.Time {
	if method == "klarna" {
		return end.UTC().Truncate(day)
	}
	return end
}

// assumedDeadline returns the deadline of an authorization whose charge has no capture_before.
func assumedDeadline(in *Intent, now time.Time) time.Time {
	if end := windowEnd(in); end.After(now) {
		return end
	}
	// Stripe still has the hold, so the window is longer than assumed, by an unknown time.
	return alignEnd(in.Method, now.Add(day))
}

// New makes a hold of a draft. in is what Stripe says of the intent, nil if it could not be asked: then the hold is accepted on the caller's
// word and checked later. Errors are *[Problem].
func New(d *Draft, in *Intent, by string, now time.Time) (Change, error) {
	now = now.UTC().Truncate(time.Millisecond)
	h := Hold{
		ID: d.ID, PaymentIntent: d.ID, Account: d.Account, Reference: d.Reference,
		Amount: d.Amount, Currency: d.Currency, CaptureAt: d.CaptureAt, CancelAt: d.CancelAt, CaptureAmount: d.CaptureAmount,
		ExpiresAt: d.ExpiresAt, ExpiresSource: SourceCaller, OnExpiry: d.OnExpiry, Metadata: d.Metadata,
		Revision: 1, Generation: 1, CreatedAt: now,
	}
	if h.ExpiresAt.IsZero() {
		h.ExpiresAt, h.ExpiresSource = now.Add(assumedWindow), SourceAssumed
	}
	if in != nil {
		if in.Status != StatusRequiresCapture {
			return Change{}, problem(NotCapturable, "payment_intent", "%s is %s at Stripe, not requires_capture: there is no hold to act on", d.ID, in.Status)
		}
		if d.Currency != "" && d.Currency != in.Currency {
			return Change{}, problem(CurrencyMismatch, "currency", "%s is in %s, not in %s", d.ID, in.Currency, d.Currency)
		}
		if d.Amount != 0 && !in.holds(d.Amount) {
			return Change{}, problem(AmountMismatch, "amount", "%s holds %d %s, not %d", d.ID, in.Capturable, in.Currency, d.Amount)
		}
		h.adopt(in, now)
	}
	if err := checkCaptureAmount(h.CaptureAmount, h.authorized(), h.Currency); err != nil {
		return Change{}, err
	}
	// An assumption made without Stripe is no ground to send a booking system away, but people are told what is likely.
	late, known := h.beforeDeadline(), in != nil || h.ExpiresSource == SourceCaller
	if late != nil && known && !d.Found {
		return Change{}, late
	}
	h.plan(now)
	scheduled := Entry{At: now, Kind: EntryScheduled, By: by}
	if d.Confirm {
		scheduled.Note = confirmedNote
	}
	h.record(scheduled)
	if h.CapturedElsewhere > 0 {
		h.record(Entry{At: now, Kind: EntryObserved, By: "stripe", Cause: CauseElsewhere, Note: h.sharedNote()})
	}
	c := Change{Hold: h, NewDeadline: true}
	c.notify(NoticeScheduled, 0)
	if late != nil && !known && !h.CaptureAt.IsZero() { // a release that comes too late costs nobody anything
		c.endsFirst(now)
	}
	next := Change{}
	switch {
	case d.Paused:
		var err error
		if next, err = h.Pausing(0, by, now); err != nil {
			return Change{}, err
		}
	case late != nil && known:
		next = h.look(CauseAfterDeadline, "ends at "+h.ExpiresAt.Format(time.RFC3339), now)
	case d.Overdue:
		next = h.look(CauseOverdue, "was to be captured at "+h.CaptureAt.Format(time.RFC3339), now)
	default:
		c.placed(d)
		return c, nil
	}
	next.Notices, next.NewDeadline = append(c.Notices, next.Notices...), true
	next.placed(d)
	return next, nil
}

// placed says of a new hold whether its terms stand in the intent's metadata: those that were found there do.
func (c *Change) placed(d *Draft) {
	c.retermed()
	c.Hold.Mirrored, c.NewTerms = d.Found, !d.Found
}

// retermed says that the terms are others now than what stands in the intent's metadata.
func (c *Change) retermed() {
	c.Hold.Mirrored, c.Hold.Unmirrorable, c.NewTerms = false, false, true
}

// adopt takes over what Stripe says of an intent that still holds money.
func (h *Hold) adopt(in *Intent, now time.Time) {
	known := h.Verified // an assumption that Stripe's word was the ground of is not made anew: the deadline would run away
	h.Amount, h.Currency, h.Verified = in.Capturable, in.Currency, true
	// Each capture of holdd's is final, so what an open intent has received was taken by another system.
	h.CapturedElsewhere, h.SingleCapture = in.Received, in.SingleCapture && in.Received == 0
	switch {
	case !in.CaptureBefore.IsZero():
		h.ExpiresAt, h.ExpiresSource = in.CaptureBefore, SourceCharge
	case h.ExpiresSource == SourceAssumed && (!known || !h.ExpiresAt.After(now)):
		h.ExpiresAt = assumedDeadline(in, now)
	case h.ExpiresSource == SourceAssumed && in.Method != "":
		// The record may carry a later end than the method's window has. Acting early is the safe side.
		if end := windowEnd(in); end.After(now) {
			h.ExpiresAt = minTime(h.ExpiresAt, end)
		}
	}
}

func (h *Hold) beforeDeadline() error {
	if t := h.OwnTime(); !t.IsZero() && !t.Before(h.ExpiresAt) {
		field := "capture_at"
		if h.CaptureAt.IsZero() {
			field = "cancel_at"
		}
		p := problem(AfterDeadline, field, "%s is not before %s, when the authorization ends (%s)", t.Format(time.RFC3339), h.ExpiresAt.Format(time.RFC3339), h.ExpiresSource)
		p.Deadline = h.ExpiresAt
		return p
	}
	return nil
}

// SameTerms reports whether scheduling d once more would ask for what h already is.
func (h *Hold) SameTerms(d *Draft) bool {
	if len(d.Metadata) != len(h.Metadata) {
		return false
	}
	for k, v := range d.Metadata {
		if w, ok := h.Metadata[k]; !ok || v != w {
			return false
		}
	}
	return d.ID == h.ID && d.Account == h.Account && d.Reference == h.Reference && d.CaptureAt.Equal(h.CaptureAt) && d.CancelAt.Equal(h.CancelAt) &&
		d.CaptureAmount == h.CaptureAmount && d.OnExpiry == h.OnExpiry &&
		(d.Amount == 0 || h.Amount == 0 || (d.Amount == h.Amount || d.Amount == h.authorized()) && d.Currency == h.Currency)
}

// SameTermsAs reports whether two states of one hold have the same terms.
func (h *Hold) SameTermsAs(other *Hold) bool {
	return h.SameTerms(&Draft{ID: other.ID, Account: other.Account, Reference: other.Reference, CaptureAt: other.CaptureAt, CancelAt: other.CancelAt,
		CaptureAmount: other.CaptureAmount, OnExpiry: other.OnExpiry, Metadata: other.Metadata})
}

// Follows reports whether what made the hold into wanted stands in its history, so that it is what became of wanted.
func (h *Hold) Follows(wanted *Hold) bool {
	if len(wanted.History) == 0 || h.Revision < wanted.Revision {
		return false
	}
	e := wanted.History[len(wanted.History)-1]
	return slices.ContainsFunc(h.History, func(f Entry) bool { return f.At.Equal(e.At) && f.Kind == e.Kind && f.By == e.By && f.Op == e.Op })
}

// touchable says whether a wish still comes in time.
func (h *Hold) touchable() error {
	switch {
	case h.State.Final():
		return h.already()
	case h.State == Working:
		return problem(TooLate, "", "hold %s is being worked on (%s): look again in a moment", h.ID, h.Next)
	}
	return nil
}

// reopen makes sure that a hold leaving Attention is looked up before its key is used again: Stripe may have kept the refusal for it.
func (h *Hold) reopen() {
	if h.State == Attention && (h.Attempt.Count > 0 || h.Attempt.Unknown) {
		h.ReadFirst = true
	}
}

// Patched changes a hold's terms. Errors are *[Problem].
func (h Hold) Patched(p *Patch, by string, now time.Time) (Change, error) {
	if err := h.touchable(); err != nil {
		return Change{}, err
	}
	old := h
	now = now.UTC().Truncate(time.Millisecond)
	if err := p.terms(&h, now); err != nil {
		return Change{}, err
	}
	timeSent := p.CaptureAt != nil || p.CancelAt != nil
	timed := !h.OwnTime().Equal(old.OwnTime()) || h.CaptureAt.IsZero() != old.CaptureAt.IsZero()
	money := timed || h.CaptureAmount != old.CaptureAmount
	if old.CancelWanted && (money || timeSent) {
		return Change{}, problem(CancelWasAccepted, "", "hold %s is being canceled: it can't be rescheduled", h.ID)
	}
	late, known := h.beforeDeadline(), h.Verified || h.ExpiresSource == SourceCaller
	if timed && late != nil && known {
		return Change{}, late
	}
	sameMetadata := maps.Equal(h.Metadata, old.Metadata)
	again := old.State == Attention && timeSent // a person confirms the time: that is a wish, though the terms stay
	if !money && !again && h.OnExpiry == old.OnExpiry && h.Reference == old.Reference && sameMetadata {
		return Change{Hold: old, Same: true}, nil
	}
	switch {
	case again || timed && old.State != Paused:
		h.reopen()
		h.plan(now)
	case h.OnExpiry != old.OnExpiry && old.State == Scheduled && old.Why == CauseOnExpiry:
		h.unpolicied(now)
		if late != nil && h.State == Scheduled {
			h.State, h.Next, h.NextAt, h.Why = Attention, 0, time.Time{}, CauseAfterDeadline
		}
	}
	h.Revision++
	h.Acknowledged = false
	h.record(Entry{At: now, Kind: EntryChanged, By: by})
	c := Change{Hold: h, NewDeadline: timed || again || old.Acknowledged || h.OnExpiry != old.OnExpiry}
	c.retermed()
	c.notify(NoticeChanged, 0)
	if h.State == Attention && old.State != Attention {
		c.notify(NoticeAttention, h.Why)
	}
	if timed && late != nil && !h.CaptureAt.IsZero() {
		c.endsFirst(now)
	}
	return c, nil
}

// Capturing asks for the money now; amount 0 means what the terms say.
func (h Hold) Capturing(amount int64, by string, now time.Time) (Change, error) {
	if err := h.touchable(); err != nil {
		return Change{}, err
	}
	if h.CancelWanted {
		return Change{}, problem(CancelWasAccepted, "", "hold %s is being canceled: it can't be captured any more", h.ID)
	}
	if h.State == Paused {
		return Change{}, problem(HoldPaused, "", "hold %s is paused: resume it first", h.ID)
	}
	want := amount
	if want == 0 {
		want = h.CaptureAmount
	}
	if err := checkCaptureAmount(want, h.authorized(), h.Currency); err != nil {
		return Change{}, err
	}
	if h.Next == OpCapture && h.Why == CauseTrigger && h.State == Scheduled && (amount == 0 || amount == h.CaptureAmount) {
		return Change{Hold: h, Same: true}, nil // asked before, not yet claimed
	}
	if amount > 0 {
		h.CaptureAmount = amount
	}
	return h.triggered(OpCapture, by, now), nil
}

// Canceling asks to let the money go now. Once accepted nothing captures this hold any more.
func (h Hold) Canceling(by string, now time.Time) (Change, error) {
	if err := h.touchable(); err != nil {
		return Change{}, err
	}
	if h.CancelWanted && h.State == Scheduled {
		return Change{Hold: h, Same: true}, nil
	}
	h.CancelWanted = true
	return h.triggered(OpCancel, by, now), nil
}

func (h Hold) triggered(op Op, by string, now time.Time) Change {
	now = now.UTC().Truncate(time.Millisecond)
	h.reopen()
	h.State, h.Next, h.NextAt, h.Why = Scheduled, op, now, CauseTrigger
	h.tryAnew()
	h.Revision++
	h.record(Entry{At: now, Kind: EntryTriggered, By: by, Op: op})
	return Change{Hold: h, Now: true}
}

// Pausing puts off the hold's own time until it is resumed. The deadline is not put off: near it, on_expiry cancel still acts, because
// letting go is what would happen anyway; capture does not, because somebody said no.
func (h Hold) Pausing(cause Cause, by string, now time.Time) (Change, error) {
	if err := h.touchable(); err != nil {
		return Change{}, err
	}
	switch {
	case h.State == Paused:
		return Change{}, problem(AlreadyPaused, "", "hold %s is paused already", h.ID)
	case h.State == Attention:
		return Change{}, problem(TooLate, "", "hold %s waits for a person: nothing is going to happen that could be paused", h.ID)
	case h.CancelWanted:
		return Change{}, problem(CancelWasAccepted, "", "hold %s is being canceled: it can't be paused", h.ID)
	}
	h.State, h.Next, h.NextAt, h.Why = Paused, 0, time.Time{}, cause
	h.Revision++
	h.record(Entry{At: now, Kind: EntryPaused, By: by, Cause: cause})
	c := Change{Hold: h, NewDeadline: true}
	c.retermed()
	c.notify(NoticePaused, cause)
	return c, nil
}

// Resuming takes a paused hold back to its own terms. A time that passed meanwhile means now.
func (h Hold) Resuming(by string, now time.Time) (Change, error) {
	if err := h.touchable(); err != nil {
		return Change{}, err
	}
	now = now.UTC().Truncate(time.Millisecond)
	if h.State != Paused {
		return Change{}, problem(NotPaused, "", "hold %s is not paused", h.ID)
	}
	h.plan(now)
	h.Revision++
	h.record(Entry{At: now, Kind: EntryResumed, By: by})
	c := Change{Hold: h, NewDeadline: true}
	c.retermed()
	c.notify(NoticeResumed, 0)
	return c, nil
}

// Acknowledging silences the thresholds that are still to come, until the terms change.
func (h Hold) Acknowledging(by string, now time.Time) (Change, error) {
	if h.State.Final() {
		return Change{}, h.already()
	}
	if h.State == Working {
		return Change{}, problem(TooLate, "", "hold %s is being worked on (%s): look again in a moment", h.ID, h.Next)
	}
	if h.Acknowledged {
		return Change{Hold: h, Same: true}, nil
	}
	h.Acknowledged = true
	h.Revision++
	h.record(Entry{At: now, Kind: EntryAcknowledged, By: by})
	c := Change{Hold: h}
	c.notify(NoticeAcknowledged, 0)
	return c, nil
}
