package simtest

import (
	"flag"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type regression struct {
	why  string
	plan plan
}

// regressions are worlds in which a promise was broken once, or would be
// without a guard that random worlds hardly ever need. They are plans instead
// of seeds, so that a change of plan_draw_test.go does not change them. A
// failure of TestSeeds prints its shrunk plan in this form.
var regressions = append([]regression{
	{"a late capture whose reply was given up, and two 404s: holdd took them for proof that nothing had happened",
		plan{seed: 547, duration: 6 * time.Minute, jobInterval: 5 * time.Second, replicas: 2,
			concurrency: 1, partitions: 3, expiryMargin: 6 * time.Second,
			alertThresholds: []time.Duration{24 * time.Second, 12 * time.Second, 6 * time.Second},
			rateLimit:       5, lease: 30 * time.Second,
			holds: []plannedHold{{number: 3, placedAt: 167001054449, scheduledAt: 171798255133,
				authorizationWindow: 99494268214, account: "acct_simtestone11",
				amount: 63992, currency: "jpy",
				action: "capture", dueAt: 235135 * time.Millisecond, captureAmount: 39569,
				onExpiry: "capture", reference: "BK-3"}},
			faults: []fault{
				{number: 2, kind: "stripe:not_found", from: 245 * time.Second,
					to: 285 * time.Second, probability: 1, replicaIndex: -1},
				{number: 4, kind: "stripe:late", from: 231358901395, to: 240 * time.Second,
					probability: 1, replicaIndex: -1}}}},
	{"the mirror must remove an invalid term of a hold from the API with a second request: it ran out of budget each time and started again",
		plan{seed: 898, duration: 40 * time.Minute, jobInterval: 30 * time.Second, replicas: 1,
			concurrency: 1, partitions: 1, expiryMargin: time.Minute,
			alertThresholds: []time.Duration{4 * time.Minute, time.Minute}, rateLimit: 2,
			lease: 30 * time.Second, intake: intakePlan{enabled: true,
				mirrorInterval: 30 * time.Second},
			holds: []plannedHold{{number: 1, placedAt: 5 * time.Second,
				scheduledAt: 5 * time.Second, authorizationWindow: 30 * time.Minute, amount: 60685,
				currency: "usd", action: "none", reference: "BK-1",
				intake: "metadata", invalidMetadata: true,
				actions: []plannedAction{{number: 1, at: time.Minute, kind: "again"}}}}}},
	{"two replicas mirror the same terms at once: one postponed it because of the other's key, and the other recorded it too late, at every tick",
		plan{seed: 541, duration: 6 * time.Hour, jobInterval: 10 * time.Minute, replicas: 2,
			concurrency: 1, partitions: 1, expiryMargin: 70 * time.Minute,
			alertThresholds: []time.Duration{280 * time.Minute, 140 * time.Minute}, rateLimit: 5,
			lease: 30 * time.Second, serviceTime: 7 * time.Second, intake: intakePlan{enabled: true,
				mirrorInterval: 10 * time.Minute},
			holds: []plannedHold{{number: 2, placedAt: 20 * time.Minute,
				scheduledAt: 31 * time.Minute, authorizationWindow: 338 * time.Minute,
				amount: 11379, currency: "jpy", action: "none",
				onExpiry: "cancel", reference: "BK-2"}}}},
	{"Redis accepts no commit for a while: terms that were just written were found missing and written again several times a second",
		plan{seed: 592, duration: 6 * time.Minute, jobInterval: 5 * time.Second, replicas: 1,
			concurrency: 1, partitions: 1, expiryMargin: 15 * time.Second,
			alertThresholds: []time.Duration{time.Minute, 30 * time.Second, 15 * time.Second},
			rateLimit:       25,
			lease:           30 * time.Second, intake: intakePlan{enabled: true,
				mirrorInterval: 5 * time.Second},
			holds: []plannedHold{{number: 8, placedAt: 5 * time.Second,
				scheduledAt: 5 * time.Second, authorizationWindow: 5 * time.Minute, amount: 44100,
				currency: "eur", action: "none", onExpiry: "cancel", reference: "BK-8"}},
			faults: []fault{{number: 1, kind: "redis:cut before", from: 7 * time.Second,
				to: 30 * time.Second, probability: 1, replicaIndex: -1, atCall: "commit"}}}},
	{"Stripe allows a third of the configured rate: the replicas lower theirs together", strictRatePlan(1)},
	{"Redis loses claims and its clock goes back until the same holds are claimed in the same millisecond again: the first claimant overwrote changes that were accepted since", redisClockSetBackPlan(1)},
	{"redisClockSetBackPlan with other delays: each seed has the coincidence about two times in three", redisClockSetBackPlan(2)},
	{"redisClockSetBackPlan with other delays", redisClockSetBackPlan(3)},
	{"redisClockSetBackPlan with other delays", redisClockSetBackPlan(4)},
	{"a replica pauses with claims that no worker goroutine has started, and resumes when another replica has them", pauseWithClaimsPlan()},
	{"a cancel is scheduled after a deadline that was unknown: the policy is to capture, and must not", quietPlan(30*time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 20 * time.Minute, amount: 5000, currency: "eur", action: "cancel",
			dueAt: 20*time.Minute + 30*time.Second, onExpiry: "capture"},
	).withFaults(fault{number: 1, kind: "stripe:down", from: 5 * time.Second,
		to: 10 * time.Second, replicaIndex: -1})},
	{"a replica captures and dies before it records that, and Stripe is unavailable: until it is back, holdd must not report the hold as canceled", quietPlan(time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 10 * time.Minute, amount: 5000, currency: "eur", action: "capture",
			dueAt: 20 * time.Second, actions: []plannedAction{
				{number: 1, at: 55 * time.Second, kind: "cancel"}, {number: 2, at: 63 * time.Second,
					kind: "cancel"}, {number: 3, at: 70 * time.Second, kind: "cancel"}}},
	).withFaults(fault{number: 1, kind: "kill at", atCall: "stripe", afterEffect: true,
		from: 19 * time.Second, to: 22 * time.Second, restartAfter: 5 * time.Second},
		fault{number: 2, kind: "stripe:dial", from: 25 * time.Second, to: 90 * time.Second,
			probability: 1, replicaIndex: -1})},
	{"Stripe refuses a capture and would replay the refusal for a day: a new request by the operator is sent under a new key", quietPlan(5*time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 30 * time.Minute, amount: 5000, currency: "eur", action: "capture",
			dueAt: time.Minute, actions: []plannedAction{
				{number: 1, at: 10 * time.Minute, kind: "capture"}}},
	).withFaults(fault{number: 1, kind: "stripe:refused", atCall: "capture", from: 55 * time.Second,
		to: 70 * time.Second, probability: 1, replicaIndex: -1})},
	{"a cancel reads the deadline and then fails: the deadline from the read was dropped, and the hold was never acted on again", quietPlan(time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 75 * time.Second, amount: 5000, currency: "eur", action: "none",
			onExpiry: "alert", actions: []plannedAction{
				{number: 1, at: 20 * time.Second, kind: "cancel"}}},
	).withFaults(fault{number: 1, kind: "stripe:forbidden", from: 5 * time.Second,
		to: 8 * time.Second, probability: 1, replicaIndex: -1},
		fault{number: 2, kind: "stripe:dial", atCall: "cancel", from: 10 * time.Second,
			to: 70 * time.Second, probability: 1, replicaIndex: -1},
		fault{number: 3, kind: "stripe:refused", atCall: "cancel", from: 70 * time.Second,
			to: 90 * time.Second, probability: 1, replicaIndex: -1})},
	{"replies to changes with a revision are lost between Redis and the replica: callers are not rejected because of their own changes", lostCommitReplyPlan()},
	{"the reply to a change is lost, and another replica acts on the hold before the repetition: the change counts as accepted", overtakenChangePlan()},
	{"the end of a reconcile run is not saved: two replicas reported that they had finished it",
		drawPlan(1796072538799706950)},
	{"a hold is canceled in the Dashboard without a webhook: reconcile records it",
		quietPlan(30*time.Second, intakePlan{enabled: true, reconcileInterval: 2 * time.Minute},
			plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
				authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur",
				action: "capture", dueAt: 30 * time.Minute, actions: []plannedAction{
					{number: 1, at: 5 * time.Minute, kind: "dashboard cancel"}}})},
	{"an intent has invalid terms and no webhook arrives: reconcile reports them",
		quietPlan(30*time.Second, intakePlan{enabled: true, reconcileInterval: 2 * time.Minute},
			plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 5 * time.Second,
				authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur",
				action: "capture", dueAt: 30 * time.Minute, intake: "metadata",
				invalidMetadata: true})},
	{"the Dashboard captures the amount that was to be captured: holdd reports it as another system's capture", quietPlan(30*time.Second, intakePlan{enabled: true, reconcileInterval: 2 * time.Minute},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur", action: "capture",
			dueAt: 30 * time.Minute,
			actions: []plannedAction{{number: 1, at: 5 * time.Minute, kind: "dashboard capture",
				amount: 5000}}})},
	{"Redis is emptied long after terms were changed: the metadata has the changed terms",
		quietPlan(30*time.Second, intakePlan{enabled: true, mirrorInterval: 30 * time.Second},
			plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
				authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur",
				action: "capture", dueAt: 30 * time.Minute,
				actions: []plannedAction{{number: 1, at: time.Minute, kind: "patch capture_at",
					newTime: 20 * time.Minute}}},
		).withFaults(fault{number: 1, kind: "redis:emptied", from: 12 * time.Minute,
			to: 12 * time.Minute, replicaIndex: -1})},
	{"Redis is emptied after a capture, and the hold is scheduled and canceled again while Stripe is unavailable: holdd finds its own capture", quietPlan(30*time.Second, intakePlan{enabled: true},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur",
			action: "capture", dueAt: 2 * time.Minute,
			actions: []plannedAction{{number: 1, at: 12 * time.Minute, kind: "again"},
				{number: 2, at: 12*time.Minute + 10*time.Second, kind: "cancel"}}},
	).withFaults(fault{number: 1, kind: "redis:emptied", from: 5 * time.Minute,
		to: 5 * time.Minute, replicaIndex: -1},
		fault{number: 2, kind: "stripe:down", from: 11 * time.Minute,
			to: 14 * time.Minute, replicaIndex: -1})},
	{"a replica authorizes a card and dies before it answers, and the caller does not repeat the request", quietPlan(30*time.Second, intakePlan{enabled: true},
		plannedHold{number: 1, placedAt: 20 * time.Second, scheduledAt: 20 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur", action: "capture",
			dueAt: 30 * time.Minute, intake: "card",
			card: &cardPayment{paymentMethod: "pm_card_visa", clickOffsets: []time.Duration{0},
				cardholder: "acts", noRetry: true}},
	).withFaults(fault{number: 1, kind: "kill at", atCall: "stripe", afterEffect: true,
		from: 20 * time.Second, to: 25 * time.Second, restartAfter: 5 * time.Second})},
	{"a cardholder clicks twice and Stripe is slow: one request to authorize runs at a time",
		doubleClickPlan()},
	{"a replica pauses during a reconcile run, and resumes when another replica has continued it",
		pauseDuringReconcilePlan()},
	{"an operator requests a reconcile run while one runs and Redis is slow: the first one continues", reconcileRequestedTwicePlan()},
	{"a hold is scheduled without confirm after its policy's time: the request is rejected",
		quietPlan(30*time.Second, intakePlan{},
			plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 5*time.Minute +
				20*time.Second, authorizationWindow: 6 * time.Minute, amount: 5000, currency: "eur",
				action: "none", onExpiry: "cancel", unconfirmed: true})},
	{"a hold is scheduled while Stripe is unavailable, and the first read shows that its policy's time is over: it requires attention, and the policy does not act", quietPlan(5*time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 5*time.Minute +
			10*time.Second, authorizationWindow: 6 * time.Minute, amount: 5000, currency: "eur",
			action: "none", onExpiry: "cancel", unconfirmed: true},
	).withFaults(fault{number: 1, kind: "stripe:down", from: 5 * time.Minute, to: 5*time.Minute +
		13*time.Second, replicaIndex: -1})},
	{"a review lasts past the scheduled capture and is approved: the capture follows",
		quietPlan(5*time.Second, intakePlan{enabled: true, webhooks: true},
			plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
				authorizationWindow: 30 * time.Minute, amount: 5000, currency: "eur",
				action: "capture", dueAt: 5 * time.Minute,
				actions: []plannedAction{{number: 1, at: time.Minute, kind: "dashboard review"},
					{number: 2, at: 8 * time.Minute, kind: "dashboard approve"}}})},
	{"the policy is to cancel, Stripe is unavailable, and a request changes the policy to capture",
		quietPlan(5*time.Second, intakePlan{},
			plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
				authorizationWindow: 30 * time.Minute, amount: 5000, currency: "eur",
				action: "none", onExpiry: "cancel",
				actions: []plannedAction{{number: 1, at: 29*time.Minute + 30*time.Second,
					kind: "patch policy", newPolicy: "capture"}}},
		).withFaults(fault{number: 1, kind: "stripe:dial", atCall: "cancel", from: 28 * time.Minute,
			to: 29*time.Minute + 33*time.Second, probability: 1, replicaIndex: -1})},
	{"Stripe is unavailable for a week and the authorization lasts longer than assumed: the policy reads it first and waits", quietPlan(10*time.Minute, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 9 * 24 * time.Hour, amount: 5000, currency: "eur",
			action: "none", onExpiry: "capture"},
	).withFaults(fault{number: 1, kind: "stripe:down", from: 5 * time.Second,
		to: 7*24*time.Hour - 5*time.Minute, replicaIndex: -1})},
	{"Stripe is unavailable for a week, and the request declared the amount: the policy still reads the intent first", quietPlan(10*time.Minute, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 9 * 24 * time.Hour, amount: 5000, currency: "eur", action: "none",
			onExpiry: "capture", declaresAmount: true, omitsExpiry: true},
	).withFaults(fault{number: 1, kind: "stripe:down", from: 5 * time.Second,
		to: 7*24*time.Hour - 5*time.Minute, replicaIndex: -1})},
	{"a policy changes while its time is checked: the check of the old policy passed the time of both", policyChangedWhenDuePlan()},
	{"two milestones within a second, and Redis is unavailable until the authorization expired: the events have different ids", quietPlan(time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 10 * time.Minute, amount: 5000, currency: "eur", action: "cancel",
			dueAt: 9*time.Minute + 5*time.Second + 838*time.Millisecond},
	).withFaults(fault{number: 1, kind: "redis:down", from: 9*time.Minute + 5*time.Second +
		500*time.Millisecond, to: 10*time.Minute + 5*time.Second + 500*time.Millisecond,
		probability: 1, replicaIndex: -1})},
	{"Redis loses its last seconds, and the next change gets the version that was lost: the events have different ids",
		quietPlan(time.Second, intakePlan{}, plannedHold{number: 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 10 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 8 * time.Minute, actions: []plannedAction{
				{number: 1, at: 61 * time.Second, kind: "patch capture_at",
					newTime: 7 * time.Minute},
				{number: 2, at: 65 * time.Second, kind: "pause"}}},
		).withFaults(fault{number: 1, kind: "redis:lose tail", from: 60 * time.Second,
			to: 63 * time.Second, probability: 1, replicaIndex: -1})},
	{"another system captures a part before the hold is due, without a webhook: the capture takes what is missing from the total", quietPlan(30*time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 10_000, currency: "eur",
			action: "capture", dueAt: 30 * time.Minute, captureAmount: 5000, multi: true,
			actions: []plannedAction{
				{number: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 4000}}},
		plannedHold{number: 2, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 10_000, currency: "eur",
			action: "capture", dueAt: 30 * time.Minute, captureAmount: 5000,
			multi: true, declaresAmount: true,
			actions: []plannedAction{
				{number: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 4000}}},
		plannedHold{number: 3, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 10_000, currency: "eur",
			action: "capture", dueAt: 30 * time.Minute, captureAmount: 5000, multi: true,
			actions: []plannedAction{
				{number: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 6000}}},
		plannedHold{number: 4, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 10_000, currency: "eur",
			action: "capture", dueAt: 30 * time.Minute, multi: true,
			actions: []plannedAction{
				{number: 1, at: 5 * time.Minute, kind: "dashboard part", amount: 4000}}})},
	{"a hold under review, of which another system has captured a part, reaches its margin: its policy releases the rest",
		plan{seed: 566, duration: 14 * time.Hour, jobInterval: 10 * time.Minute, replicas: 1,
			concurrency: 1, partitions: 1, expiryMargin: 14 * time.Minute,
			alertThresholds: []time.Duration{56 * time.Minute, 28 * time.Minute, 14 * time.Minute},
			rateLimit:       2, lease: 30 * time.Second,
			intake: intakePlan{enabled: true, webhooks: true},
			holds: []plannedHold{{number: 5, placedAt: 50 * time.Minute,
				scheduledAt: 65 * time.Minute, authorizationWindow: 338 * time.Minute,
				amount: 9974, currency: "eur", action: "capture", dueAt: 340 * time.Minute,
				captureAmount: 9609, declaresAmount: true, intake: "inbox", multi: true,
				unconfirmed: true,
				reference:   "BK-5", actions: []plannedAction{
					{number: 1, at: 285 * time.Minute, kind: "dashboard review"},
					{number: 2, at: 286 * time.Minute, kind: "dashboard part", amount: 1784}}}}}},
	{"webhooks are thin events: holdd reads each intent, and adopts the one with terms",
		thinEventsPlan()},
	{"signed events that Stripe never sent: each hold is captured in time, unless it is under review",
		forgedEventsPlan()},
	{"a later release writes holds and puts some into an unknown state: nothing is lost",
		laterReleasePlan()},
	{"an organization's key acts for a connected account, whose path its events have",
		organizationPlan()},
	{"an increment happens during an older list request: the newer amount stays",
		incrementDuringListPlan()},
	{"the event of an increment arrives before that of the authorization: the newer amount stays",
		snapshotPlan(plannedAction{number: 1, at: 65 * time.Second, kind: "dashboard increment",
			amount: 9000}, intakePlan{maxWebhookDelay: 4 * time.Minute}, 0)},
	{"Stripe answers no read, and the events of authorizations arrive up to ten minutes late",
		snapshotPlan(plannedAction{number: 1, at: 65 * time.Second, kind: "dashboard increment",
			amount: 9000}, intakePlan{maxWebhookDelay: 10 * time.Minute}, 12*time.Minute)},
	{"Stripe answers no read, another system captures a part, and half of the events are lost",
		snapshotPlan(plannedAction{number: 1, at: 20 * time.Second, kind: "dashboard part",
			amount: 2000}, intakePlan{maxWebhookDelay: 2 * time.Minute, webhookLossRate: 0.5},
			2*time.Minute)},
	{"the events of authorizations arrive after their holds were read: they lead to no read",
		snapshotPlan(plannedAction{number: 1, at: 10 * time.Minute, kind: "dashboard increment",
			amount: 9000}, intakePlan{maxWebhookDelay: time.Minute}, 0)},
	{"three replicas mirror the same terms at once: one of them writes them", mirrorReplicasPlan()},
	{"Klarna's window, which ends at midnight UTC, taken for 28 whole days", klarnaMidnightPlan()},
	{"Stripe captures, answers 400 and says Stripe-Should-Retry: true: that is no refusal",
		shouldRetryPlan("stripe:refused after, retry")},
	{"Stripe refuses with Stripe-Should-Retry: true and has captured nothing",
		shouldRetryPlan("stripe:refused, retry")},
	{"Stripe answers 409 with Stripe-Should-Retry: false: holdd reads before the next request",
		shouldRetryPlan("stripe:conflict, no retry")},
	{"Stripe captures and answers 409 with Stripe-Should-Retry: false: the read shows the capture",
		shouldRetryPlan("stripe:conflict after, no retry")},
	{"a fee meets a part that another system captured, and a change between two attempts",
		captureParamsPlan()},
	{"Redis is emptied, and the capture still has its fee", mirroredCaptureParamsPlan()},
	{"the key is that of another account during a comparison: the 404s send no hold to attention",
		wrongKeyPlan(intakePlan{reconcileInterval: time.Minute})},
	{"the key is that of another account when reviews are reported: the 404s send no hold to attention",
		wrongKeyPlan(intakePlan{webhooks: true})},
	{"terms in metadata capture less than a run of the job before the deadline",
		quietPlan(30*time.Second, intakePlan{enabled: true, webhooks: true}, plannedHold{number: 1,
			placedAt: 5 * time.Second, scheduledAt: 5 * time.Second, intake: "metadata",
			authorizationWindow: 10 * time.Minute, amount: 5000, currency: "eur",
			action: "capture", dueAt: 595 * time.Second, onExpiry: "cancel"})},
	{"Stripe refuses the cancel of an abandoned intent: the same key repeated the refusal for good",
		drawPlan(1796097097242140758)},
}, append(partsRegressions, renewalRegressions...)...)

