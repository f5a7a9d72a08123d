package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker"
)

// intakePlan is the part of a plan for sources other than the API. With its
// zero value all holds come from the API.
type intakePlan struct {
	enabled              bool
	webhooks             bool          // Stripe's events are delivered
	chargeWebhooks       bool          // those of uncaptured charges as well
	webhookLossRate      float64       // of them, never
	webhookDuplicateRate float64       // of them, again
	maxWebhookDelay      time.Duration // at the most, until one is first sent
	mirrorInterval       time.Duration // schedule of the mirror, 0: off
	// schedule of reconcile, 0: only the one that each Redis begins with
	reconcileInterval time.Duration
	reconcileRequests []reconcileRequest // reconcile runs that an operator requests
	// intents of one page of a list, 0: as many as are asked for
	listPageSize        int
	invalidInboxEntries []invalidInboxEntry // inbox entries that are rejected
	// events are thin, except those of reviews, which have an endpoint of their
	// own
	thinEvents bool
}

// reconcileRequest is an operator's request for a reconcile run.
type reconcileRequest struct {
	at     time.Duration
	dryRun bool
}

// invalidInboxEntry is an inbox entry that is not a valid request.
type invalidInboxEntry struct {
	number  int
	at      time.Duration
	payload string
}

// cardPayment is how a hold is authorized by holdd.
type cardPayment struct {
	paymentMethod string
	// after the hold's time, each with the same key at a replica of its own
	clickOffsets []time.Duration
	cardholder   string        // acts, fails, leaves; of a card that asks for 3-D Secure
	thinkTime    time.Duration // until the cardholder has acted
	secondCard   string        // card that is tried once the first was refused
	noRetry      bool          // the caller does not repeat a request whose reply was lost
}

func (p *plan) String() string {
	var s strings.Builder
	fmt.Fprintf(
		&s, "%d replicas of %d handlers, %d partitions, a tick every %s, %d requests a second (Stripe allows %.0f), margin %s\n", p.replicas, p.concurrency, p.partitions, p.jobInterval, p.rateLimit, p.stripeRate(), p.expiryMargin)
	if p.intake.enabled {
		fmt.Fprintf(
			&s, "  webhooks %v (%.0f%% lost, %.0f%% doubled, up to %s late), mirror every %s, reconcile every %s, pages of %d\n", p.intake.webhooks, p.intake.webhookLossRate*100, p.intake.webhookDuplicateRate*100, p.intake.maxWebhookDelay, p.intake.mirrorInterval, p.intake.reconcileInterval, p.intake.listPageSize)
	}
	if p.intake.thinEvents {
		s.WriteString("  webhooks are thin events\n")
	}
	if p.organizationKey {
		s.WriteString("  the API key is one of an organization\n")
	}
	if p.redisClockAhead != 0 {
		fmt.Fprintf(&s, "  Redis' clock is ahead by %s\n", p.redisClockAhead)
	}
	if p.eventVersion != "" {
		fmt.Fprintf(&s, "  events in version %s\n", p.eventVersion)
	}
	for _, h := range p.holds {
		fmt.Fprintf(&s, "  %s\n", h)
	}
	for _, a := range p.intake.reconcileRequests {
		fmt.Fprintf(&s, "  comparison asked for at +%s, dry %v\n", a.at, a.dryRun)
	}
	for _, l := range p.intake.invalidInboxEntries {
		fmt.Fprintf(&s, "  entry of the inbox +%s: %s\n", l.at, l.payload)
	}
	for _, f := range p.faults {
		fmt.Fprintf(&s, "  fault %d: %s\n", f.number, f)
	}
	return s.String()
}

// describeIntake names the source of a hold.
func (p *plannedHold) describeIntake() string {
	switch p.intake {
	case "metadata":
		if p.invalidMetadata {
			return ", by metadata that nobody can read"
		}
		return ", by metadata"
	case "inbox":
		return fmt.Sprintf(", by the inbox, again after %s", p.repeatAfter)
	case "card":
		return fmt.Sprintf(", by card %+v", *p.card)
	}
	return ""
}

// schedules are the schedules of the cron jobs. A job without work in this
// world hardly ever runs.
func (p *plan) schedules() worker.CronSchedules {
	every := func(d time.Duration) string {
		if d == 0 {
			d = 2160 * time.Hour
		}
		return "@every " + d.String()
	}
	s := worker.CronSchedules{Capture: every(p.jobInterval), Expiry: every(p.jobInterval),
		Report: every(p.jobInterval * 12), Purge: every(0), Verify: every(p.jobInterval * 4),
		Refresh: every(0), Inbox: every(0), Mirror: every(0), Resume: every(0), Reconcile: every(0)}
	if !p.intake.enabled {
		return s
	}
	s.Mirror, s.Reconcile, s.Report = every(p.intake.mirrorInterval),
		every(p.intake.reconcileInterval), every(p.jobInterval*4)
	if p.intake.webhooks {
		s.Refresh = every(p.pollInterval())
	}
	if len(p.intake.invalidInboxEntries) > 0 {
		s.Inbox = every(p.pollInterval())
	}
	for _, h := range p.holds {
		switch h.intake {
		case "inbox":
			s.Inbox = every(p.pollInterval())
		case "card":
			s.Resume = every(max(p.pollInterval(), 10*time.Second))
		}
	}
	return s
}

