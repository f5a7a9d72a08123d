package simtest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// judgedHold is one hold, and what the judge knows of it.
type judgedHold struct {
	*plannedHold
	intentID         string
	intent           stripesim.IntentState
	effects          []stripesim.Effect // after the authorization
	termsHistory     termsHistory
	apiRequests      []*apiRequest
	stripeRequests   []*stripeRequest
	finalHold        *hold.Hold
	events           []event.Envelope
	authorizedAt     time.Time // when the money was authorized
	deadline         time.Time // Stripe's
	earliestDeadline time.Time // the nearest that holdd can have known
	// policyDeadline is the nearest at which the policy may act: it does not
	// act on an assumed one without a read.
	policyDeadline time.Time
	lostWrites     bool // Redis lost writes about the time of a request for an effect
}

// judgedHolds are the holds that were authorized. Those with renewal terms have
// rules of their own, because their money moves from one intent to the next, and
// so have those that are captured in parts.
func (j *judge) judgedHolds() (all, renewed, staged []*judgedHold) {
	for i := range j.plan.holds {
		h := &j.plan.holds[i]
		id := j.intentIDs[h.number]
		if id == "" {
			continue // the run ended before it was placed
		}
		c := &judgedHold{plannedHold: h, intentID: id, finalHold: j.finalHolds[id]}
		c.intent, _ = j.sim.Intent(id)
		c.deadline = c.intent.CaptureBefore
		if c.deadline.IsZero() {
			continue // the card was declined
		}
		j.addEffects(c)
		j.addAPIRequests(c)
		j.addStripeRequests(c)
		for _, e := range j.events {
			if e.Data.Hold.ID == id {
				c.events = append(c.events, e)
			}
		}
		for _, k := range c.termsHistory.accepted {
			k.attentionCleared = k.result.State == hold.Scheduled && slices.ContainsFunc(c.events,
				func(e event.Envelope) bool {
					return e.Type == hold.EventAttention && !e.Timestamp.After(k.answeredAt)
				})
		}
		j.addIntakeRequests(c)
		j.addDeadlines(c)
		switch {
		case h.renewal.until > 0:
			renewed = append(renewed, c)
		case h.staged.inParts:
			staged = append(staged, c)
		default:
			all = append(all, c)
		}
	}
	return all, renewed, staged
}

func (j *judge) addEffects(c *judgedHold) {
	for _, e := range j.sim.Ledger() {
		switch {
		case e.Intent == c.intentID && e.Kind == stripesim.EffectAuthorized:
			c.authorizedAt = e.Time
		case e.Intent == c.intentID:
			c.effects = append(c.effects, e)
		}
	}
}

func (j *judge) addAPIRequests(c *judgedHold) {
	for _, k := range j.world.apiRequests {
		if k.intentID != c.intentID {
			continue
		}
		c.apiRequests = append(c.apiRequests, k)
		switch {
		case k.isOutcomeUnknown() || k.isAccepted() && j.lostRedisWrites(k.sentAt, k.answeredAt):
			c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		case k.isAccepted():
			c.termsHistory.accepted = append(c.termsHistory.accepted, k)
		}
	}
	sortAccepted(c)
}

func (j *judge) addStripeRequests(c *judgedHold) {
	for _, r := range j.world.stripeRequests {
		if r.intent != c.intentID {
			continue
		}
		c.stripeRequests = append(c.stripeRequests, r)
		if r.op != "read" && j.lostRedisWrites(r.sentAt.Add(-time.Minute),
			r.sentAt.Add(time.Minute)) {
			c.lostWrites = true
		}
	}
}

func (j *judge) addDeadlines(c *judgedHold) {
	c.earliestDeadline = c.deadline
	for _, before := range j.intakeObserved.earlierDeadlines[c.number] {
		c.earliestDeadline = earlierTime(c.earliestDeadline, before)
	}
	if c.declaresExpiry() {
		declared := j.timeAt(c.placedAt + c.authorizationWindow + c.expiryError).Truncate(
			time.Second)
		c.earliestDeadline = earlierTime(c.earliestDeadline, declared)
		c.policyDeadline = c.earliestDeadline
		return
	}
	c.policyDeadline = c.earliestDeadline
	assumed := j.redisTimeAt(j.timeAt(c.scheduledAt)).Add(7 * 24 * time.Hour)
	c.earliestDeadline = earlierTime(c.earliestDeadline, assumed)
}

