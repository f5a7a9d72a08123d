package simtest

import "time"

// renewalRegressions are worlds of holds that outlast their authorization.
var renewalRegressions = []regression{
	{"the Dashboard releases a stay, and then its cardholder authenticates: the card was authorized again",
		drawPlan(1796032585637440566)},
	{"Stripe does not find the new intent for so long that on_failure decides, and it turns out to hold the money",
		drawPlan(1796032585637440363)},
	{"the Dashboard releases a stay while Redis is away, before the first confirmation: the card was authorized again",
		drawPlan(1796060774778373149)},
	{"an increment by a new authorization fails, and then no renewal began in time",
		drawPlan(1796075406121279045)},
	{"a long stay is renewed twice while nothing is wrong", longStayPlan(plannedRenewal{})},
	{"a long stay may be renewed once, and then its policy acts",
		longStayPlan(plannedRenewal{maxRenewals: 1, onFailure: "cancel"})},
	{"the card of a long stay was stolen: it is tried once, and then on_failure acts",
		longStayPlan(plannedRenewal{declines: "stolen_card", onFailure: "capture"})},
	{"the bank wants the cardholder of a long stay, who does not come",
		longStayPlan(plannedRenewal{declines: "authentication_required", onFailure: "capture"})},
	{"the cardholder of a long stay authenticates with the bank", cardholderPlan(
		"authentication_required", cardholderAuthenticates)},
	{"the cardholder of a long stay fails at the bank, and tries again", cardholderPlan(
		"authentication_required", cardholderFails)},
	{"the cardholder of a long stay gives another card in place of a stolen one", cardholderPlan(
		"stolen_card", cardholderGivesCard)},
	{"the cardholder of a long stay closes the window of the bank", cardholderPlan(
		"authentication_required", cardholderLeaves)},
	{"the bank declines a renewal once, and no time is left for another try",
		longStayPlan(plannedRenewal{declines: "insufficient_funds", declineOnce: true})},
	{"a capture is requested when a renewal has begun and the creation has no answer",
		longStayPlan(plannedRenewal{}, plannedAction{number: 1, kind: "capture",
			at: firstRenewal + 20*time.Second}).withFaults(lostReply("create"))},
	{"a cancel is requested when a renewal has begun and the confirmation has no answer",
		longStayPlan(plannedRenewal{}, plannedAction{number: 1, kind: "cancel",
			at: firstRenewal + 20*time.Second}).withFaults(lostReply("confirm"))},
	{"the Dashboard releases a stay while its confirmation has no answer: the new intent was kept and captured",
		longStayPlan(plannedRenewal{}, plannedAction{number: 1, kind: "dashboard cancel",
			at: firstRenewal + 2*time.Second}).withFaults(lostReply("confirm"))},
	{"the old authorization is captured in the Dashboard while its release has no answer",
		longStayPlan(plannedRenewal{}, plannedAction{number: 1, kind: "dashboard capture",
			at: firstRenewal + 5*time.Second, amount: 5000}).withFaults(fault{number: 1,
			kind: "stripe:conflict", atCall: "cancel", from: firstRenewal, probability: 1,
			to: firstRenewal + 30*time.Second, replicaIndex: -1})},
}

// firstRenewal is when the first renewal of a longStayPlan begins.
const firstRenewal = 5*time.Second + 10*time.Minute

// cardholderPlan is a longStayPlan whose first renewal is declined, and whose
// cardholder opens the link half a minute later.
func cardholderPlan(declines, kind string) plan {
	return longStayPlan(plannedRenewal{declines: declines, declineOnce: true,
		onFailure: "cancel"}, plannedAction{number: 1, kind: kind, at: firstRenewal + 30*time.Second})
}

// longStayPlan is a world with one hold that must last for two and a half
// authorizations of 20 minutes.
func longStayPlan(r plannedRenewal, actions ...plannedAction) plan {
	r.until, r.maxAmount = 50*time.Minute, 5000
	p := quietPlan(5*time.Second, intakePlan{}, plannedHold{number: 1, placedAt: 5 * time.Second,
		scheduledAt: 6 * time.Second, authorizationWindow: 20 * time.Minute, amount: 5000,
		currency: "eur", action: "capture", dueAt: 45 * time.Minute, renewal: r, actions: actions})
	p.duration = time.Hour
	return p
}

// lostReply loses the first replies to a call of the first renewal.
func lostReply(call string) fault {
	return fault{number: 1, kind: "stripe:drop_reply", atCall: call, from: firstRenewal - time.Second,
		to: firstRenewal + 30*time.Second, probability: 1, replicaIndex: -1}
}
