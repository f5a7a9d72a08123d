package alert

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// systemAlertRule is the alert of a system event. Its texts may contain
// placeholders of [newSystemPlaceholderReplacer].
type systemAlertRule struct {
	kind     Kind
	severity Severity
	resolved bool                        // the event ends the alert
	needs    func(*event.EventData) bool // what the texts need; nil means nothing
	summary  string
	details  string // a line before the next two, may be empty
	next     string // what holdd does by itself
	action   string // for the operator
}

// systemAlerts lists what the operator must know of the daemon. An event of
// another type is no alert.
var systemAlerts = map[hold.EventType]systemAlertRule{
	event.InboxRejected: {
		kind: InboxRejected, severity: Warning, needs: eventHasRejectedRequest,
		summary: "request in the inbox rejected: {reason}",
		details: rejectionDetails,
		next:    "holdd does not schedule the hold.",
		action:  fixRejection,
	},
	event.MetadataRejected: {
		kind: MetadataRejected, severity: Warning, needs: eventHasRejectedRequest,
		summary: "terms in the metadata of {rejected_id} rejected: {reason}",
		details: rejectionDetails,
		next:    "holdd does not schedule the hold.",
		action:  fixRejection,
	},
	event.Orphan: {
		kind: Orphan, severity: Warning, needs: eventHasIntent,
		summary: "{intent} holds {amount} and is not scheduled",
		next:    "holdd does nothing; the card network releases the money after some days.",
		action: "run holdd schedule {intent} --capture-at …, " +
			"or release it in the Stripe Dashboard.",
	},
	event.AuthorizationAbandoned: {
		kind: AuthorizationAbandoned, severity: Warning, needs: eventHasIntent,
		summary: "{booking}: authorization of {amount} was not finished and is canceled",
		next:    "holdd does nothing more; no money is held.",
		action:  "ask the cardholder for a card again.",
	},
	event.AuthorizationUnresolved: {
		kind: AuthorizationUnresolved, severity: Warning, needs: eventHasIntent,
		summary: "an authorization has no outcome after {count} tries",
		details: "Attempt: {detail}. PaymentIntent: {intent}.",
		next:    "holdd asks Stripe again every few minutes, for three days after the request.",
		action: "find the payment in the Stripe Dashboard; " +
			"if it holds money, run holdd schedule or release it there.",
	},
	event.StripeUnavailable: {
		kind: StripeUnavailable, severity: Critical,
		summary: "Stripe unavailable",
		next: "holdd tries again every few seconds and resumes by itself; " +
			"authorizations still expire meanwhile.",
		action: "check https://status.stripe.com and the network of this machine.",
	},
	event.StripeRecovered: {
		kind: StripeUnavailable, severity: Critical, resolved: true,
		summary: "Stripe available again: work resumes",
	},
	event.KeyRejected: {
		kind: KeyRejected, severity: Critical,
		summary: "Stripe rejects the API key",
		next:    "holdd pauses all claims and tries the key again every half minute.",
		action:  "set stripe_api_key to a valid key and restart holdd.",
	},
	event.KeyAccepted: {
		kind: KeyRejected, severity: Critical, resolved: true,
		summary: "Stripe accepts the API key again: work resumes",
	},
	event.WrongKeySuspected: {
		kind: WrongKey, severity: Critical,
		summary: "Stripe finds none of many PaymentIntents: wrong key?",
		next: "holdd pauses the claims of that account, tries a few of its holds each minute, " +
			"and resumes when Stripe finds one.",
		action: "set stripe_api_key to a key of the account that has these PaymentIntents, " +
			"and restart holdd.",
	},
	event.WrongKeyCleared: {
		kind: WrongKey, severity: Critical, resolved: true,
		summary: "Stripe finds PaymentIntents again: work resumes",
	},
	event.StripeRateLimited: {
		kind: StripeRateLimited, severity: Warning,
		summary: "Stripe limits the rate of requests (429)",
		next:    "holdd slows down and tries again.",
		action: "find other programs that use this account, " +
			"lower rate and rate_read, or ask Stripe for a higher limit.",
	},
	event.StripeRateLimitCleared: {
		kind: StripeRateLimited, severity: Warning, resolved: true,
		summary: "Stripe no longer limits the rate of requests",
	},
	event.CapacityAtRisk: {
		kind: CapacityAtRisk, severity: Critical, needs: eventHasCapacityRisk,
		summary: "{at_risk_holds} holds over {at_risk_sums} will expire before the limits " +
			"let them through, the first {at_risk_in}",
		details: "First to expire: {at_risk_at}.",
		next: "holdd captures the nearest deadlines first, {rate} a second; " +
			"more is due than that.",
		action: "raise rate if Stripe allows this account more, " +
			"or capture the largest holds by hand: holdd list --state ready.",
	},
	event.CapacityRecovered: {
		kind: CapacityAtRisk, severity: Critical, resolved: true,
		summary: "all due holds will be captured or released in time again",
	},
	event.DoubleHeld: {
		kind: DoubleHeld, severity: Warning,
		summary: "two authorizations hold {detail}",
		next:    nextRelease,
		action:  "holdd show names both PaymentIntents; see whether Stripe answers.",
	},
	event.DoubleHeldLong: {
		kind: DoubleHeld, severity: Critical,
		summary: "cardholders see their amount held twice: {detail}",
		next:    nextRelease,
		action: "holdd show names both PaymentIntents; " +
			"cancel the one under releasing in the Stripe Dashboard.",
	},
	event.DoubleHeldReleased: {
		kind: DoubleHeld, severity: Critical, resolved: true,
		summary: "no amount has been held twice for long any more",
	},
	event.ReplicaStopped: {
		kind: ReplicaStopped, severity: Warning,
		summary: "replica {replica} stopped without a sign-off; {alive} run",
		next:    "the other replicas take over its work.",
		action:  "read its log, and start it again unless a supervisor does.",
	},
	event.RedisDataLost: {
		kind: RedisDataLost, severity: Critical,
		summary: "Redis lost its data while in use",
		next:    "holdd schedules every hold again whose terms are in Stripe's metadata.",
		action: "find out what emptied Redis, and run holdd reconcile to see what was found; " +
			"histories, acknowledgements and unmirrored changes are lost.",
	},
	event.RedisUnsafe: {
		kind: RedisUnsafe, severity: Critical,
		summary: "Redis is not safe for holds any more: {detail}",
		next:    "holdd works on; what Redis loses is found again only if Stripe's metadata has it.",
		action:  "set Redis back; holdd doctor has a hint for each fault.",
	},
	event.RedisSafe: {
		kind: RedisUnsafe, severity: Critical, resolved: true,
		summary: "Redis is safe for holds again",
	},
	event.RedisMemoryHigh: {
		kind: RedisMemory, severity: Warning,
		summary: "the memory of Redis runs out: {detail}",
		next:    "holdd works on until Redis is full.",
		action:  "raise maxmemory, or shorten retention.",
	},
	event.RedisMemoryNormal: {
		kind: RedisMemory, severity: Warning, resolved: true,
		summary: "Redis has memory again",
	},
	event.RecordsUnreadable: {
		kind: RecordUnreadable, severity: Critical,
		summary: "records of holds are unreadable: {detail}",
		next:    "holdd leaves these holds alone, also at their deadlines; the others go on.",
		action: "start the newer holdd again that wrote them; " +
			"a record that no release can read: holdd repair HOLD.",
	},
	event.RecordsReadable: {
		kind: RecordUnreadable, severity: Critical, resolved: true,
		summary: "holdd can read the records of all holds again",
	},
	event.SinkFailing: {
		kind: SinkFailing, severity: Critical,
		summary: "{sink} does not accept events: {detail}",
		next:    "holdd retries for three days, in order for each hold; captures go on.",
		action:  "repair {sink} or correct its address; holdd callbacks shows what waits.",
	},
	event.SinkDisabled: {
		kind: SinkFailing, severity: Critical,
		summary: "{sink} disabled by its receiver: {detail}",
		next:    "holdd sends it nothing until its address changes.",
		action:  "set a new address for {sink}; the events that wait are sent there.",
	},
	event.SinkRecovered: {
		kind: SinkFailing, severity: Critical, resolved: true,
		summary: "{sink} accepts events again",
	},
	event.SinkEventsLost: {
		kind: EventsLost, severity: Critical,
		summary: "{sink} failed for too long: {count} events were trimmed before delivery",
		next:    "holdd sends the events that are left.",
		action: "compare your records with holdd list, " +
			"and raise events_max_size for longer outages.",
	},
	event.SinkDeadLetters: {
		kind: EventsLost, severity: Critical,
		summary: "{sink} did not accept {count} events for three days: they are dead letters",
		next:    "holdd keeps them and does not send them by itself.",
		action:  "repair {sink}, then run holdd callbacks replay.",
	},
}