// pollInterval is the interval of the intake jobs.
func (p *plan) pollInterval() time.Duration { return max(p.jobInterval, time.Second) }

// drawIntake gives some holds a source other than the API, and adds faults of
// these sources.
func (p *plan) drawIntake() {
	d := newRNG(p.seed, "ways")
	if !d.chance(0.3) {
		return
	}
	w := &p.intake
	w.enabled = true
	if w.webhooks = d.chance(0.75); w.webhooks {
		w.webhookLossRate, w.webhookDuplicateRate = pickOne(d, 0, 0, 0.1, 0.5),
			pickOne(d, 0, 0.3, 1)
		w.maxWebhookDelay = pickOne(d, 2*time.Second, p.jobInterval*2, p.duration/10)
	}
	if d.chance(0.65) {
		w.mirrorInterval = max(2*time.Second, p.jobInterval*time.Duration(pickOne(d, 1, 3)))
	}
	if d.chance(0.65) {
		w.reconcileInterval = max(20*time.Second, p.duration/time.Duration(pickOne(d, 5, 10)))
	}
	w.thinEvents = w.webhooks && newRNG(p.seed, "thin").chance(0.4)
	w.listPageSize = pickOne(d, 0, 0, 1, 3)
	if d.chance(0.2) {
		for range 1 + d.IntN(3) {
			w.reconcileRequests = append(w.reconcileRequests, reconcileRequest{at: replicasUpAfter +
				d.durationBetween(0, p.duration), dryRun: d.chance(0.3)})
		}
	}
	for i := range p.holds {
		p.drawHoldIntake(&p.holds[i])
		p.drawReviewOrDeadlineChange(&p.holds[i])
	}
	if d.chance(0.25) {
		for n := range 1 + d.IntN(3) {
			w.invalidInboxEntries = append(w.invalidInboxEntries, invalidInboxEntry{number: n + 1,
				at: replicasUpAfter + d.durationBetween(0, p.duration),
				payload: pickOne(d, `{`, `null`, `{"payment_intent":"pi_12345678","Amount":5}`,
					`{"payment_intent":"x"}`,
					`{"payment_intent":"pi_12345678","capture_at":"1999-12-31T00:00:00Z"}`)})
		}
	}
	add := func(f fault) {
		f.number = 1000 + len(p.faults)
		p.faults = append(p.faults, f)
	}
	if d.chance(0.35) {
		if d.chance(0.5) {
			p.faults = nil // what the mirror leaves undone shows only where nothing else is wrong
		}
		at := replicasUpAfter + d.durationBetween(p.duration/4, p.duration*3/4)
		add(fault{kind: "redis:emptied", from: at, to: at, replicaIndex: -1})
	}
	if d.chance(0.25) { // no replica runs when a hold arrives
		at := p.holds[d.IntN(len(p.holds))].scheduledAt - d.durationBetween(0, time.Second)
		for slot := range p.replicas {
			add(fault{kind: "kill", from: at + time.Duration(slot)*time.Millisecond, to: at,
				replicaIndex: slot, restartAfter: d.durationBetween(2*time.Second, 20*time.Second)})
		}
	}
	for i := range p.holds { // where it comes in
		h, d := &p.holds[i], newRNG(p.seed, "coming in", fmt.Sprint(p.holds[i].number))
		for _, a := range h.actions {
			if strings.HasPrefix(a.kind, "dashboard") && p.intake.webhooks && d.chance(0.4) {
				add(fault{kind: "redis:cut before", atCall: "note", from: a.at, to: a.at +
					min(p.intake.maxWebhookDelay, 30*time.Minute) + time.Second,
					probability: pickOne(d, 0.6, 1), replicaIndex: -1})
			}
		}
		switch {
		case h.intake == "card" && h.card.noRetry && d.chance(0.7):
			add(fault{kind: "kill at", atCall: "stripe", afterEffect: true, from: h.placedAt,
				to: h.placedAt + 20*time.Second, replicaIndex: d.IntN(p.replicas),
				restartAfter: d.durationBetween(time.Second, 40*time.Second)})
		case h.intake == "card" && d.chance(0.3):
			add(fault{kind: "stripe:" + pickOne(d, "error_after", "error_after", "error_before",
				"drop_reply", "html_after", "cut_body", "late"),
				atCall: pickOne(d, "create", "create", "confirm"),
				from:   h.placedAt, to: h.placedAt + pickOne(d, time.Second, 5*time.Second,
					40*time.Second), probability: pickOne(d, 0.5, 1), replicaIndex: -1})
		case h.intake == "inbox" && d.chance(0.25):
			add(fault{kind: "kill at", atCall: pickOne(d, "inbox", "inbox", "handled", "commit"),
				afterEffect: d.chance(0.7), from: h.scheduledAt, to: h.scheduledAt +
					3*p.pollInterval(), replicaIndex: d.IntN(p.replicas),
				restartAfter: d.durationBetween(time.Second, 40*time.Second)})
		case h.intake == "inbox" && d.chance(0.25):
			add(fault{kind: pickOne(d, "redis:cut before", "redis:cut after"),
				atCall: pickOne(d, "read", "commit", "handled"), from: h.scheduledAt,
				to: h.scheduledAt + 2*p.pollInterval(), probability: 1, replicaIndex: -1})
		case h.intake == "metadata" && p.intake.webhooks && d.chance(0.15):
			add(fault{kind: pickOne(d, "redis:cut before", "redis:cut after"),
				atCall: pickOne(d, "read", "commit", "note"), from: h.placedAt, to: h.placedAt +
					p.intake.maxWebhookDelay, probability: 0.6, replicaIndex: -1})
		}
	}
	if d.chance(0.4) { // in the middle of it
		at := p.holds[d.IntN(len(p.holds))].placedAt
		add(fault{kind: "kill at", from: at, to: at + p.jobInterval*2 + 5*time.Second,
			replicaIndex: d.IntN(p.replicas), atCall: pickOne(d, "attempt", "attempt", "inbox",
				"handled", "note", "commit", "stripe", "stripe", "compare"),
			afterEffect: d.chance(0.6), restartAfter: d.durationBetween(
				time.Second, 40*time.Second)})
	}
}

