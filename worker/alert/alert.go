package alert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// Severity says how soon somebody must look.
type Severity uint8

const (
	Info     Severity = iota + 1 // good to know
	Warning                      // within the day
	Critical                     // now: money is at risk
)

var severityNames = [...]string{"", "info", "warning", "critical"}

func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return "unknown"
}

// ParseSeverity is the inverse of [Severity.String].
func ParseSeverity(s string) (Severity, bool) {
	i := slices.Index(severityNames[:], s)
	return Severity(max(i, 0)), i > 0
}

// Kind says what an alert is about. The set is closed: each has its section in the runbook, and is a label of metrics.
type Kind string

const (
	ExpiryNear             Kind = "expiry_near"             // an authorization ends soon
	ExpiresFirst           Kind = "expires_first"           // it ends before the hold's own time comes
	DeadlinePassed         Kind = "deadline_passed"         // it should have ended, and the hold is still open
	CaptureRefused         Kind = "capture_refused"         // Stripe or the bank refused for good
	Attention              Kind = "attention"               // a person must look
	ExpiredUncaptured      Kind = "expired_uncaptured"      // the card network let it go
	DeadlinePolicy         Kind = "deadline_policy"         // on_expiry acted, or has nothing to act on
	BadMetadata            Kind = "bad_metadata"            // terms in an intent's metadata were not taken
	BadInboxEntry          Kind = "bad_inbox_entry"         // an entry of the inbox was not taken
	Orphan                 Kind = "orphan"                  // money is held and nobody scheduled it
	AuthorizationAbandoned Kind = "authorization_abandoned" // a guest never finished
	StripeAway             Kind = "stripe_away"             //
	KeyRejected            Kind = "key_rejected"            //
	LimitsHit              Kind = "limits_hit"              // Stripe answers 429
	CapacityShort          Kind = "capacity"                // more is due than the limits let through
	RedisAway              Kind = "redis_away"              // told past Redis, by each replica
	RedisEmptied           Kind = "redis_emptied"           //
	ReplicaStopped         Kind = "replica_stopped"         // without a word
	SinkDown               Kind = "sink_down"               // a way out takes nothing, or asked not to be told any more
	EventsLost             Kind = "events_lost"             // a way out was away for too long
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{ExpiryNear, ExpiresFirst, DeadlinePassed, CaptureRefused, Attention, ExpiredUncaptured, DeadlinePolicy, BadMetadata, BadInboxEntry, Orphan,
		AuthorizationAbandoned, StripeAway, KeyRejected, LimitsHit, CapacityShort, RedisAway, RedisEmptied, ReplicaStopped, SinkDown, EventsLost}
}

// Alert is what a person is told.
type Alert struct {
	ID       string // of the event that it comes from
	Kind     Kind
	Severity Severity
	Over     bool // what was told of is over
	Hold     string
	At       time.Time
	Title    string // a line
	Text     string // lines
}

// Style says how alerts are written.
type Style struct {
	Zone     *time.Location // of times; nil: UTC
	Runbook  string         // address of the runbook, without a fragment; empty: no link
	Livemode bool
}

// Read makes of an event what people are told. ok is false where it is nothing that anybody must know of.
func Read(data []byte, s Style) (a Alert, ok bool) {
	var e event.Envelope
	if json.Unmarshal(data, &e) != nil {
		return a, false
	}
	return Of(&e, s)
}

// Of is [Read] for an event that was read already. It is pure: the same event is the same alert, whoever looks and when.
func Of(e *event.Envelope, s Style) (a Alert, ok bool) {
	a = Alert{ID: e.ID, At: e.Timestamp, Hold: e.Data.Hold.ID}
	w := &writer{style: s, now: e.Timestamp}
	if strings.HasPrefix(string(e.Type), "hold.") {
		ok = ofHold(&a, w, e)
	} else {
		ok = ofFact(&a, w, e)
	}
	if !ok {
		return Alert{}, false
	}
	mark := a.Severity.String()
	if a.Over {
		mark = "over"
	}
	a.Title = "[" + mark + "] " + w.title
	if !s.Livemode {
		a.Title += " (test mode)"
	}
	if s.Runbook != "" {
		w.line("More: %s#%s", s.Runbook, a.Kind)
	}
	a.Text = strings.Join(w.lines, "\n")
	return a, true
}