// partsAt is the sum that another system has captured by a time, leaving the
// rest held.
func (c *judgedHold) partsAt(at time.Time) (sum int64) {
	for _, e := range c.effects {
		if e.Kind == stripesim.EffectCaptured && !e.Final && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum
}

// allowedCaptureAmounts are the amounts that a capture under these terms may
// have. Of a requested total it is the part that other systems have not
// captured, as known between early and late.
func (c *judgedHold) allowedCaptureAmounts(t *terms, early, at time.Time) (all []int64) {
	if t.captureAmount > 0 {
		all = []int64{max(0, t.captureAmount-c.partsAt(early))}
		for _, e := range c.effects {
			if e.Time.After(early) && !e.Time.After(at) {
				all = append(all, max(0, t.captureAmount-c.partsAt(e.Time)))
			}
		}
		return all
	}
	if c.declaresAmount && c.amountError != 0 && len(c.apiRequests) == 1 && c.intake == "" &&
		c.termsHistory.beforeEmptied == nil {
		return []int64{c.amount + c.amountError} // never more than the caller stated
	}
	held := c.heldAmountAt(at)
	if t.largestPart() > 0 && c.multi { // it names the amount that was read
		if c.lostWrites {
			early = c.authorizedAt
		}
		all = c.amountsHeldBetween(early, at)
	}
	if c.declaresAmount {
		all = append(all, c.amount, c.amount+c.amountError)
	}
	return append(all, held)
}

// hadEffectBy reports whether the hold had ended at Stripe by a time.
func (c *judgedHold) hadEffectBy(by time.Time) bool {
	return slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool {
		return e.Final && !e.Time.After(by)
	})
}

