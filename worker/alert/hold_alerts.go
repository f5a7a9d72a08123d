package alert

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// holdAlertRule is the alert of an event about a hold. Its texts may contain
// placeholders of [newHoldPlaceholderReplacer].
type holdAlertRule struct {
	eventType hold.EventType
	causes    []hold.Cause                 // of the event; empty means every cause
	only      func(e *event.Envelope) bool // nil means every event
	kind      Kind
	severity  func(e *event.Envelope) Severity
	summary   string // follows the booking and its amount
	due       bool   // the text says when the hold itself is due
	next      string // what holdd does; empty: depends on the hold
	action    string // for the operator; empty: depends on the hold
}

// holdAlerts lists what the operator must know of a hold. The first match of an
// event counts; an event without a match is no alert.
var holdAlerts = []holdAlertRule{
	{
		eventType: hold.EventExpiring, causes: []hold.Cause{hold.CauseExpired},
		kind: DeadlinePassed, severity: fixedSeverity(Critical),
		summary: "should have expired {expires_at} and is still open",
		next:    "holdd reads the payment at Stripe every few minutes and reports the result.",
		action: "check the payment in the Stripe Dashboard; " +
			"if the money is no longer held, ask the cardholder for another card.",
	},
	{
		eventType: hold.EventExpiring, causes: []hold.Cause{hold.CauseOnExpiry},
		kind: OnExpiryPolicy, severity: fixedSeverity(Critical),
		summary: "expires {expires_in} and holdd will not act",
		next:    "holdd does nothing ({policy}, the hold is {state}).",
	},
	{
		eventType: hold.EventExpiring, only: isAwaitingCardholder,
		kind: ExpiryNear, severity: severityByTimeLeftAtLeastWarning,
		summary: "expires {expires_in}, and its cardholder has not acted",
		next:    renewalGoesOn, action: askCardholder,
	},
	{
		eventType: hold.EventExpiring, causes: []hold.Cause{hold.CauseAfterDeadline},
		kind: ExpiresBeforeDue, severity: severityByTimeLeftAtLeastWarning,
		summary: "expires {expires_in}, before the hold is due", due: true,
	},
	{
		eventType: hold.EventExpiring, only: isDueAfterExpiry,
		kind: ExpiresBeforeDue, severity: severityByTimeLeft,
		summary: "expires {expires_in}, before the hold is due", due: true,
	},
	{
		eventType: hold.EventExpiring,
		kind:      ExpiryNear, severity: severityOfExpiringHold,
		summary: "expires {expires_in}",
	},
	{
		eventType: hold.EventAttention, causes: []hold.Cause{hold.CauseRefused,
			hold.CauseAmountTooLarge, hold.CauseNotCapturable, hold.CauseKeyConflict},
		kind: CaptureRefused, severity: fixedSeverity(Critical),
		summary: "Stripe refused the capture or the release ({cause})",
	},
	{
		eventType: hold.EventAttention, causes: []hold.Cause{hold.CauseContradiction},
		kind: AttentionRequired, severity: fixedSeverity(Critical),
		summary: "was recorded as settled, and Stripe contradicts it",
		next:    "holdd neither captures nor releases it.",
		action: "holdd show {hold} says what Stripe shows; " +
			"then run holdd capture {hold} or holdd cancel {hold}.",
	},
	{
		eventType: hold.EventRequiresAction,
		kind:      AttentionRequired, severity: severityByTimeLeftAtLeastWarning,
		summary: "expires {expires_in} and cannot be renewed without the cardholder",
		next:    renewalGoesOn, action: askCardholder,
	},
	{
		eventType: hold.EventRetrying, causes: []hold.Cause{hold.CauseUnprotected},
		kind: AttentionRequired, severity: fixedSeverity(Critical),
		summary: "is not held: the card lacks funds for two authorizations",
		next: "holdd releases the old authorization and confirms the new one at once, " +
			"then after a minute, ten minutes and every hour (release_first).",
		action: "none if hold.renewed follows; otherwise ask the cardholder for another card.",
	},
	{
		eventType: hold.EventAttention, causes: []hold.Cause{hold.CauseNotRenewable,
			hold.CauseDeclined, hold.CauseRenewalLimit},
		kind: AttentionRequired, severity: severityByTimeLeftAtLeastWarning,
		summary: "expires {expires_in} and cannot be renewed ({cause})",
		next:    "near the deadline holdd acts by on_failure of the renewal.",
		action: "ask the cardholder for another card, or capture in time: " +
			"holdd capture {hold}.",
	},
	{
		eventType: hold.EventAttention, causes: []hold.Cause{hold.CauseNoOutcome},
		kind: AttentionRequired, severity: severityByTimeLeftAtLeastWarning,
		summary: "has no outcome after many calls to Stripe",
		next: "holdd continues, at most every few minutes; " +
			"holdd show {hold} lists Stripe's answers.",
	},
	{
		eventType: hold.EventAttention, causes: []hold.Cause{hold.CauseAfterDeadline},
		kind: ExpiresBeforeDue, severity: severityByTimeLeftAtLeastWarning,
		summary: "expires {expires_in}, before the hold is due", due: true,
	},
	{
		eventType: hold.EventAttention, causes: []hold.Cause{hold.CauseInsideMargin},
		kind: AttentionRequired, severity: severityByTimeLeftAtLeastWarning,
		summary: "expires {expires_in}, too soon for on_expiry to act without a warning",
	},
	{
		eventType: hold.EventAttention,
		kind:      AttentionRequired, severity: severityByTimeLeftAtLeastWarning,
		summary: "needs the operator ({cause})",
	},
	{
		eventType: hold.EventExpired,
		kind:      ExpiredUncaptured, severity: severityOfExpiredHold,
		summary: "expired before a capture; the card network released the money",
		next:    "holdd does nothing more; this is final.",
		action: "ask the cardholder for another payment; " +
			"holdd show {hold} lists what was tried.",
	},
	{
		eventType: hold.EventCaptured, causes: []hold.Cause{hold.CauseExpired},
		kind: ExpiredUncaptured, severity: severityOfExpiredHold,
		summary: "expired after a part of it was captured; the card network released the rest",
		next:    "holdd does nothing more; this is final.",
		action: "ask the cardholder for another payment of the rest; " +
			"holdd show {hold} lists what was tried.",
	},
	{
		eventType: hold.EventPartlyCaptured, causes: []hold.Cause{hold.CauseElsewhere},
		only: hasPlannedCaptures, kind: AttentionRequired, severity: fixedSeverity(Warning),
		summary: capturedBesidePlan, next: captureRestOfPlan, action: findOtherCapture,
	},
	{
		eventType: hold.EventChanged, causes: []hold.Cause{hold.CauseElsewhere},
		only: hasPlannedCaptures, kind: AttentionRequired, severity: fixedSeverity(Warning),
		summary: capturedBesidePlan, next: captureRestOfPlan, action: findOtherCapture,
	},
	{
		eventType: hold.EventCaptured, causes: []hold.Cause{hold.CauseElsewhere},
		only: hasPlannedCaptures, kind: AttentionRequired, severity: fixedSeverity(Warning),
		summary: capturedBesidePlan, next: "holdd does nothing more; this is final.", action: findOtherCapture,
	},
	{
		eventType: hold.EventCanceled, causes: []hold.Cause{hold.CauseOnExpiry},
		kind: OnExpiryPolicy, severity: fixedSeverity(Warning),
		summary: "was released because its deadline was near", next: onExpiryActed,
		action: checkOnExpiry,
	},
	{
		eventType: hold.EventCaptured, causes: []hold.Cause{hold.CauseOnExpiry},
		kind: OnExpiryPolicy, severity: fixedSeverity(Info),
		summary: "was captured because its deadline was near", next: onExpiryActed,
		action: checkOnExpiry,
	},
}