// shouldRetryPlan is a world with one capture whose first answers have a
// Stripe-Should-Retry that contradicts the status.
func shouldRetryPlan(kind string) plan {
	return quietPlan(5*time.Second, intakePlan{},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 6 * time.Second,
			authorizationWindow: 30 * time.Minute, amount: 5000, currency: "eur",
			action: "capture", dueAt: time.Minute},
	).withFaults(fault{number: 1, kind: kind, atCall: "capture", from: 55 * time.Second,
		to: 70 * time.Second, probability: 1, replicaIndex: -1})
}

// quietPlan is a world of one replica and one partition, without faults and
// without actions of an operator.
func quietPlan(tick time.Duration, w intakePlan, holds ...plannedHold) plan {
	for i := range holds {
		holds[i].reference = "BK"
	}
	return plan{seed: 1, duration: 240 * time.Hour, jobInterval: tick, replicas: 1, concurrency: 2,
		partitions: 1, expiryMargin: time.Minute, alertThresholds: []time.Duration{4 * time.Minute,
			2 * time.Minute, time.Minute},
		rateLimit: 25, lease: 30 * time.Second, intake: w, holds: holds}
}

func (p plan) withFaults(faults ...fault) plan {
	p.faults = faults
	return p
}

func lostCommitReplyPlan() plan {
	var all []plannedHold
	for n := range 8 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 20 * time.Minute,
			actions: []plannedAction{{number: 1, at: time.Minute, kind: "patch capture_at",
				newTime: 10 * time.Minute, ifUnchanged: true}}})
	}
	return quietPlan(5*time.Second, intakePlan{}, all...).withFaults(
		fault{number: 1, kind: "redis:cut after", atCall: "commit", from: 59 * time.Second,
			to: 61 * time.Second, probability: 0.4, replicaIndex: -1})
}

