package simtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/stripesim"
)

// apiRequest is one request as its sender knows it, with the answer if one was
// received.
type apiRequest struct {
	holdNumber         int // of the hold
	intentID           string
	kind               string
	schedule           hold.ScheduleRequest
	patch              hold.Patch
	amount             int64
	requestKey         string // of a part
	reason             string // of a cancel; empty means the setting
	revision           uint64 // that it must have, 0: any
	sentAt, answeredAt time.Time
	replyReceived      bool
	err                error
	result             hold.Hold
	replica            string
	confirm            bool // that the deadline's policy may act at once
	pausedAtStripe     bool // of terms in metadata
	// attentionCleared: the hold required attention, and this request scheduled
	// it. It is no longer paused.
	attentionCleared bool
}

// isAccepted reports whether the sender received an answer that it was
// accepted.
func (c *apiRequest) isAccepted() bool { return c.replyReceived && c.err == nil }

// isOutcomeUnknown reports whether the sender does not know the outcome.
func (c *apiRequest) isOutcomeUnknown() bool {
	return !c.replyReceived || errors.Is(c.err, health.ErrUnavailable)
}

func (c *apiRequest) String() string {
	outcome := "nothing was heard"
	switch {
	case c.isAccepted():
		outcome = fmt.Sprintf("granted, %s, revision %d", c.result.State, c.result.Revision)
	case c.replyReceived:
		outcome = "refused: " + c.err.Error()
	}
	s := c.kind
	if c.amount > 0 {
		s += fmt.Sprint(" ", c.amount)
	}
	if c.reason != "" {
		s += " as " + c.reason
	}
	for _, p := range []*string{c.patch.CaptureAt, c.patch.CancelAt, c.patch.OnExpiry} {
		if p != nil {
			s += fmt.Sprintf(" %q", *p)
		}
	}
	if c.patch.CaptureAmount != nil {
		s += fmt.Sprint(" ", *c.patch.CaptureAmount)
	}
	return fmt.Sprintf("people: %s %s at %s -> %s", s, c.intentID, c.replica, outcome)
}

// playHold places a hold at Stripe and performs the actions of its plan.
func (w *world) playHold(h *plannedHold) {
	time.Sleep(w.durationUntil(h.placedAt))
	if h.intake == "card" {
		w.payByCard(h)
		return
	}
	placed := stripesim.Hold{Amount: h.amount, Currency: h.currency,
		Account: h.account, Metadata: h.intentMetadata(w),
		Incremental: h.renewal.until == 0 || h.number%3 == 0, Multicapture: h.multi,
		Overcapture: h.tip > 0, PaymentMethodType: h.methodType,
		ManualByType: h.manualByType}
	w.saveCard(h, &placed)
	id, err := w.sim.Authorize(placed)
	if err != nil {
		w.breach("world: %v", err)
		return
	}
	w.windows.Store(id, h.authorizationWindow)
	w.setBank(h, placed.PaymentMethod)
	if h.declinesIncrement {
		st, _ := w.sim.Intent(id)
		if err := w.sim.Cards.SetCardOutcomes(st.PaymentMethod, stripesim.CardOutcome{Times: 1,
			DeclineCode: "insufficient_funds"}); err != nil {
			w.breach("world: %v", err)
		}
	}
	end := w.timeAt(h.placedAt + h.authorizationWindow).Truncate(time.Second)
	if st, _ := w.sim.Intent(id); h.methodType != "" && !st.CaptureBefore.Equal(end) {
		w.breach("world: %s ends at %s, want %s", h.methodType, st.CaptureBefore, end)
	}
	w.mu.Lock()
	w.intentIDs[h.number] = id
	w.mu.Unlock()
	w.trace.add(false, "a hold is placed: %s", id)
	for _, a := range h.actions {
		w.spawn(func() {
			time.Sleep(w.durationUntil(a.at))
			w.performAction(h, id, a)
		})
	}
	switch h.intake {
	case "metadata":
		return
	case "inbox":
		w.postInboxEntry(h.number, h.scheduledAt, h.inboxPayload(w, id))
		if h.repeatAfter > 0 {
			w.postInboxEntry(h.number, h.scheduledAt+h.repeatAfter, h.inboxPayload(w, id))
		}
		return
	}
	time.Sleep(w.durationUntil(h.scheduledAt))
	w.performAction(h, id, plannedAction{kind: "schedule", at: h.scheduledAt,
		loseReply: newRNG(w.plan.seed, "told", fmt.Sprint(h.number)).chance(0.2)})
}

