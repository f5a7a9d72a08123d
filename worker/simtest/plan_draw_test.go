package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func drawPlan(seed uint64) plan {
	d := newRNG(seed, "plan")
	scale := planScales[d.IntN(len(planScales))]
	p := plan{seed: seed, jobInterval: scale.tick, duration: scale.span,
		replicas: pickOne(d, 1, 2, 2, 3), concurrency: pickOne(d, 1, 2, 3, 4),
		partitions: pickOne(d, 1, 1, 1, 2, 3),
		rateLimit:  pickOne(d, 2, 5, 25), lease: 30 * time.Second}
	p.expiryMargin = scale.span / time.Duration(pickOne(d, 12, 25, 60))
	p.alertThresholds = []time.Duration{p.expiryMargin * 4, p.expiryMargin * 2, p.expiryMargin}
	if d.chance(0.3) {
		p.serviceTime = d.durationBetween(time.Second, 8*time.Second)
	}
	accounts := []string{""}
	if d.chance(0.4) {
		accounts = append(accounts, "acct_simtestone11", "acct_simtesttwo22")[:1+pickOne(d, 1, 2)]
	}
	sharedDue := time.Duration(0)
	if d.chance(0.35) {
		sharedDue = p.nearTick(d, d.durationBetween(p.duration/4, p.duration/2))
	}
	for n := range pickOne(d, 3, 5, 8, 12) {
		p.holds = append(p.holds, p.drawHold(n+1, accounts, sharedDue))
	}
	if d.chance(0.9) {
		for n := range 1 + d.IntN(7) {
			p.faults = append(p.faults, p.drawFaults(n+1)...)
		}
	}
	for i := range p.holds {
		p.addConflicts(&p.holds[i])
	}
	p.drawLate()
	p.eventVersion = drawEventVersion(seed)
	p.drawIntake()
	p.drawForgedEvents()
	for i := range p.holds {
		p.drawParts(&p.holds[i])
	}
	if d := newRNG(seed, "clock"); d.chance(0.25) {
		p.redisClockAhead = pickOne(d, time.Duration(-1), 1) * d.durationBetween(
			100*time.Millisecond, min(p.duration/8, 2*time.Minute)).Truncate(time.Millisecond)
	}
	for i := range p.faults {
		f := &p.faults[i]
		if d := newRNG(seed, "clock", fmt.Sprint(f.number)); f.kind == "redis:lose tail" &&
			d.chance(0.5) {
			f.clockStep = pickOne(d, time.Duration(-1), 1) * d.durationBetween(100*time.Millisecond,
				min(p.duration/16, maxClockStep)).Truncate(time.Millisecond)
		}
	}
	if newRNG(seed, "strict rate").chance(0.15) {
		p.strictRate = (p.rateLimit + 1) / 2
	}
	p.organizationKey = newRNG(seed, "organization").chance(0.15)
	p.intake.chargeWebhooks = p.intake.webhooks && newRNG(seed, "charge webhooks").chance(0.6)
	for i := range p.holds {
		p.drawMethod(&p.holds[i])
	}
	if newRNG(seed, "list reads").chance(0.6) {
		p.listReadsAbove = 1 // otherwise the few holds of a world are read one by one
	}
	p.drawShouldRetry()
	p.drawNearDeadline()
	p.drawCaptureParams()
	p.drawIncrements()
	p.drawRenewals()
	p.drawReleaseFirst()
	return p
}

// shouldRetryFaults are answers with the header Stripe-Should-Retry.
var shouldRetryFaults = []string{"refused, retry", "refused after, retry", "conflict, no retry",
	"conflict after, no retry"}

// drawShouldRetry lets Stripe answer some due calls with Stripe-Should-Retry
// and a status that says the opposite.
func (p *plan) drawShouldRetry() {
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "should retry", fmt.Sprint(h.number))
		if h.action == "none" || !d.chance(0.06) {
			continue
		}
		p.faults = append(p.faults, fault{number: 10_000 + h.number, atCall: h.action,
			kind: "stripe:" + pickOne(d, shouldRetryFaults...), replicaIndex: -1,
			probability: pickOne(d, 0.5, 1), from: h.dueAt - time.Second,
			to: h.dueAt + p.jobInterval + d.durationBetween(time.Second, 20*time.Second)})
	}
}