const (
	renewalGoesOn = "holdd takes over what the cardholder confirms; " +
		"near the deadline it acts by on_failure of the renewal."
	askCardholder = "send the cardholder the link (holdd cardholder-link {hold}), or ask for " +
		"another card."
	capturedBesidePlan = "is captured in parts, and another system captured of it as well"
	captureRestOfPlan  = "what another system captured counts: holdd captures only what is " +
		"missing from the plan."
	findOtherCapture = "find the other system by the charge's captures in the Stripe Dashboard, " +
		"and compare captured_elsewhere: holdd show {hold}."
	onExpiryActed = "holdd does nothing more; this is final ({policy})."
	checkOnExpiry = "none if this was intended; otherwise schedule holds with a time " +
		"or another on_expiry, or on_failure of the renewal."
)

// newAlertFromHoldEvent returns the alert of an event about a hold.
func newAlertFromHoldEvent(w *alertTextBuilder, e *event.Envelope) (a Alert, ok bool) {
	i := slices.IndexFunc(holdAlerts, func(r holdAlertRule) bool { return r.matchesEvent(e) })
	if i < 0 {
		return a, false
	}
	r, h := &holdAlerts[i], &e.Data.Hold
	fill := w.newHoldPlaceholderReplacer(e)
	w.addHoldLines(h)
	if r.due {
		w.addLinef("Due: %s.", w.formatTimeWithTimeLeft(captureOrCancelTime(h)))
	}
	if link := e.Data.CardholderLink; link != "" {
		w.addLinef("Cardholder: %s", link)
	}
	w.addLinef("Next: %s", fill.Replace(cmp.Or(r.next, w.describeAutomaticAction(h))))
	w.addLinef("Action: %s", fill.Replace(cmp.Or(r.action, describeOperatorAction(h))))
	a = Alert{Kind: r.kind, Severity: r.severity(e)}
	w.setTitleAndText(&a, formatHoldNameAndAmount(h)+": "+fill.Replace(r.summary))
	return a, true
}

func (r *holdAlertRule) matchesEvent(e *event.Envelope) bool {
	return r.eventType == e.Type && (r.only == nil || r.only(e)) &&
		(len(r.causes) == 0 || slices.ContainsFunc(r.causes, func(c hold.Cause) bool {
			return c.String() == e.Data.Cause
		}))
}