func (h *plannedHold) scheduleRequest(w *world, id string) hold.ScheduleRequest {
	req := hold.ScheduleRequest{PaymentIntent: id, Account: h.account, Reference: h.reference,
		CaptureAmount: h.captureAmount, OnExpiry: h.onExpiry, Confirm: !h.unconfirmed,
		CaptureParams: h.captureParams, Renewal: h.renewalRequest(w)}
	if h.requestedAccount != "" {
		req.Account = h.requestedAccount
	}
	req.Captures = h.stageRequests(w)
	if h.action == "capture" && len(req.Captures) == 0 {
		req.CaptureAt = formatTime(w.timeAt(h.dueAt))
	}
	if h.action == "cancel" {
		req.CancelAt = formatTime(w.timeAt(h.dueAt))
	}
	if h.action == "none" {
		req.CaptureAmount = 0
	}
	if h.declaresAmount {
		req.Amount, req.Currency = h.amount+h.amountError, h.currency
	}
	if h.declaresExpiry() {
		req.ExpiresAt = formatTime(w.timeAt(h.placedAt + h.authorizationWindow +
			h.expiryError).Truncate(time.Second))
	}
	return req
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// performAction performs an action, and repeats it while the outcome is
// unknown, as booking systems do.
func (w *world) performAction(h *plannedHold, id string, a plannedAction) {
	if w.performAtStripe(h, id, a) {
		return
	}
	c := apiRequest{holdNumber: h.number, intentID: id, kind: a.kind, amount: a.amount,
		confirm: !a.unconfirmed}
	c.patch.Confirm = c.confirm
	at := formatTime(w.timeAt(a.newTime))
	empty := ""
	switch a.kind {
	case "schedule", "again":
		c.kind, c.schedule, c.confirm = "schedule", h.scheduleRequest(w, id), !h.unconfirmed
	case "other":
		c.schedule, c.confirm = h.scheduleRequest(w, id), !h.unconfirmed
		c.schedule.Reference += "-x"
	case "patch capture_at":
		c.patch.CaptureAt = &at
	case "patch cancel_at":
		c.patch.CancelAt = &at
	case "clear":
		c.patch.CaptureAt, c.patch.CancelAt = &empty, &empty
	case "patch amount":
		c.patch.CaptureAmount = &a.amount
	case "patch fee":
		c.patch.ApplicationFeeAmount = &a.amount
	case "patch policy":
		c.patch.OnExpiry = &a.newPolicy
	case "part":
		c.requestKey = fmt.Sprintf("part-%d-%d", h.number, a.number)
	case "cancel":
		c.reason = drawCancelReason(w.plan.seed, h.number, a.number)
	}
	seedKey := fmt.Sprintf("%d %s %d %s", h.number, a.kind, a.number, a.at)
	for try := range 6 {
		d := newRNG(w.plan.seed, "call", seedKey, fmt.Sprint(try))
		time.Sleep(d.durationBetween(10*time.Microsecond, 2*time.Millisecond))
		rs := w.liveReplicas()
		if len(rs) > 0 {
			again := c
			r := rs[d.IntN(len(rs))]
			if a.ifUnchanged {
				seen, _, err := r.Get(w.ctx, id)
				if err != nil {
					return
				}
				again.revision = seen.Revision
			}
			if !w.sendRequest(r, &again, a.loseReply && try == 0) || a.noRetry {
				return
			}
		}
		time.Sleep(d.durationBetween(500*time.Millisecond, 6*time.Second) << try)
	}
}

// performAtStripe performs an action that is not a request to holdd, or forges
// an event of one. It reports whether a is one.
func (w *world) performAtStripe(h *plannedHold, id string, a plannedAction) bool {
	if strings.HasPrefix(a.kind, forgedPrefix) {
		w.sendForgedEvent(h, id, a)
		return true
	}
	if strings.HasPrefix(a.kind, cardholderPrefix) {
		w.visitPage(h, id, a)
		return true
	}
	var err error
	switch a.kind {
	case "dashboard capture":
		err = w.sim.Dashboard().Capture(id, min(a.amount, h.amount))
	case "dashboard part":
		err = w.sim.Dashboard().CapturePart(id, a.amount)
	case "dashboard cancel":
		err = w.sim.Dashboard().Cancel(id, "requested_by_customer")
	case "dashboard increment":
		err = w.sim.Dashboard().Increment(id, a.amount)
	case "dashboard review":
		err = w.sim.Dashboard().OpenReview(id)
	case "dashboard approve":
		err = w.sim.Dashboard().CloseReview(id, "approved")
	case "dashboard object":
		err = w.sim.Dashboard().CloseReview(id, "disputed")
	case "stripe deadline":
		if before, _ := w.sim.Intent(id); w.timeAt(a.newTime).After(time.Now()) {
			if err = w.sim.Dashboard().SetCaptureBefore(id, w.timeAt(a.newTime)); err == nil {
				w.mu.Lock()
				w.intakeObserved.earlierDeadlines[h.number] = append(
					w.intakeObserved.earlierDeadlines[h.number], before.CaptureBefore)
				w.mu.Unlock()
			}
		}
	default:
		return false
	}
	w.trace.add(false, "people: %s %d +%s of %s: %v", a.kind, a.amount, a.newTime, id, err)
	if err == nil && (strings.HasSuffix(a.kind, "review") || strings.HasSuffix(a.kind, "approve") ||
		strings.HasSuffix(a.kind, "object")) {
		w.mu.Lock()
		w.intakeObserved.reviews[h.number] = append(w.intakeObserved.reviews[h.number],
			reviewChange{a.kind, time.Now()})
		w.mu.Unlock()
	}
	return true
}

// sendRequest sends one request to one replica. It reports whether the outcome
// is unknown to the sender.
func (w *world) sendRequest(r *replica, c *apiRequest, loseReply bool) (retry bool) {
	c.sentAt, c.replica = time.Now(), r.name
	w.mu.Lock()
	w.apiRequests = append(w.apiRequests, c)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.ctx, 15*time.Second)
	defer cancel()
	got, err := c.send(ctx, r.parts)
	w.mu.Lock()
	c.answeredAt, c.result, c.err, c.replyReceived = time.Now(), got, err, !loseReply &&
		!r.dead.Load() && ctx.Err() == nil
	w.mu.Unlock()
	w.trace.add(false, "%s", c)
	return c.isOutcomeUnknown()
}

