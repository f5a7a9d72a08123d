package console

import (
	"fmt"
	"strings"
)

// texts are the texts of the console in one language. A translation is another
// value of this type.
type texts map[string]string

// t returns a text with its values filled in. A key without a text is shown
// itself, and a test finds it.
func (x texts) t(key string, values ...any) string {
	s, ok := x[key]
	if !ok {
		return key
	}
	if len(values) == 0 {
		return s
	}
	return fmt.Sprintf(s, values...)
}

// tCount returns the text of a key for n things: that of key.one for one.
func (x texts) tCount(key string, n int64, values ...any) string {
	if n == 1 {
		key += ".one"
	}
	return x.t(key, values...)
}

func (x texts) has(key string) bool { return x[key] != "" }

// dotsToDashes returns a key as the name of an attribute.
func dotsToDashes(key string) string { return strings.ReplaceAll(key, ".", "-") }

var english = texts{
	"lang": "en", "dir": "ltr", "skip": "Skip to the content",
	"number": "%d", "yes": "yes",
	"mode.test": "test mode", "mode.live": "live mode",
	"visitor.read": "%s (read only)", "signout": "Sign out",
	"footer.zone":  "Times in %s",
	"footer.local": "No tokens are configured: everybody on this machine may use this page",

	"nav.label": "Pages", "nav.today": "Today", "nav.holds": "Holds", "nav.plan": "Plan",
	"nav.unscheduled": "Not scheduled", "nav.deliveries": "Deliveries", "nav.health": "Health",
	"nav.audit": "Audit",

	"signin.title":          "Sign in",
	"signin.token":          "Token",
	"signin.help":           "A token of the tokens file. Its role decides what you may do.",
	"signin.submit":         "Sign in",
	"signin.again":          "Already signed in? Continue",
	"signin.reason.unknown": "This token is unknown.",
	"signin.reason.expired": "Your session has ended. Nothing was changed. Sign in and try again.",
	"signin.reason.out":     "You are signed out.",
	"signin.reason.cookie": "The browser did not keep the session. holdd must be reached by HTTPS, " +
		"and cookies must be allowed.",

	"error.role.title":         "Not allowed",
	"error.role.detail":        "The token %s has the role read. Nothing was changed.",
	"error.form.title":         "Incomplete form",
	"error.form.detail":        "The form is incomplete or too large. Nothing was changed. Open the page again.",
	"error.unavailable.title":  "Temporarily unavailable",
	"error.unavailable.detail": "Redis does not answer. If you have just confirmed something, look at the hold before you confirm it again.",
	"error.internal.title":     "Internal error",
	"error.internal.detail":    "The log of holdd has the cause.",
	"error.not_found.title":    "Not found",
	"error.not_found.detail":   "This page does not exist.",
	"error.refused.title":      "Not possible",
	"error.faster.title":       "Someone was faster",
	"error.faster.detail":      "The hold has changed since you opened the page. Your request changed nothing. The last change:",
	"error.back_to_hold":       "Show the hold as it is now",

	"tab.uncaptured": "Uncaptured", "tab.due": "Due", "tab.expiring": "Expiring",
	"tab.attention": "Needs attention", "tab.cardholder": "Needs cardholder",
	"tab.settled":             "Settled",
	"holds.tabs":              "Lists",
	"holds.empty.uncaptured":  "No hold is open.",
	"holds.empty.due":         "No hold has a time to act.",
	"holds.empty.expiring":    "No authorization ends within 3 days.",
	"holds.empty.attention":   "No hold needs attention.",
	"holds.empty.cardholder":  "No renewal waits for its cardholder.",
	"holds.empty.settled":     "No hold is settled yet.",
	"holds.empty.search":      "No hold matches.",
	"search.label":            "Search by reference, PaymentIntent or account",
	"search.hint":             "Reference, pi_… or acct_…",
	"search.submit":           "Search",
	"sort.reference":          "Sort by booking",
	"sort.default.uncaptured": "Sort by deadline", "sort.default.due": "Sort by time to act",
	"sort.default.expiring": "Sort by deadline", "sort.default.attention": "Sort by deadline",
	"sort.default.cardholder": "Sort by deadline", "sort.default.settled": "Sort by settlement",
	"totals.at_least": "More than %s", "totals.unprotected": "not held: %s",
	"pager.label": "More holds", "pager.first": "First page", "pager.next": "Next page",

	"col.booking": "Booking", "col.amount": "Amount", "col.state": "State", "col.next": "Next",
	"col.settled": "Settled", "col.expires": "Expires", "col.hour": "Hour", "col.holds": "Holds",
	"col.capture": "Capture", "col.release": "Release", "col.reason": "Reason",
	"col.detail": "Detail", "col.stripe": "Stripe", "col.event": "Event", "col.hold": "Hold",
	"col.time": "Time", "col.payload": "Payload", "col.check": "Check", "col.job": "Job",
	"col.succeeded": "Last success", "col.account": "Account", "col.kind": "Kind",
	"col.rate": "Rate", "col.by": "By", "col.what": "What", "col.note": "Note",

	"time.in": "in %s", "time.ago": "%s ago", "time.now": "now",
	"time.d": "%d d", "time.h": "%d h", "time.min": "%d min", "time.s": "%d s",
	"amount.of": "%s of %s", "amount.partly": "%s held, %s captured", "sums.none": "amount unknown",
	"sums.unknown": "%d of unknown amount",
	"count.none":   "No holds", "count.one": "1 hold", "count.many": "%s holds",

	"state.waiting": "waiting", "state.paused": "paused", "state.scheduled": "scheduled",
	"state.ready": "due", "state.working": "working", "state.attention": "needs attention",
	"state.captured": "captured", "state.canceled": "released", "state.expired": "expired",
	"next.paused": "paused", "next.waiting": "waits for a request",
	"op.capture": "capture", "op.cancel": "release", "op.read": "read at Stripe",
	"op.authorize": "authorize", "op.update": "update", "op.confirm": "confirm", "op.list": "list",
	"op.check": "check", "op.increment": "raise", "op.create": "create",
	"op.renew": "renew", "op.release": "release the other authorization",
	"op.set_up_card": "ask for another card", "op.read_card_setup": "read the other card",

	"cause.unknown": "unknown", "cause.schedule": "its own time", "cause.trigger": "on request",
	"cause.on_expiry": "its deadline is near", "cause.elsewhere": "settled elsewhere",
	"cause.expired": "the authorization ended", "cause.amount_too_large": "amount too large",
	"cause.not_found": "not found at Stripe", "cause.refused": "refused by Stripe",
	"cause.key_conflict": "idempotency key conflict", "cause.not_capturable": "not capturable",
	"cause.mismatch": "differs from the request", "cause.review": "fraud review",
	"cause.after_deadline": "due after its deadline", "cause.overdue": "long overdue",
	"cause.inside_margin": "deadline too near", "cause.no_outcome": "no outcome after many calls",
	"cause.fee_too_large": "fee larger than the capture",
	"cause.contradiction": "Stripe shows another state",
	"cause.unavailable":   "the card does not allow it", "cause.too_late": "too late",
	"cause.superseded":    "another request took its place",
	"cause.not_renewable": "no saved card", "cause.declined": "declined by the bank",
	"cause.requires_action":   "the bank requires the cardholder",
	"cause.renewal_limit":     "renewed as often as allowed",
	"cause.record_unreadable": "the record was unreadable; check the terms",
	"cause.unprotected":       "the old authorization is released first",

	"hold.settled": "settled",
	"hold.working": "holdd is working on it; the page shows the outcome when Stripe has answered.",
	"hold.terms":   "Terms", "hold.timeline": "Timeline", "hold.dashboard": "Stripe Dashboard",
	"term.reference": "Reference", "term.id": "Hold", "term.intent": "PaymentIntent",
	"term.account": "Account", "term.amount": "Authorized", "term.capture_amount": "To capture",
	"term.captures": "Planned captures", "term.stage": "%s at ", "term.stage.over": "captured",
	"term.captured": "Captured", "term.elsewhere": "Captured elsewhere",
	"term.capture_at": "Capture at", "term.cancel_at": "Release at", "term.expires": "Expires",
	"term.on_expiry": "If still open near expiry", "term.created": "Scheduled",
	"term.acknowledged": "Warnings acknowledged", "term.metadata": "Metadata",
	"term.renewed": "Held until", "term.next_renewal": "Next renewal",
	"term.act_before": "The cardholder must act before", "term.not_renewed": "Not renewed",
	"term.unprotected":    "Unprotected",
	"renewal.unprotected": "nothing holds the amount until the new authorization is confirmed",
	"term.new_intent":     "New authorization", "term.releasing": "Being released",
	"renewal.made":              "(%d of %d renewals)",
	"renewal.made.one":          "(%d of %d renewal)",
	"term.cardholder":           "Cardholder",
	"cardholder.authentication": "must confirm the renewal with the bank",
	"cardholder.card":           "must give another card",
	"cardholder.send":           "Send this link to nobody else:",
	"source.assumed":            "(assumed)", "source.capture_before": "(from Stripe)",
	"source.caller": "(from the request)", "source.unknown": "",
	"policy.cancel": "release", "policy.capture": "capture", "policy.alert": "alert only",
	"policy.unknown":    "unknown",
	"history.scheduled": "Scheduled", "history.changed": "Terms changed",
	"history.triggered": "Requested", "history.paused": "Paused", "history.resumed": "Resumed",
	"history.acknowledged": "Acknowledged", "history.attempt": "Call to Stripe",
	"history.observed": "Read from Stripe", "history.outcome": "Outcome",
	"history.increment": "Raise", "history.partly_captured": "Captured in part",
	"timeline.by": "by %s", "timeline.key": "idempotency key", "timeline.request": "request",
	"timeline.omitted": "%d entries omitted", "timeline.omitted.one": "%d entry omitted",

	"act.capture": "Capture", "act.cancel": "Release", "act.reschedule": "Reschedule",
	"act.increment": "Raise", "confirm.increment": "Ask the bank now",
	"effect.increment": "Asks the bank to raise the authorization of %s from %s to %s. If it " +
		"declines, %s stays authorized.",
	"field.total": "New authorized total", "field.total.help": "Above %s, which is authorized now.",
	"act.part": "Capture a part", "confirm.part": "Capture the part now",
	"effect.part": "Captures %s from the card of %s now. This cannot be undone here: it takes a " +
		"refund at Stripe. The rest, %s, stays held.",
	"field.part": "Part to capture", "field.part.help": "Below %s. The rest stays held.",
	"part.range": "the part must be above 0 and below %s",
	"done.part":  "Capture of a part requested. The timeline shows the outcome.",
	"act.link":   "Cardholder's link", "confirm.link": "Show the link",
	"effect.link": "Shows the link with which the cardholder lets %s of %s be renewed. Whoever has " +
		"it can act as the cardholder.",
	"link.none":      "There is no page for cardholders: public_url is not set.",
	"done.link":      "The link was shown.",
	"field.why":      "Reason",
	"done.increment": "Raise requested. The timeline shows the outcome.",
	"act.pause":      "Pause", "act.resume": "Resume", "act.acknowledge": "Acknowledge",
	"act.forget": "Erase personal data", "confirm.forget": "Erase now",
	"act.continue": "Continue", "act.back": "Back",
	"act.not_now":     "The hold is %s. This is not possible any more, and nothing was changed.",
	"confirm.capture": "Capture now", "confirm.cancel": "Release now",
	"confirm.reschedule": "Reschedule", "confirm.pause": "Pause", "confirm.resume": "Resume",
	"confirm.acknowledge": "Acknowledge",
	"effect.capture":      "Captures %s from the card of %s now. This cannot be undone here: it takes a refund at Stripe.",
	"effect.rest":         "The rest, %s, is released to the cardholder.",
	"effect.cancel":       "Releases the whole %s of %s to the cardholder now. Nothing is captured. This cannot be undone.",
	"effect.capture_at":   "holdd will capture %s from the card of %s",
	"effect.cancel.rest":  "Releases the remaining %s of %s to the cardholder now. The %s captured so far stays captured. This cannot be undone.",
	"effect.cancel_at":    "holdd will release %s of %s",
	"effect.pause":        "Suspends the scheduled action on %s of %s until it is resumed. The authorization still ends at its deadline.",
	"effect.resume":       "Returns %s of %s to its terms. If its time has passed, holdd acts now.",
	"effect.acknowledge":  "Silences further warnings about %s of %s until its terms change.",
	"effect.forget": "Erases the personal data of the hold of %s of %s here: reference, metadata and the texts of " +
		"requests. Amounts, times and Stripe's ids stay, and so does what Stripe has. This cannot be undone.",
	"field.amount": "Amount to capture", "field.amount.help": "At most %s. The rest is released.",
	"field.then": "Action", "field.at": "Time", "field.at.help": "Time in %s.",
	"field.reason": "Reason for Stripe",
	"then.capture": "Capture", "then.cancel": "Release",
	"reason.default":               "As in the settings",
	"reason.requested_by_customer": "Requested by customer", "reason.abandoned": "Abandoned",
	"reason.duplicate": "Duplicate", "reason.fraudulent": "Fraudulent",
	"amount.range":   "the amount must be above 0 and at most %s",
	"total.range":    "the new total must be above %s",
	"amount.missing": "the form has no amount",
	"at.invalid":     "the time is invalid",

	"done.capture":    "Capture requested. The timeline shows the outcome.",
	"done.cancel":     "Release requested. The timeline shows the outcome.",
	"done.reschedule": "Rescheduled.", "done.pause": "Paused.", "done.resume": "Resumed.",
	"done.forget":      "The personal data of this hold is erased.",
	"done.acknowledge": "Acknowledged.", "done.adopt": "holdd now manages this authorization.",
	"done.reconcile": "The comparison with Stripe has started. Load the page again in a moment.",
	"done.replay":    "The events are being delivered again.",

	"bulk.ticked": "With the ticked holds:", "bulk.all": "With all that match (%s):",
	"bulk.tick":          "Tick %s",
	"bulk.title.capture": "Capture many holds", "bulk.title.cancel": "Release many holds",
	"bulk.title.acknowledge": "Acknowledge many holds",
	"bulk.effect.capture": "Captures the planned amount of each from its card now. This cannot be " +
		"undone here: it takes a refund at Stripe.",
	"bulk.effect.cancel": "Releases each to its cardholder now. Nothing is captured. This cannot be " +
		"undone.",
	"bulk.effect.acknowledge":  "Silences further warnings about each until its terms change.",
	"bulk.confirm.capture":     "Capture %s now",
	"bulk.confirm.cancel":      "Release %s now",
	"bulk.confirm.acknowledge": "Acknowledge %s",
	"bulk.done.capture":        "Capture requested: %s.",
	"bulk.done.cancel":         "Release requested: %s.",
	"bulk.done.acknowledge":    "Acknowledged: %s.",
	"bulk.more":                "and %d more",
	"bulk.left_out":            "Left alone, because this is not possible for them now: %s.",
	"bulk.none":                "No hold is ticked. Nothing was changed.",
	"bulk.none_accepts":        "This is not possible for any of these holds now. Nothing was changed.",
	"bulk.too_many":            "More than %d holds match. Narrow the search. Nothing was changed.",
	"bulk.changed": "The holds have changed since you opened the page, perhaps by a first click. " +
		"This request changed nothing. " +
		"This is what would happen now:",
	"bulk.failed":  "Not changed: %s",
	"bulk.unknown": "unknown: Redis did not answer in time; look at the hold",
	"bulk.back":    "Back to the list",

	"today.title":      "Monday, 2 January",
	"today.oldest_due": "Oldest due hold waits for",
	"today.captured":   "Captured", "today.released": "Released or expired",
	"today.to_capture": "Still to capture", "today.to_release": "Still to release",
	"today.at_risk": "At risk", "today.attention": "Needs attention",
	"today.all_attention": "All holds that need attention", "today.newest": "Settled last",
	"today.at_least": "More holds were settled today than are counted here.",

	"plan.spans": "Time span", "plan.24h": "24 hours", "plan.7d": "7 days",
	"plan.truncated": "There are more holds than were examined: the numbers are too low.",
	"plan.empty":     "Nothing is due in this time.",
	"plan.at_risk":   "At risk", "plan.no_risk": "No hold is at risk in this time.",

	"orphan.intro": "Authorizations at Stripe that holdd does not know. holdd never touches them " +
		"until somebody adopts them.",
	"orphan.no_run": "No comparison with Stripe has run yet.",
	"orphan.none":   "Every authorization at Stripe is scheduled.",
	"orphan.run":    "Compare with Stripe now", "orphan.adopt": "Adopt",
	"orphan.capture": "Capture", "orphan.cancel": "Release",
	"orphan.effect": "holdd schedules this authorization without a time and alerts before it ends. " +
		"Capture or release it on its page.",
	"run.running":     "Comparing with Stripe, %d PaymentIntents so far,",
	"run.finished":    "%d PaymentIntents compared with Stripe,",
	"run.interrupted": "The comparison was interrupted after %d PaymentIntents,",

	"run.running.one":     "Comparing with Stripe, %d PaymentIntent so far,",
	"run.finished.one":    "%d PaymentIntent compared with Stripe,",
	"run.interrupted.one": "The comparison was interrupted after %d PaymentIntent,",

	"deliveries.intro": "Events and alerts that holdd delivers. A dead letter was not accepted for " +
		"three days.",
	"deliveries.none":    "No callback and no alert is configured.",
	"deliveries.payload": "Show", "deliveries.replay": "Deliver %d dead letters again",
	"deliveries.replay.one": "Deliver %d dead letter again",
	"deliveries.effect": "Delivers %d events to %s again. Each keeps its id, so that the receiver " +
		"recognizes it.",
	"deliveries.effect.one": "Delivers %d event to %s again. It keeps its id, so that the receiver " +
		"recognizes it.",
	"deliveries.confirm": "Deliver again",
	"sink.disabled":      "disabled by its receiver", "sink.failing": "failing",
	"sink.pending": "pending", "sink.ok": "delivered", "sink.since": "Failing since",
	"sink.reason": "Reason", "sink.oldest": "Oldest undelivered event",
	"sink.parked": "Holds behind a failed event", "sink.dead": "Dead letters",
	"sink.lost": "Events lost",

	"health.good": "All systems work.", "health.bad": "A check fails: %s.",
	"health.more": "Show health", "health.ok": "ok", "health.failed": "failed",
	"health.no_redis": "Redis does not answer: the rest is unknown.",
	"health.replicas": "Replicas", "health.jobs": "Jobs of this replica",
	"health.rates": "Lowered rates", "health.full_rate": "Stripe has not lowered any rate.",
	"health.per_second": "%.1f a second", "health.reconcile": "Last comparison with Stripe",
	"health.doctor": "For a deeper check run: holdd doctor",

	"doctor.title": "Doctor", "doctor.run": "Run the checks of doctor",
	"doctor.intro": "Checks settings, Redis and the Stripe account more deeply. It takes a few " +
		"seconds and moves no money.",
	"doctor.ok": "ok", "doctor.warning": "warning", "doctor.wrong": "wrong",

	"audit.intro": "What was done to the holds that changed last, newest first. A hold's page has " +
		"its whole history.",
	"audit.filter": "Filter", "audit.csv": "Download CSV", "audit.none": "Nothing matches.",
	"live.full": "Too many pages are open.",

	"js.pause": "Pause updates", "js.resume": "Resume updates", "js.paused": "Updates paused",
	"js.offline": "No connection: this page may be out of date.",
	"js.copy":    "Copy", "js.copied": "Copied", "js.close": "Close",
	"js.keys.title": "Keys", "js.keys.search": "search", "js.keys.next": "next hold",
	"js.keys.previous": "previous hold",
	"js.keys.tick":     "tick or untick",
	"js.keys.capture":  "capture", "js.keys.release": "release", "js.keys.help": "show the keys",
	"js.keys.off": "Use single keys on this device",
}