// A replica sends these without an event, because it cannot write one.
var (
	redisUnavailableAlert = systemAlertRule{
		kind: RedisUnavailable, severity: Critical,
		summary: "Redis unavailable",
		details: "Since: {since}. Cause: {detail}. " +
			"Reported by replica {replica}; others may report the same.",
		next: "holdd captures and releases nothing until Redis answers; " +
			"authorizations still expire meanwhile.",
		action: "start Redis, or restore the connection to it.",
	}
	redisRecoveredAlert = systemAlertRule{
		kind: RedisUnavailable, severity: Critical, resolved: true,
		summary: "Redis available again: work resumes",
		details: "Reported by replica {replica}; others may report the same.",
	}
	stageStalledAlert = systemAlertRule{
		kind: StageStalled, severity: Critical,
		summary: "holdd has stalled: {detail}",
		details: "Noticed: {since}. Reported by replica {replica}; others may report the same.",
		next: "holdd tries again all the time and resumes by itself; " +
			"holds that need this stage wait, and their authorizations still expire.",
		action: "remove the cause; /readyz names every stage that has stalled.",
	}
	stageResumedAlert = systemAlertRule{
		kind: StageStalled, severity: Critical, resolved: true,
		summary: "all stages succeed again: work resumes",
		details: "Reported by replica {replica}; others may report the same.",
	}
)