func (c *apiRequest) send(ctx context.Context, w parts) (h hold.Hold, err error) {
	switch {
	case c.kind == "schedule" || c.kind == "other":
		s := w.Schedule(ctx, []hold.ScheduleRequest{c.schedule}, "people")[0]
		return s.Hold, s.Err
	case strings.HasPrefix(c.kind, "patch"), c.kind == "clear":
		h, _, err = w.PatchTerms(ctx, c.intentID, c.patch, c.revision, "people")
	case c.kind == "capture" || c.kind == "capture part":
		h, _, err = w.RequestCapture(ctx, c.intentID,
			hold.CaptureRequest{Amount: c.amount}, c.revision, "people")
	case c.kind == "part":
		h, _, err = w.RequestCapture(ctx, c.intentID, partRequest(c), c.revision, "people")
	case c.kind == "cancel":
		h, _, err = w.RequestCancel(ctx, c.intentID, c.reason, c.revision, "people")
	case c.kind == "increment":
		h, _, err = w.RequestIncrementAndWait(ctx, c.intentID, hold.IncrementRequest{Amount: c.amount},
			c.revision, "people")
	case c.kind == "pause":
		h, _, err = w.PauseHold(ctx, c.intentID, c.revision, c.confirm, "people")
	case c.kind == "resume":
		h, _, err = w.ResumeHold(ctx, c.intentID, c.revision, c.confirm, "people")
	case c.kind == "acknowledge":
		h, _, err = w.AcknowledgeWarnings(ctx, c.intentID, c.revision, "people")
	default:
		panic("unknown kind of request: " + c.kind)
	}
	return h, err
}