// ofHold decides what an event of a hold means to people.
func ofHold(a *Alert, w *writer, e *event.Envelope) bool {
	h := &e.Data.Hold
	own := ownTime(h)
	left := h.ExpiresAt.Sub(e.Timestamp)
	switch {
	case e.Type == hold.EventExpiring && e.Data.Cause == hold.CauseExpired.String():
		a.Kind, a.Severity = DeadlinePassed, Critical
		w.head(h, "should have ended at %s and is still open", w.clock(h.ExpiresAt))
		w.line("By itself: Stripe is asked now, and again every few minutes; what it says is told.")
		w.line("Do: look at the payment in the Dashboard; if the money is gone, ask the guest for another card.")
	case e.Type == hold.EventExpiring && e.Data.Cause == hold.CauseOnExpiry.String():
		a.Kind, a.Severity = DeadlinePolicy, Critical
		w.head(h, "ends %s, and nothing will be done about it", w.ahead(h.ExpiresAt))
		w.line("By itself: nothing (on_expiry is %s, the hold is %s).", h.OnExpiry, h.State)
		w.act(h)
	case e.Type == hold.EventExpiring && (e.Data.Cause == hold.CauseAfterDeadline.String() || !own.IsZero() && !own.Before(h.ExpiresAt)):
		a.Kind, a.Severity = ExpiresFirst, byTime(left)
		if e.Data.Cause == hold.CauseAfterDeadline.String() {
			a.Severity = max(a.Severity, Warning) // news, and the time to do something is now
		}
		w.head(h, "ends %s, before its own time comes", w.ahead(h.ExpiresAt))
		w.line("Its own time: %s.", w.when(own))
		w.itself(h)
		w.act(h)
	case e.Type == hold.EventExpiring:
		a.Kind, a.Severity = ExpiryNear, byTime(left)
		if h.State == "attention" || h.State == "paused" {
			a.Severity = max(a.Severity, Warning)
		} else if (h.Next == "capture" || h.Next == "cancel") && h.NextAt != nil && h.NextAt.Before(h.ExpiresAt) && h.NextAt.After(e.Timestamp.Add(-lateAfter)) {
			a.Severity = Info // it will be seen to in time
		}
		w.head(h, "ends %s", w.ahead(h.ExpiresAt))
		w.itself(h)
		w.act(h)
	case e.Type == hold.EventAttention:
		a.Kind, a.Severity = Attention, max(byTime(left), Warning)
		switch e.Data.Cause {
		case hold.CauseRefused.String(), hold.CauseAmountTooLarge.String(), hold.CauseNotCapturable.String(), hold.CauseKeyConflict.String():
			a.Kind, a.Severity = CaptureRefused, Critical
			w.head(h, "was refused at Stripe (%s)", e.Data.Cause)
		case hold.CauseNoOutcome.String():
			w.head(h, "has no outcome yet, after many calls to Stripe")
			w.line("By itself: holdd goes on trying to %s it, at most every few minutes; holdd show %s has Stripe's answers.", h.Next, h.ID)
			w.act(h)
			return true
		case hold.CauseAfterDeadline.String():
			a.Kind = ExpiresFirst
			w.head(h, "ends %s, before its own time comes", w.ahead(h.ExpiresAt))
			w.line("Its own time: %s.", w.when(own))
		case hold.CauseInsideMargin.String():
			w.head(h, "ends %s, too soon for on_expiry to act without a warning", w.ahead(h.ExpiresAt))
		default:
			w.head(h, "needs a person (%s)", e.Data.Cause)
		}
		w.itself(h)
		w.act(h)
	case e.Type == hold.EventExpired:
		a.Kind, a.Severity = ExpiredUncaptured, Critical
		if h.CancelAt != nil {
			a.Severity = Info // it was to be let go
		}
		w.head(h, "has expired: the card network let it go before it was captured")
		w.line("By itself: nothing, this is final.")
		w.line("Do: ask the guest for another payment; holdd show %s tells what happened.", h.ID)
	case (e.Type == hold.EventCanceled || e.Type == hold.EventCaptured) && e.Data.Cause == hold.CauseOnExpiry.String():
		a.Kind, a.Severity = DeadlinePolicy, Warning
		if e.Type == hold.EventCaptured {
			a.Severity = Info
			w.head(h, "was captured because its deadline was near")
		} else {
			w.head(h, "was let go because its deadline was near")
		}
		w.line("By itself: nothing more, this is final (on_expiry is %s).", h.OnExpiry)
		w.line("Do: nothing, if that is what was meant; else give holds a time, or another on_expiry, when they are scheduled.")
	default:
		return false
	}
	return true
}