const (
	nextRelease = "holdd releases the old authorization before all captures whose deadline is " +
		"ahead, and tries again until it is gone."
	rejectionDetails = "Field: {field}. Code: {code}. Entry or PaymentIntent: {rejected_id}."
	fixRejection     = "correct the request where it was written and send it again; " +
		"the original is in holdd:inbox:rejected."
)

func eventHasRejectedRequest(d *event.EventData) bool { return d.Rejection != nil }
func eventHasIntent(d *event.EventData) bool          { return d.Intent != nil }
func eventHasCapacityRisk(d *event.EventData) bool    { return d.Capacity != nil }

// newAlertFromSystemEvent returns the alert of a system event.
func newAlertFromSystemEvent(w *alertTextBuilder, e *event.Envelope) (a Alert, ok bool) {
	r, ok := systemAlerts[e.Type]
	if !ok || r.needs != nil && !r.needs(&e.Data) {
		return a, false
	}
	if e.Data.Intent != nil {
		w.addAccountLine(e.Data.Intent.Account)
	}
	return r.newAlertFromRule(w, w.newSystemPlaceholderReplacer(&e.Data)), true
}

func (r *systemAlertRule) newAlertFromRule(w *alertTextBuilder, fill *strings.Replacer) Alert {
	if r.details != "" {
		w.addLinef("%s", fill.Replace(r.details))
	}
	if r.next != "" {
		w.addLinef("Next: %s", fill.Replace(r.next))
	}
	if r.action != "" {
		w.addLinef("Action: %s", fill.Replace(r.action))
	}
	a := Alert{Kind: r.kind, Severity: r.severity, Resolved: r.resolved}
	w.setTitleAndText(&a, fill.Replace(r.summary))
	return a
}

// newSystemPlaceholderReplacer are the placeholders in texts about the daemon.
func (w *alertTextBuilder) newSystemPlaceholderReplacer(d *event.EventData) *strings.Replacer {
	values := []string{
		"{sink}", sanitizeTextForChat(d.Sink, 40),
		"{detail}", sanitizeTextForChat(d.Detail, 200),
		"{count}", formatCountOrSome(d.Count),
		"{replica}", sanitizeTextForChat(d.Replica, 100),
		"{alive}", strconv.Itoa(len(d.Alive)),
	}
	if r := d.Rejection; r != nil {
		values = append(values,
			"{reason}", sanitizeTextForChat(r.Reason, 200),
			"{field}", cmp.Or(sanitizeTextForChat(r.Field, 80), "-"),
			"{code}", cmp.Or(r.Code, "-"),
			"{rejected_id}", sanitizeTextForChat(r.ID, 80))
	}
	if i := d.Intent; i != nil {
		values = append(values,
			"{intent}", cmp.Or(i.PaymentIntent, "-"),
			"{booking}", cmp.Or(sanitizeTextForChat(i.Reference, 80), i.PaymentIntent),
			"{amount}", hold.FormatAmount(i.Amount, i.Currency))
	}
	if c := d.Capacity; c != nil {
		holds := strconv.Itoa(c.Holds)
		if c.AtLeast {
			holds = "at least " + holds
		}
		values = append(values,
			"{at_risk_holds}", holds,
			"{at_risk_sums}", formatFirstSums(c.Sums),
			"{at_risk_in}", w.formatTimeLeft(c.FirstAt),
			"{at_risk_at}", w.formatTimeWithTimeLeft(c.FirstAt),
			"{rate}", strconv.Itoa(c.Rate))
	}
	return strings.NewReplacer(values...)
}

// formatCountOrSome writes a number of events; below 0 it is unknown.
func formatCountOrSome(n int64) string {
	if n < 0 {
		return "some"
	}
	return strconv.FormatInt(n, 10)
}

func formatFirstSums(list []hold.Sum) string {
	var parts []string
	for _, s := range list[:min(len(list), 8)] {
		parts = append(parts, hold.FormatAmount(s.Amount, s.Currency))
	}
	return strings.Join(parts, " + ")
}