func (p *plan) drawHoldIntake(h *plannedHold) {
	d := newRNG(p.seed, "way", fmt.Sprint(h.number))
	switch h.intake = pickOne(d, "", "", "metadata", "metadata", "inbox",
		"card", "card"); h.intake {
	case "metadata":
		h.clearDeclarations()
		h.invalidMetadata = d.chance(0.15)
	case "inbox":
		if d.chance(0.4) {
			h.repeatAfter = d.durationBetween(time.Millisecond,
				pickOne(d, time.Second, p.jobInterval*2, 40*time.Second))
		}
	case "card":
		h.clearDeclarations()
		c := cardPayment{paymentMethod: pickOne(d, "pm_card_visa", "pm_card_visa",
			"pm_card_threeDSecure2Required", "pm_card_threeDSecure2Required",
			"pm_card_visa_chargeDeclinedInsufficientFunds")}
		for range pickOne(d, 1, 2, 2, 3) {
			c.clickOffsets = append(c.clickOffsets,
				d.durationBetween(0, pickOne(d, 20*time.Millisecond,
					2*time.Second, 30*time.Second)))
		}
		slices.Sort(c.clickOffsets)
		c.cardholder, c.thinkTime = "acts", d.durationBetween(time.Second,
			pickOne(d, 5*time.Second, 50*time.Second))
		if p.jobInterval >= 30*time.Second { // an hour must be cheap
			c.cardholder = pickOne(d, "acts", "acts", "fails", "leaves")
		}
		if d.chance(0.5) {
			c.secondCard = "pm_card_mastercard"
		}
		c.noRetry = d.chance(0.25)
		h.card = &c
	}
}

// drawReviewOrDeadlineChange may open a review of a payment, or change its
// deadline.
func (p *plan) drawReviewOrDeadlineChange(h *plannedHold) {
	d := newRNG(p.seed, "doubt", fmt.Sprint(h.number))
	end := h.placedAt + h.authorizationWindow
	switch {
	case d.chance(0.12):
		if d.chance(0.5) {
			h.actions = nil
		}
		at := d.durationBetween(h.placedAt+time.Millisecond,
			max(h.placedAt+time.Second, min(h.dueAt, end)))
		h.actions = append(h.actions, plannedAction{number: 31, at: at, kind: "dashboard review"})
		if d.chance(0.8) {
			at += d.durationBetween(time.Second, max(2*time.Second, (end-at)/3))
			h.actions = append(h.actions, plannedAction{number: 32, at: at,
				kind: pickOne(d, "dashboard approve", "dashboard approve", "dashboard object")})
		}
	case d.chance(0.08):
		at := d.durationBetween(h.scheduledAt+time.Second, max(h.scheduledAt+2*time.Second, end))
		h.actions = append(h.actions, plannedAction{number: 33, at: at, kind: "stripe deadline",
			newTime: (at + d.durationBetween(time.Second, (end-at)*9/8+time.Minute)).Truncate(
				time.Second)})
	default:
		return
	}
	slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
}

// clearDeclarations removes what only a caller of the API can declare.
func (p *plannedHold) clearDeclarations() {
	p.declaresAmount, p.amountError, p.expiryError, p.requestedAccount, p.scheduledAt = false, 0, 0,
		"", p.placedAt
	if p.action == "none" {
		p.captureAmount = 0
	}
}