// heldAmountAt is the amount that Stripe held at a time, increments included.
func (c *judgedHold) heldAmountAt(at time.Time) int64 {
	sum := c.amount
	for _, e := range c.effects {
		if e.Kind == stripesim.EffectIncremented && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum - c.partsAt(at)
}

func (c *judgedHold) hasWrongAccount() bool { return c.plannedHold.requestedAccount != "" }

// moneyHeldUntil is the time at which Stripe held no money for it any more.
func (c *judgedHold) moneyHeldUntil() time.Time {
	for _, e := range c.effects {
		if e.Final {
			return e.Time
		}
	}
	return c.deadline
}

// endReportedAt is the time of the event that reports the end of the hold.
func (c *judgedHold) endReportedAt() time.Time {
	for _, e := range c.events {
		if e.Type == hold.EventCaptured || e.Type == hold.EventCanceled ||
			e.Type == hold.EventExpired {
			return e.Timestamp
		}
	}
	return time.Time{}
}

// addIntakeRequests adds the requests without an answer: terms in metadata,
// inbox entries, clicks. One counts as accepted from the time at which holdd
// reports that it scheduled it.
func (j *judge) addIntakeRequests(c *judgedHold) {
	if !j.plan.intake.enabled {
		return
	}
	req := c.scheduleRequest(j.world, c.intentID)
	addIndeterminate := func(kind string, at time.Time) *apiRequest {
		k := &apiRequest{holdNumber: c.number, intentID: c.intentID, kind: kind, schedule: req,
			sentAt: at, answeredAt: at}
		c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		return k
	}
	switch c.intake {
	case "metadata":
		if !c.invalidMetadata {
			j.acceptIfReported(c, addIndeterminate("metadata", j.timeAt(c.placedAt)),
				time.Time{}, "stripe", "reconcile")
		}
	case "inbox":
		for _, p := range j.intakeObserved.inboxPosts {
			if p.holdNumber == c.number {
				j.acceptIfReported(c, addIndeterminate("inbox", p.at), time.Time{}, "inbox")
			}
		}
	case "card":
		k := addIndeterminate("click", j.timeAt(c.placedAt))
		for _, x := range j.intakeObserved.authorizations {
			if x.holdNumber == c.number && x.isAccepted() && x.result.Hold != nil &&
				!j.lostRedisWrites(x.sentAt, x.answeredAt) {
				// Whichever click was answered first, the hold may exist since
				// the first one.
				k := &apiRequest{holdNumber: c.number, intentID: c.intentID, kind: "click",
					schedule: req, sentAt: j.timeAt(c.placedAt), answeredAt: x.answeredAt,
					replyReceived: true, result: *x.result.Hold}
				k.result.Revision = 1 // however far it had come by then
				c.termsHistory.accepted = append(c.termsHistory.accepted, k)
				break
			}
		}
		if !slices.ContainsFunc(c.termsHistory.accepted, func(k *apiRequest) bool {
			return k.kind == "click"
		}) {
			j.acceptIfReported(c, k, time.Time{}, "people", "stripe", "reconcile")
		} else {
			c.termsHistory.indeterminate = slices.DeleteFunc(c.termsHistory.indeterminate,
				func(u *apiRequest) bool { return u == k })
		}
	}
	j.sortRequests(c)
	j.addDataLoss(c)
}

// addDataLoss begins a second history of the terms if Redis was emptied: with
// the terms that were in the metadata at that time.
func (j *judge) addDataLoss(c *judgedHold) {
	t := j.intakeObserved.redisEmptiedAt
	if t.IsZero() || t.Before(c.intent.Created) {
		return
	}
	all, before := c.termsHistory.accepted,
		termsHistory{indeterminate: c.termsHistory.indeterminate}
	c.termsHistory = termsHistory{redisEmptiedAt: t, beforeEmptied: &before}
	for _, k := range all {
		// revisions begin at 1 again: those from before give no order
		switch {
		case !k.sentAt.Before(t):
			c.termsHistory.accepted = append(c.termsHistory.accepted, k)
			continue
		case k.answeredAt.After(t.Add(-2 * time.Second)):
			c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		}
		before.accepted = append(before.accepted, k)
	}
	for _, k := range before.indeterminate {
		if k.sentAt.After(t.Add(-time.Minute)) {
			c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		}
	}
	if st := j.intakeObserved.intentsWhenEmptied[c.number]; st.hasTerms() {
		k := st.asAPIRequest(c, t)
		c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
		j.acceptIfReported(c, k, t, "stripe", "reconcile")
	}
	j.sortRequests(c)
}

func sortAccepted(c *judgedHold) {
	slices.SortStableFunc(c.termsHistory.accepted, func(a, b *apiRequest) int {
		return cmp.Or(cmp.Compare(a.result.Revision, b.result.Revision),
			a.answeredAt.Compare(b.answeredAt))
	})
}

func (j *judge) sortRequests(c *judgedHold) {
	sortAccepted(c)
	slices.SortStableFunc(c.termsHistory.indeterminate, func(a, b *apiRequest) int {
		return a.sentAt.Compare(b.sentAt)
	})
}

// acceptIfReported counts an indeterminate request as accepted if holdd reports
// that it scheduled this one, and when.
func (j *judge) acceptIfReported(c *judgedHold, k *apiRequest, since time.Time, by ...string) {
	if c.finalHold == nil || c.finalHold.HistoryDropped > 0 || len(c.finalHold.History) == 0 ||
		!slices.Contains(by, c.finalHold.History[0].By) {
		return
	}
	for _, e := range c.events {
		if e.Type != hold.EventScheduled || e.Timestamp.Before(since) ||
			e.Timestamp.Before(k.sentAt.Truncate(time.Millisecond)) ||
			j.lostRedisWrites(e.Timestamp, e.Timestamp) {
			continue
		}
		k.answeredAt, k.replyReceived, k.result.Revision = e.Timestamp, true, 1
		for _, a := range c.events {
			if a.Type == hold.EventAttention && !a.Timestamp.After(e.Timestamp.Add(time.Second)) {
				k.result.State = hold.Attention
			}
		}
		c.termsHistory.indeterminate = slices.DeleteFunc(c.termsHistory.indeterminate,
			func(u *apiRequest) bool { return u == k })
		c.termsHistory.accepted = append(c.termsHistory.accepted, k)
		return
	}
}

// hasTerms reports whether the metadata has terms for an intent that holds
// money.
func (s intentSnapshot) hasTerms() bool {
	if s.status != "requires_capture" || s.metadata["holdd_on_expiry"] == "perhaps" {
		return false
	}
	for k := range s.metadata {
		if strings.HasPrefix(k, "holdd_") && k != "holdd_authorization" && k != "holdd_metadata" {
			return true
		}
	}
	return false
}

func (s intentSnapshot) asAPIRequest(c *judgedHold, at time.Time) *apiRequest {
	m := s.metadata
	part, _ := strconv.ParseInt(m["holdd_capture_amount"], 10, 64)
	return &apiRequest{holdNumber: c.number, intentID: c.intentID, kind: "stood", sentAt: at,
		answeredAt: at, pausedAtStripe: m["holdd_paused"] == "true",
		schedule: hold.ScheduleRequest{CaptureAt: m["holdd_capture_at"],
			CancelAt: m["holdd_cancel_at"], CaptureAmount: part, OnExpiry: m["holdd_on_expiry"],
			CaptureParams: captureParamsOf(m)}}
}

// schedulingKinds are the kinds of requests that create a hold.
var schedulingKinds = map[string]bool{"schedule": true, "other": true, "metadata": true,
	"inbox": true, "click": true, "stood": true}