// drawLate lets some holds come when their policy's time is over, and leaves
// some requests without a confirmation.
func (p *plan) drawLate() {
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "late", fmt.Sprint(h.number))
		h.unconfirmed = d.chance(0.5)
		if d.chance(0.06) && h.amountError == 0 && h.requestedAccount == "" {
			end := h.placedAt + h.authorizationWindow
			h.action, h.expiryError, h.captureAmount, h.actions = "none", 0, 0, nil
			h.scheduledAt = max(h.placedAt+time.Millisecond,
				end-d.durationBetween(p.expiryMargin/10, p.expiryMargin))
			h.dueAt = h.scheduledAt
		}
		for k := range h.actions {
			h.actions[k].unconfirmed = newRNG(p.seed, "confirms", fmt.Sprint(h.number),
				fmt.Sprint(h.actions[k].number)).chance(0.5)
		}
	}
}

// addConflicts makes trouble on purpose where chance alone takes too long to
// find it: two opposite wishes while Stripe can't be asked; a capture that is
// lost on its way, and a cancel before it arrives.
func (p *plan) addConflicts(h *plannedHold) {
	d := newRNG(p.seed, "tug", fmt.Sprint(h.number))
	add := func(f fault) {
		f.number, f.replicaIndex, f.probability = 100*h.number+len(p.faults), -1, 1
		p.faults = append(p.faults, f)
	}
	end := h.placedAt + h.authorizationWindow
	defer func() {
		slices.SortStableFunc(h.actions, func(a, b plannedAction) int {
			return int(a.at - b.at)
		})
	}()
	switch {
	case h.action != "none" && h.amountError == 0 && p.jobInterval >= 30*time.Minute &&
		d.chance(0.15):
		// an effect nobody heard of, and Stripe away until it has forgotten the
		// key
		first := (h.dueAt - replicasUpAfter).Truncate(p.jobInterval) + p.jobInterval +
			replicasUpAfter + 20*time.Second
		h.authorizationWindow = max(h.authorizationWindow, first-h.placedAt+
			30*time.Hour+p.expiryMargin)
		h.expiryError, h.actions = 0, nil
		add(fault{kind: "stripe:drop_reply", from: h.dueAt - time.Second, to: first})
		add(fault{kind: "stripe:down", from: first, to: first + 25*time.Hour})
	case h.action != "none" && h.amountError == 0 && d.chance(0.06):
		// Stripe says 500 to the first try, and to that key for ever
		h.authorizationWindow, h.expiryError, h.actions = max(h.authorizationWindow,
			h.dueAt-h.placedAt+p.expiryMargin+40*p.jobInterval+20*time.Minute), 0, nil
		h.captureAmount = min(h.captureAmount, h.amount)
		add(fault{kind: "stripe:error_before", atCall: h.action, from: h.dueAt - time.Second,
			to: h.dueAt + p.jobInterval*3/2 + time.Second})
	case h.action != "none" && h.requestedAccount == "" && d.chance(0.06):
		// its time is beyond a deadline that nobody could ask for
		h.declaresAmount, h.amountError, h.expiryError, h.actions, h.onExpiry = false, 0, 0, nil,
			pickOne(d, "capture", "cancel")
		h.dueAt = (h.placedAt + h.authorizationWindow + d.durationBetween(time.Second,
			p.expiryMargin)).Truncate(time.Millisecond)
		add(fault{kind: "stripe:down", from: h.scheduledAt - time.Second,
			to: h.scheduledAt + 3*time.Second})
	case d.chance(0.06): // changed just after a threshold has passed, before anybody could say so
		at := end - p.alertThresholds[d.IntN(len(p.alertThresholds))] +
			d.durationBetween(0, p.jobInterval)
		if at > h.scheduledAt+time.Second {
			h.actions = []plannedAction{
				{number: 21, at: at, kind: pickOne(d, "patch policy", "patch capture_at"),
					newPolicy: pickOne(d, "alert", "capture", "cancel"),
					newTime:   end - time.Second}}
		}
	case d.chance(0.12):
		at := d.durationBetween(h.scheduledAt+time.Second,
			max(h.scheduledAt+2*time.Second, h.dueAt))
		h.actions = append(h.actions, plannedAction{number: 11, at: at,
			kind: pickOne(d, "cancel", "cancel", "capture")})
		at += d.durationBetween(time.Millisecond, 5*time.Second)
		h.actions = append(h.actions, plannedAction{number: 12, at: at,
			kind: pickOne(d, "capture", "cancel", "patch capture_at", "patch capture_at", "pause",
				"patch amount"), amount: 1 + d.Int64N(h.amount),
			newTime: (at + d.durationBetween(0, max(time.Second, (end-at)/2))).Truncate(
				time.Millisecond)})
		if a := &h.actions[len(h.actions)-1]; a.kind != "patch amount" {
			a.amount = 0
		}
		add(fault{kind: "stripe:" + pickOne(d, "dial", "unavailable", "rate_limited",
			"lock_timeout", "forbidden", "html", "drop_request"), from: at - 6*time.Second, to: at +
			d.durationBetween(time.Second, 30*time.Second)})
	case h.action == "capture" && p.jobInterval <= time.Second && d.chance(0.2):
		// Redis forgets that it was captured, and somebody wants something else
		wants := "patch amount"
		if d.chance(0.5) {
			h.declaresAmount, h.captureAmount, h.actions, wants = false, 0, nil, "cancel"
		}
		lost := h.dueAt + 1500*time.Millisecond
		add(fault{kind: "redis:lose tail", from: h.dueAt - 300*time.Millisecond, to: lost})
		for n := range 2 {
			h.actions = append(h.actions, plannedAction{number: 17 + n, at: lost +
				d.durationBetween(0, 900*time.Millisecond), kind: wants})
			if wants == "patch amount" {
				h.actions[len(h.actions)-1].amount = 1 + d.Int64N(h.amount)
			}
		}
	case h.action == "capture" && p.jobInterval <= time.Second && d.chance(0.25):
		// a capture is lost on its way, and a cancel comes before it arrives
		add(fault{kind: "stripe:late", atCall: "capture", from: h.dueAt - time.Second,
			to: h.dueAt + 2*time.Second})
		add(fault{kind: "stripe:unavailable for good", atCall: "capture", from: h.dueAt +
			9*time.Second, to: h.dueAt + 12*time.Second})
		for _, op := range []string{"capture", "cancel"} {
			add(fault{kind: "stripe:dial", atCall: op, from: h.dueAt + 12*time.Second,
				to: h.dueAt + time.Minute})
		}
		h.authorizationWindow, h.amountError, h.expiryError, h.actions = max(h.authorizationWindow,
			h.dueAt-h.placedAt+time.Minute+p.expiryMargin), 0, 0, nil
		for n := range 3 {
			h.actions = append(h.actions, plannedAction{number: 13 + n, at: h.dueAt +
				time.Duration(17+2*n)*time.Second + d.durationBetween(0, 2*time.Second),
				kind: "cancel"})
		}
	case h.action != "none" && p.jobInterval <= 5*time.Second && d.chance(0.2):
		// Redis is away for a moment just when the outcome is to be written
		add(fault{kind: "redis:down", from: h.dueAt + 5*time.Millisecond, to: h.dueAt +
			d.durationBetween(300*time.Millisecond, 2500*time.Millisecond)})
	}
}