// overtakenChangePlan is a world in which the reply to a change is lost, and
// before it can be repeated another replica has acted on the hold.
func overtakenChangePlan() plan {
	var all []plannedHold
	for n := range 48 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: time.Minute,
			actions: []plannedAction{
				{number: 1, at: time.Minute - 4*time.Millisecond - time.Duration(
					n)*50*time.Microsecond, kind: []string{"patch amount", "capture part", "cancel",
					"patch capture_at"}[n%4],
					amount: int64(1000 + n), newTime: time.Minute - time.Millisecond}}})
	}
	p := quietPlan(time.Second, intakePlan{}, all...)
	p.replicas, p.concurrency, p.rateLimit = 2, 48, 100
	return p.withFaults(fault{number: 1, kind: "redis:cut after", atCall: "commit",
		from: time.Minute - 20*time.Millisecond, to: time.Minute - time.Millisecond,
		probability: 0.5, replicaIndex: 0},
		fault{number: 2, kind: "redis:slow", atCall: "commit",
			from: time.Minute - 20*time.Millisecond, to: time.Minute + 100*time.Millisecond,
			probability: 1, replicaIndex: 0})
}

// policyChangedWhenDuePlan is a world in which policies change from alert to
// capture or cancel about the time at which they are due.
func policyChangedWhenDuePlan() plan {
	var all []plannedHold
	for n := range 48 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 10 * time.Minute, amount: 5000,
			currency: "eur", action: "none", onExpiry: "alert",
			actions: []plannedAction{
				{number: 1, at: 9*time.Minute + 5*time.Second - 3*time.Millisecond +
					time.Duration(n)*125*time.Microsecond, kind: "patch policy",
					newPolicy: []string{"capture", "cancel"}[n%2]}}})
	}
	p := quietPlan(time.Second, intakePlan{}, all...)
	p.concurrency, p.rateLimit = 48, 100
	return p
}