// handleAttention is the operator, who decides some holds that require
// attention.
func (w *world) handleAttention(round int) {
	rs := w.liveReplicas()
	if len(rs) == 0 {
		return
	}
	page, err := rs[0].List(w.ctx, query.HoldQuery{State: hold.Attention})
	if err != nil {
		return
	}
	slices.SortFunc(page.Holds, func(a, b hold.Hold) int { return strings.Compare(a.ID, b.ID) })
	for _, found := range page.Holds {
		n := 0
		w.mu.Lock()
		for k, id := range w.intentIDs {
			if id == found.ID {
				n = k
			}
		}
		w.mu.Unlock()
		i := slices.IndexFunc(w.plan.holds, func(h plannedHold) bool { return h.number == n })
		if i < 0 {
			continue
		}
		d := newRNG(w.plan.seed, "look", fmt.Sprint(round), fmt.Sprint(n))
		a := plannedAction{number: round, at: w.elapsed(), kind: pickOne(d, "capture", "cancel",
			"patch capture_at", "patch cancel_at", ""), newTime: w.elapsed() +
			d.durationBetween(0, w.plan.expiryMargin)}
		if found.Reason == hold.CauseFeeTooLarge && newRNG(w.plan.seed, "look at the fee",
			fmt.Sprint(round), fmt.Sprint(n)).chance(0.5) {
			a = plannedAction{number: round, at: w.elapsed(), kind: "patch fee", amount: 1}
		}
		if a.kind != "" {
			w.performAction(&w.plan.holds[i], found.ID, a)
		}
	}
}

// redisKeySnapshot is the value of a Redis key at a time.
type redisKeySnapshot struct {
	kind  string
	value string
	hash  map[string]string
	zset  map[string]float64
	// without its groups: entries that were not acknowledged are read again
	stream    []miniredis.StreamEntry
	list      []string
	expiresAt time.Time // by Redis' clock, zero for ever
}

// snapshotRedis returns all keys, as Redis has them on its disk.
func (w *world) snapshotRedis() map[string]redisKeySnapshot {
	all, now := map[string]redisKeySnapshot{}, w.syncRedisClock()
	for _, k := range w.redis.Keys() {
		v := redisKeySnapshot{kind: w.redis.Type(k)}
		if ttl := w.redis.TTL(k); ttl > 0 {
			v.expiresAt = now.Add(ttl)
		}
		switch v.kind {
		case "string":
			v.value, _ = w.redis.Get(k)
		case "hash":
			v.hash = map[string]string{}
			fields, _ := w.redis.HKeys(k)
			for _, f := range fields {
				v.hash[f] = w.redis.HGet(k, f)
			}
		case "zset":
			v.zset, _ = w.redis.SortedSet(k)
			v.zset = maps.Clone(v.zset)
		case "stream":
			v.stream, _ = w.redis.Stream(k)
			v.stream = slices.Clone(v.stream)
		case "list":
			v.list, _ = w.redis.List(k)
			v.list = slices.Clone(v.list)
		case "set":
			v.list, _ = w.redis.Members(k)
			v.list = slices.Clone(v.list)
		default:
			w.breach("world: key %s of type %s is not kept", k, v.kind)
		}
		all[k] = v
	}
	return all
}

func (w *world) restoreRedis(all map[string]redisKeySnapshot) {
	w.redis.FlushAll()
	now := w.syncRedisClock()
	for k, v := range all {
		if !v.expiresAt.IsZero() && !v.expiresAt.After(now) {
			continue
		}
		switch v.kind {
		case "string":
			w.redis.Set(k, v.value)
		case "hash":
			for f, x := range v.hash {
				w.redis.HSet(k, f, x)
			}
		case "zset":
			for m, s := range v.zset {
				w.redis.ZAdd(k, s, m)
			}
		case "list":
			w.redis.Push(k, v.list...)
		case "set":
			w.redis.SetAdd(k, v.list...)
		case "stream":
			for _, e := range v.stream {
				w.redis.XAdd(k, e.ID, e.Values)
			}
		}
		if !v.expiresAt.IsZero() {
			w.redis.SetTTL(k, v.expiresAt.Sub(now))
		}
	}
}