// drawParts lets another system capture parts of a hold, most often about the
// time at which it is due.
func (p *plan) drawParts(h *plannedHold) {
	d := newRNG(p.seed, "parts", fmt.Sprint(h.number))
	if h.multi = h.intake != "card" && h.requestedAccount == "" && h.amountError == 0 &&
		d.chance(0.2); !h.multi {
		return
	}
	if h.action == "capture" && h.captureAmount == 0 && d.chance(0.6) {
		h.captureAmount = 1 + d.Int64N(h.amount)
	}
	for k := range pickOne(d, 1, 1, 2) {
		at := d.durationBetween(h.scheduledAt, h.placedAt+h.authorizationWindow)
		if h.action != "none" && d.chance(0.7) {
			at = h.dueAt - d.durationBetween(0, max(2*time.Second, (h.dueAt-h.scheduledAt)/4))
		}
		h.actions = append(h.actions, plannedAction{number: 31 + k,
			at: max(at, h.scheduledAt+time.Millisecond), kind: "dashboard part", amount: 1 +
				d.Int64N(h.amount*2/3)})
	}
	slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
}

// nearTick is a moment shortly around one of the ticks: where the replicas are
// busy.
func (p *plan) nearTick(d rng, at time.Duration) time.Duration {
	at = replicasUpAfter - 2*time.Second + at.Truncate(p.jobInterval) +
		time.Second*time.Duration(d.IntN(2))
	return at + d.durationBetween(-200*time.Millisecond, 700*time.Millisecond)
}