func doubleClickPlan() plan {
	p := quietPlan(5*time.Second, intakePlan{enabled: true},
		plannedHold{number: 1, placedAt: 20 * time.Second, scheduledAt: 20 * time.Second,
			authorizationWindow: 30 * time.Minute, amount: 5000, currency: "eur", action: "capture",
			dueAt: 2 * time.Minute, intake: "card",
			card: &cardPayment{paymentMethod: "pm_card_visa", clickOffsets: []time.Duration{
				0, 2 * time.Second, 3 * time.Second}, cardholder: "acts"}})
	p.replicas, p.serviceTime = 3, 6*time.Second
	return p
}

func pauseDuringReconcilePlan() plan {
	var all []plannedHold
	for n := range 6 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5*time.Second +
			time.Duration(n)*time.Second, scheduledAt: 12 * time.Second,
			authorizationWindow: 30 * time.Minute, amount: 5000, currency: "eur", action: "capture",
			dueAt: 20 * time.Minute})
	}
	p := quietPlan(5*time.Second, intakePlan{enabled: true, reconcileInterval: time.Minute,
		listPageSize: 2}, all...)
	p.replicas = 2
	return p.withFaults(fault{number: 1, kind: "stripe:slow reply", atCall: "list",
		from: 55 * time.Second, to: 66 * time.Second, probability: 1, replicaIndex: -1},
		fault{number: 2, kind: "pause", from: 64 * time.Second,
			to: 150 * time.Second, replicaIndex: 1})
}