// lateAfter is by how much a hold's next step may be overdue before nobody should rely on it.
const lateAfter = 5 * time.Minute

// byTime is how severe it is that an authorization ends so soon: whoever is warned a day ahead can still act at ease.
func byTime(left time.Duration) Severity {
	switch {
	case left > 24*time.Hour:
		return Info
	case left > 6*time.Hour:
		return Warning
	}
	return Critical
}

func ownTime(h *hold.View) time.Time {
	switch {
	case h.CaptureAt != nil:
		return *h.CaptureAt
	case h.CancelAt != nil:
		return *h.CancelAt
	}
	return time.Time{}
}

// ofFact decides what an event that is no hold's means to people.
func ofFact(a *Alert, w *writer, e *event.Envelope) bool {
	d := &e.Data
	set := func(k Kind, s Severity, format string, args ...any) {
		a.Kind, a.Severity = k, s
		w.title = fmt.Sprintf(format, args...)
	}
	switch e.Type {
	case event.InboxRejected, event.MetadataRejected:
		if d.Rejection == nil {
			return false
		}
		set(BadInboxEntry, Warning, "a wish in the inbox was not taken: %s", plain(d.Rejection.Reason, 200))
		if e.Type == event.MetadataRejected {
			set(BadMetadata, Warning, "the terms of %s were not taken: %s", plain(d.Rejection.ID, 80), plain(d.Rejection.Reason, 200))
		}
		w.line("Field: %s. Code: %s. Entry or intent: %s.", or(plain(d.Rejection.Field, 80), "-"), or(d.Rejection.Code, "-"), plain(d.Rejection.ID, 80))
		w.line("By itself: nothing; the hold is not scheduled.")
		w.line("Do: mend it where it was written and send it again; the original is in holdd:inbox:rejected.")
	case event.Orphan:
		if d.Intent == nil {
			return false
		}
		set(Orphan, Warning, "%s holds %s and nobody has scheduled it", d.Intent.PaymentIntent, hold.FormatAmount(d.Intent.Amount, d.Intent.Currency))
		w.account(d.Intent.Account)
		w.line("By itself: nothing; the card network lets it go after some days.")
		w.line("Do: holdd schedule %s --capture-at …, or release it in the Dashboard.", d.Intent.PaymentIntent)
	case event.AuthorizationAbandoned:
		if d.Intent == nil {
			return false
		}
		set(AuthorizationAbandoned, Warning, "%s: the authorization of %s was never finished and has been canceled", or(plain(d.Intent.Reference, 80), d.Intent.PaymentIntent),
			hold.FormatAmount(d.Intent.Amount, d.Intent.Currency))
		w.account(d.Intent.Account)
		w.line("By itself: nothing; no money is held.")
		w.line("Do: ask the guest for a card once more.")
	case event.StripeUnavailable:
		set(StripeAway, Critical, "Stripe does not answer")
		w.line("By itself: holds wait, and work resumes once Stripe is back. Deadlines go on meanwhile.")
		w.line("Do: look at https://status.stripe.com and at this machine's network.")
	case event.StripeRecovered:
		a.Over = true
		set(StripeAway, Critical, "Stripe is back: work goes on")
	case event.KeyRejected:
		set(KeyRejected, Critical, "Stripe rejects the key")
		w.line("By itself: nothing is claimed; every half minute it is asked whether the key works again.")
		w.line("Do: set stripe_api_key to a valid key and restart holdd.")
	case event.KeyAccepted:
		a.Over = true
		set(KeyRejected, Critical, "Stripe accepts the key again: work goes on")
	case event.StripeRateLimited:
		set(LimitsHit, Warning, "Stripe refuses requests for their rate (429)")
		w.line("By itself: holdd slows down and tries again.")
		w.line("Do: find out what else uses this account, or set rate and rate_read lower, or ask Stripe for more.")
	case event.StripeRateLimitCleared:
		a.Over = true
		set(LimitsHit, Warning, "Stripe takes requests at their rate again")
	case event.CapacityAtRisk:
		if d.Capacity == nil {
			return false
		}
		c := d.Capacity
		atLeast := ""
		if c.AtLeast {
			atLeast = "at least "
		}
		set(CapacityShort, Critical, "%s%d holds over %s will lapse before their turn, the first %s", atLeast, c.Holds, sums(c.Sums), w.ahead(c.FirstAt))
		w.line("More is due than %d captures a second let through.", c.Rate)
		w.line("First to lapse: %s.", w.when(c.FirstAt))
		w.line("By itself: nearest deadline first, at that rate.")
		w.line("Do: raise rate if Stripe grants this account more; capture the large ones by hand: holdd list --state ready.")
	case event.CapacityRecovered:
		a.Over = true
		set(CapacityShort, Critical, "everything that is due gets its turn in time again")
	case event.ReplicaStopped:
		set(ReplicaStopped, Warning, "replica %s stopped without a word; %d go on", plain(d.Replica, 100), len(d.Alive))
		w.line("By itself: its work was taken over.")
		w.line("Do: look at its log and why it ended; start it again if nothing does so.")
	case event.RedisDataLost:
		set(RedisEmptied, Critical, "Redis was emptied while in use")
		w.line("By itself: every hold whose terms stand at Stripe is scheduled anew from there.")
		w.line("Do: find out what emptied it; holdd reconcile shows what was found. Lost are history, acknowledgements and changes not yet mirrored.")
	case event.SinkFailing, event.SinkDisabled:
		set(SinkDown, Critical, "%s takes no events: %s", plain(d.Sink, 40), plain(d.Detail, 200))
		w.line("By itself: it is tried again for days, in order; nothing else waits for it.")
		if e.Type == event.SinkDisabled {
			w.lines = w.lines[:0]
			w.line("By itself: nothing; it answered 410, and is not asked again.")
		}
		w.line("Do: mend it or its address; then holdd callbacks tells what waits, and holdd callbacks replay sends what was given up.")
	case event.SinkRecovered:
		a.Over = true
		set(SinkDown, Critical, "%s takes events again", plain(d.Sink, 40))
	case event.SinkEventsLost, event.SinkDeadLetters:
		n := strconv.FormatInt(d.Count, 10)
		if d.Count < 0 {
			n = "some"
		}
		set(EventsLost, Critical, "%s was away for too long: %s events were dropped before it was back", plain(d.Sink, 40), n)
		w.line("Do: compare with holdd list; raise events_max if it may be away for so long.")
		if e.Type == event.SinkDeadLetters {
			w.lines = w.lines[:0]
			set(EventsLost, Critical, "%s did not take %s events for days: they are dead letters now", plain(d.Sink, 40), n)
			w.line("Do: holdd callbacks dead lists them, holdd callbacks replay sends them once more.")
		}
	default:
		return false
	}
	return true
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func sums(list []hold.Sum) string {
	var parts []string
	for _, s := range list[:min(len(list), 8)] {
		parts = append(parts, hold.FormatAmount(s.Amount, s.Currency))
	}
	return strings.Join(parts, " + ")
}