func (p *plan) drawHold(n int, accounts []string, sharedDue time.Duration) plannedHold {
	d := newRNG(p.seed, "hold", fmt.Sprint(n))
	h := plannedHold{number: n, account: pickOne(d, accounts...), amount: 1000 + d.Int64N(90_000),
		currency: pickOne(d, "eur", "usd", "jpy"), action: pickOne(d, "capture", "capture",
			"capture", "cancel", "none"),
		onExpiry: pickOne(d, "", "cancel", "capture", "alert"), declaresAmount: d.chance(0.4),
		reference: fmt.Sprintf("BK-%d", n)}
	h.placedAt = replicasUpAfter + d.durationBetween(0, p.duration/2)
	if sharedDue > 0 && d.chance(0.8) {
		h.placedAt = replicasUpAfter + d.durationBetween(0, sharedDue-replicasUpAfter-p.jobInterval)
	}
	h.scheduledAt = h.placedAt + d.durationBetween(time.Millisecond,
		min(p.duration/50, 20*time.Minute))
	h.authorizationWindow = d.durationBetween(p.expiryMargin*2, p.duration)
	switch {
	case sharedDue > 0 && d.chance(0.8):
		h.authorizationWindow = max(h.authorizationWindow, sharedDue-h.placedAt+p.expiryMargin+
			d.durationBetween(0, p.duration/8))
		h.dueAt = sharedDue
	case d.chance(0.15): // near the deadline
		h.dueAt = h.placedAt + h.authorizationWindow - d.durationBetween(
			time.Millisecond, p.expiryMargin)
	default:
		h.dueAt = h.placedAt + d.durationBetween(h.authorizationWindow/20,
			h.authorizationWindow*9/10)
		if d.chance(0.6) {
			h.dueAt = p.nearTick(d, h.dueAt)
		}
	}
	h.dueAt = max(h.dueAt, h.scheduledAt+time.Millisecond).Truncate(time.Millisecond)
	if d.chance(0.03) {
		h.dueAt = h.placedAt + h.authorizationWindow + d.durationBetween(0, p.expiryMargin)
	}
	if d.chance(0.3) {
		h.captureAmount = 1 + d.Int64N(h.amount)
	}
	if h.declaresAmount && d.chance(0.12) {
		h.amountError = pickOne(d, int64(-1), 1) * (1 + d.Int64N(h.amount/2))
		h.captureAmount = 0
	}
	if h.declaresAmount && d.chance(0.12) {
		h.expiryError = d.durationBetween(-h.authorizationWindow/4,
			h.authorizationWindow/2).Truncate(time.Second)
	}
	h.omitsExpiry = h.declaresAmount && newRNG(p.seed, "undated", fmt.Sprint(n)).chance(0.25)
	if len(accounts) > 1 && d.chance(0.05) {
		h.requestedAccount = "acct_simtestwrong3"
	}
	end := h.placedAt + h.authorizationWindow
	for k := range pickOne(d, 0, 0, 1, 2, 3, 4) {
		h.actions = append(h.actions, p.drawAction(k+1, &h, end))
	}
	// People change their minds at once.
	for k := 1; k < len(h.actions); k++ {
		if d.chance(0.4) {
			h.actions[k].at = h.actions[k-1].at + d.durationBetween(time.Millisecond,
				pickOne(d, 100*time.Millisecond, 3*time.Second, 20*time.Second))
		}
	}
	slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
	return h
}

func (p *plan) drawAction(k int, h *plannedHold, end time.Duration) plannedAction {
	d := newRNG(p.seed, "act", fmt.Sprint(h.number), fmt.Sprint(k))
	a := plannedAction{number: k, loseReply: d.chance(0.2), noRetry: d.chance(0.2)}
	a.kind = pickOne(d, "capture", "capture", "capture part", "cancel", "cancel", "cancel",
		"patch capture_at", "patch capture_at", "patch cancel_at", "patch amount",
		"patch policy", "clear",
		"pause", "pause", "resume", "resume", "acknowledge", "again", "other", "dashboard capture",
		"dashboard cancel", "dashboard increment")
	switch {
	case h.action != "none" && d.chance(0.6): // around the claim
		a.at = h.dueAt + d.durationBetween(-50*time.Millisecond, 1200*time.Millisecond)
		if d.chance(0.4) {
			a.at = h.dueAt.Truncate(p.jobInterval) + p.jobInterval + d.durationBetween(
				-20*time.Millisecond, 1500*time.Millisecond)
		}
	case d.chance(0.3):
		a.at = end - d.durationBetween(0, p.expiryMargin*2)
	default:
		a.at = d.durationBetween(h.scheduledAt, end)
	}
	a.at = max(a.at, h.scheduledAt+d.durationBetween(time.Millisecond, time.Second))
	a.amount = 1 + d.Int64N(h.amount)
	if d.chance(0.1) {
		a.amount = h.amount + 1 + d.Int64N(1000)
	}
	a.newTime = a.at + d.durationBetween(-time.Second, (end-a.at)*5/4+time.Second)
	if d.chance(0.4) {
		a.newTime = p.nearTick(d, a.newTime)
	}
	a.newTime = a.newTime.Truncate(time.Millisecond)
	a.newPolicy = pickOne(d, "cancel", "capture", "alert")
	switch {
	case a.kind == "dashboard increment" && h.amountError != 0:
		// nobody could tell which of the two was untrue
		a.kind = "again"
	case a.kind == "dashboard increment":
		a.amount = h.amount + 1 + d.Int64N(h.amount)
	case a.kind != "again" && a.kind != "other" && !strings.HasPrefix(a.kind, "dashboard"):
		a.ifUnchanged = d.chance(0.15)
	}
	if !strings.Contains(a.kind, "part") && !strings.Contains(a.kind, "amount") &&
		a.kind != "dashboard capture" && a.kind != "dashboard increment" {
		a.amount = 0
	}
	if !strings.Contains(a.kind, "_at") {
		a.newTime = 0
	}
	if a.kind != "patch policy" {
		a.newPolicy = ""
	}
	return a
}