// newHoldPlaceholderReplacer are the placeholders in texts about a hold.
func (w *alertTextBuilder) newHoldPlaceholderReplacer(e *event.Envelope) *strings.Replacer {
	h := &e.Data.Hold
	term, policy := h.OnExpiryOrOnFailure()
	return strings.NewReplacer(
		"{hold}", h.ID,
		"{expires_at}", w.formatTime(h.ExpiresAt),
		"{expires_in}", w.formatTimeLeft(h.ExpiresAt),
		"{policy}", term+" is "+policy,
		"{state}", h.State,
		"{next}", h.Next,
		"{cause}", e.Data.Cause,
	)
}

func fixedSeverity(s Severity) func(*event.Envelope) Severity {
	return func(*event.Envelope) Severity { return s }
}

// severityByTimeLeft is the severity of an authorization that expires: the
// operator has a day, some hours, or must act now.
func severityByTimeLeft(e *event.Envelope) Severity {
	switch left := e.Data.Hold.ExpiresAt.Sub(e.Timestamp); {
	case left > 24*time.Hour:
		return Info
	case left > 6*time.Hour:
		return Warning
	}
	return Critical
}

func severityByTimeLeftAtLeastWarning(
	e *event.Envelope,
) Severity {
	return max(severityByTimeLeft(e), Warning)
}

// severityOfExpiringHold is lower where holdd acts before the deadline, and
// higher where it does not.
func severityOfExpiringHold(e *event.Envelope) Severity {
	h := &e.Data.Hold
	switch {
	case h.State == "attention" || h.State == "paused":
		return severityByTimeLeftAtLeastWarning(e)
	case willActBeforeExpiry(h) && h.NextAt.After(e.Timestamp.Add(-maxActionDelay)):
		return Info
	}
	return severityByTimeLeft(e)
}

// severityOfExpiredHold is lower for a hold that was to be released anyway.
func severityOfExpiredHold(e *event.Envelope) Severity {
	if e.Data.Hold.CancelAt != nil {
		return Info
	}
	return Critical
}

// maxActionDelay is how long a hold's next action may be overdue before an
// alert stops relying on it.
const maxActionDelay = 5 * time.Minute

// isAwaitingCardholder reports whether the renewal of a hold waits for its
// cardholder.
func isAwaitingCardholder(e *event.Envelope) bool {
	r := e.Data.Hold.Renewal
	return r != nil && r.Step == hold.RenewalRequiresAction.String()
}

// hasPlannedCaptures reports whether a hold has a plan of captures in parts.
func hasPlannedCaptures(e *event.Envelope) bool { return len(e.Data.Hold.Captures) > 0 }

// isDueAfterExpiry reports whether a hold's own time is not before its
// deadline.
func isDueAfterExpiry(e *event.Envelope) bool {
	due := captureOrCancelTime(&e.Data.Hold)
	return !due.IsZero() && !due.Before(e.Data.Hold.ExpiresAt)
}

// willActBeforeExpiry reports whether holdd captures or releases the hold by
// itself before its deadline.
func willActBeforeExpiry(h *hold.View) bool {
	return (h.Next == "capture" || h.Next == "cancel") && h.NextAt != nil &&
		h.NextAt.Before(h.ExpiresAt)
}

// captureOrCancelTime is the time that the request set for the hold, zero for
// none.
func captureOrCancelTime(h *hold.View) time.Time {
	switch {
	case h.CaptureAt != nil:
		return *h.CaptureAt
	case h.CancelAt != nil:
		return *h.CancelAt
	}
	return time.Time{}
}

// describeAutomaticAction is what holdd does with a hold unless the operator
// acts.
func (w *alertTextBuilder) describeAutomaticAction(h *hold.View) string {
	afterDeadline := h.State == "attention" && h.Cause == hold.CauseAfterDeadline.String()
	term, policy := h.OnExpiryOrOnFailure()
	unless := ""
	if term == "on_failure" && h.Renewal.Step != hold.RenewalFailed.String() {
		unless = ", unless the authorization is renewed before"
	}
	switch {
	case willActBeforeExpiry(h):
		verb := map[string]string{"capture": "captures", "cancel": "releases"}[h.Next]
		return "holdd " + verb + " it " + w.formatTimeWithTimeLeft(*h.NextAt) + "."
	case h.State == "working":
		return "holdd reads the payment at Stripe until its outcome is known."
	case policy == "cancel" && (h.State != "attention" || afterDeadline):
		return "holdd releases it shortly before the deadline (" + term + " is cancel)" + unless + "."
	case policy == "capture" && h.CancelAt == nil &&
		(h.State == "waiting" || h.State == "scheduled" || afterDeadline):
		return "holdd captures it shortly before the deadline (" + term + " is capture)" + unless + "."
	}
	return "holdd does nothing; the card network releases the money at the deadline" + unless + "."
}

// describeOperatorAction is what the operator can do with a hold.
func describeOperatorAction(h *hold.View) string {
	first := "capture"
	if h.State == "paused" {
		first = "resume"
	}
	return "run holdd " + first + " {hold} or holdd cancel {hold}; " +
		"if nothing needs to change, run holdd acknowledge {hold}."
}