func reconcileRequestedTwicePlan() plan {
	var all []plannedHold
	for n := range 6 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 20 * time.Minute})
	}
	p := quietPlan(5*time.Second, intakePlan{enabled: true, reconcileInterval: time.Minute,
		listPageSize: 1, reconcileRequests: []reconcileRequest{{at: 61400 * time.Millisecond},
			{at: 62400 * time.Millisecond}, {at: 63400 * time.Millisecond}}}, all...)
	p.rateLimit = 2
	for n := range 3 {
		at := time.Duration(61400+1000*n) * time.Millisecond
		p.faults = append(p.faults, fault{number: n + 1, kind: "redis:late", atCall: "compare",
			from: at, to: at + 10*time.Millisecond, probability: 1, replicaIndex: -1})
	}
	return p
}

// redisClockSetBackPlan is a world in which many holds are claimed as they fall
// due, and once more when a clock that was set back shows the same moment
// again. Some claims of the second time come in the same millisecond as the
// first.
func redisClockSetBackPlan(seed uint64) plan {
	var all []plannedHold
	for n := range 24 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 30 * time.Second, captureAmount: 4000,
			actions: []plannedAction{{number: 1, at: 32 * time.Second, kind: "patch amount",
				amount: 3000}, {number: 2, at: 33 * time.Second, kind: "patch amount",
				amount: 2000}, {number: 3, at: 34 * time.Second,
				kind: "patch amount", amount: 1000}}})
	}
	p := quietPlan(time.Second, intakePlan{}, all...)
	p.seed, p.replicas, p.concurrency, p.partitions, p.rateLimit = seed, 2, 24, 8, 100
	return p.withFaults(fault{number: 1, kind: "stripe:late", atCall: "capture",
		from: 29 * time.Second, to: 37 * time.Second, probability: 1, replicaIndex: -1},
		fault{number: 2, kind: "redis:lose tail", from: 29500 * time.Millisecond,
			to: 31500 * time.Millisecond, probability: 1, replicaIndex: -1,
			clockStep: -5 * time.Second})
}