// stripeFaults are those that the simulator knows how to make.
var stripeFaults = []string{"drop_request", "drop_reply", "broken_body", "cut_body", "error_before",
	"error_after", "unavailable", "html", "html_after",
	"rate_limited", "lock_timeout", "conflict", "dependency", "unavailable for good",
	"unauthorized", "forbidden", "not_found", "refused", "slow reply"}

// killPoints are the calls before or after which a replica dies.
var killPoints = []string{"due", "claim", "commit", "commit", "take", "touch", "milestones",
	"stripe", "stripe", "stripe"}

func (p *plan) drawFaults(n int) []fault {
	d := newRNG(p.seed, "fault", fmt.Sprint(n))
	f := fault{number: n, replicaIndex: -1, probability: pickOne(d, 0.1, 0.3, 0.6, 1)}
	// Where something is due, faults do most harm.
	at := replicasUpAfter + d.durationBetween(0, p.duration)
	if h := p.holds[d.IntN(len(p.holds))]; d.chance(0.75) {
		at = h.dueAt + d.durationBetween(-time.Second, time.Second)
		switch n := len(h.actions); {
		case n > 0 && d.chance(0.4):
			at = h.actions[d.IntN(n)].at + d.durationBetween(-time.Second, time.Second)
		case d.chance(0.25):
			at = h.placedAt + h.authorizationWindow - p.expiryMargin + d.durationBetween(
				-time.Second, p.jobInterval)
		}
	}
	f.from = max(replicasUpAfter, at-d.durationBetween(0, p.jobInterval))
	f.to = at + pickOne(d, p.jobInterval+2*time.Second, p.jobInterval*3,
		p.jobInterval*10, p.duration/10)
	if d.chance(0.5) {
		f.replicaIndex = d.IntN(p.replicas)
	}
	switch k := d.IntN(20); {
	case k < 7:
		f.kind, f.replicaIndex = "stripe:"+pickOne(d, stripeFaults...), -1
		if strings.HasSuffix(f.kind, "rized") || strings.HasSuffix(f.kind, "dden") {
			f.probability = min(f.probability, 0.3)
		}
	case k < 9:
		f.kind = pickOne(d, "stripe:dial", "stripe:down")
	case k < 11:
		f.kind = "stripe:late"
	case k < 15:
		f.kind = pickOne(d, "redis:cut before", "redis:cut after", "redis:cut after",
			"redis:cut reply", "redis:slow", "redis:late", "redis:down",
			"redis:freeze", "redis:forget scripts")
		if f.kind == "redis:freeze" || f.kind == "redis:down" {
			f.to = f.from + min(f.to-f.from, d.durationBetween(time.Second, 2*time.Minute))
		}
	case k < 16:
		f.kind, f.replicaIndex = "redis:lose tail", -1
		f.from, f.to = at, at+pickOne(d, d.durationBetween(10*time.Millisecond, time.Second),
			d.durationBetween(time.Second, 30*time.Second))
	case k < 19:
		f.replicaIndex = d.IntN(p.replicas)
		f.kind = pickOne(d, "kill", "kill at", "kill at", "kill at", "stop", "pause", "pause")
		f.from = max(replicasUpAfter, at)
		f.atCall, f.afterEffect = pickOne(d, killPoints...), d.chance(0.6)
		f.restartAfter = d.durationBetween(100*time.Millisecond, 40*time.Second)
		if f.kind == "pause" {
			f.to = f.from + d.durationBetween(time.Second, 2*p.lease)
		}
	default:
		f.kind, f.replicaIndex = "stripe:revoked", -1
	}
	if f.kind != "kill at" {
		f.atCall, f.afterEffect = "", false
	}
	return []fault{f}
}