// strictRatePlan is of captures that are due at once, of which Stripe allows less
// than is configured.
func strictRatePlan(seed uint64) plan {
	var all []plannedHold
	for n := range 150 {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 30 * time.Second, captureAmount: 5000})
	}
	p := quietPlan(time.Second, intakePlan{}, all...)
	p.seed, p.replicas, p.concurrency, p.rateLimit, p.strictRate = seed, 3, 24, 25, 8
	return p
}

func pauseWithClaimsPlan() plan {
	p := plan{seed: 1, duration: 2 * time.Minute, jobInterval: time.Second, replicas: 2,
		concurrency: 2, partitions: 1, expiryMargin: 6 * time.Second,
		alertThresholds: []time.Duration{24 * time.Second, 12 * time.Second, 6 * time.Second},
		rateLimit:       25, lease: 30 * time.Second,
		faults: []fault{
			{number: 1, kind: "stripe:late", from: 19 * time.Second, to: 26 * time.Second,
				probability: 1, replicaIndex: -1},
			{number: 2, kind: "pause", from: 21500 * time.Millisecond,
				to: 70 * time.Second, replicaIndex: 0}}}
	for n := range 12 {
		p.holds = append(p.holds, plannedHold{number: n + 1, placedAt: 3*time.Second +
			time.Duration(n)*time.Millisecond, scheduledAt: 4*time.Second +
			time.Duration(n)*time.Millisecond, authorizationWindow: 5 * time.Minute,
			amount: 1000, currency: "eur", action: "capture", dueAt: 20 * time.Second,
			onExpiry: "capture", reference: "BK"})
	}
	return p
}

var everyNth = flag.Int("every", 8,
	"TestRegressions runs every nth plan; make prove asks for all")

func TestRegressions(t *testing.T) {
	var failed atomic.Bool
	for i := 0; i < len(regressions); i += *everyNth {
		k := regressions[i]
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			if *stopAtFirst && failed.Load() {
				t.Skip("another world has failed")
			}
			if o := runPlan(t, k.plan); len(o.breaches) > 0 {
				failed.Store(true)
				t.Errorf("%s:\n%s%s\n%s", k.why, &o.plan, o.summary, strings.Join(o.breaches, "\n"))
			}
		})
	}
}
