package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
)

// fakeWorker keeps the holds of the tests' API. Package hold decides what a
// request changes. The prefix of a hold's reference decides how the worker
// carries out a capture or a cancel:
//
//	STUCK   never
//	REFUSED the hold needs attention
//	EXPIRED the hold has expired
//	RACE    as other holds, but the hold changes each time it is read
//
// All others are captured or canceled when they are read the second time.
type fakeWorker struct {
	mu               sync.Mutex
	holds            map[string]hold.Hold
	getsAfterTrigger map[string]int
	unavailable      bool
	lostReply        bool
}

func newFakeWorker() *fakeWorker {
	return &fakeWorker{holds: map[string]hold.Hold{}, getsAfterTrigger: map[string]int{}}
}

func holdNotFoundError(id string) error {
	return &hold.Problem{Code: hold.HoldNotFound, Detail: "there is no hold " + id}
}

func (m *fakeWorker) Schedule(_ context.Context, reqs []hold.ScheduleRequest, by string) []intake.ScheduleResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now() // one for all, so that what is due now is ready
	out := make([]intake.ScheduleResult, len(reqs))
	for i := range reqs {
		if m.unavailable {
			out[i].Err = health.ErrUnavailable
			continue
		}
		if old, ok := m.holds[reqs[i].PaymentIntent]; ok {
			out[i] = intake.ScheduleResult{Hold: old, Err: reqs[i].RefuseUnlessRepeats(&old, now)}
			continue
		}
		d, err := reqs[i].Validate(now)
		if err != nil {
			out[i].Err = err
			continue
		}
		c, err := hold.DecideNewHold(d, nil, by, now)
		if err == nil {
			c, err = c.RefuseUnlessPolicyActionConfirmed(&hold.Hold{}, d.Confirm, now,
				hold.DecisionRules{ExpiryMargin: time.Hour})
		}
		if err != nil {
			out[i].Err = err
			continue
		}
		c.Hold.Verified = !d.NeedsIntentRetrieval()
		m.holds[d.ID] = c.Hold
		out[i] = intake.ScheduleResult{Hold: c.Hold, Created: true}
	}
	return out
}

func (m *fakeWorker) Get(_ context.Context, id string) (hold.Hold, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.holds[id]
	if strings.HasPrefix(id, "pi_broken") {
		return hold.Hold{}, time.Now(), hold.NewUnreadableProblem(id)
	}
	if !ok {
		return hold.Hold{}, time.Now(), holdNotFoundError(id)
	}
	shown := h
	if strings.HasPrefix(h.Reference, "RACE") {
		h.Revision++
	}
	if h.Reason == hold.CauseTrigger && h.State == hold.Scheduled {
		if m.getsAfterTrigger[id]++; m.getsAfterTrigger[id] > 1 {
			m.finishTriggered(&h)
		}
	}
	m.holds[id] = h
	return shown, time.Now(), nil
}

// finishTriggered does what the worker does.
func (m *fakeWorker) finishTriggered(h *hold.Hold) {
	now := time.Now()
	op := h.NextOp
	entry := hold.HistoryEntry{At: now, Kind: hold.HistoryAttempt, By: "holdd", Op: op, Answer: hold.AnswerOK, RequestID: "req_123"}
	switch {
	case strings.HasPrefix(h.Reference, "STUCK"):
		return
	case strings.HasPrefix(h.Reference, "REFUSED"):
		h.State, h.Reason, h.NextOp = hold.Attention, hold.CauseRefused, 0
	case strings.HasPrefix(h.Reference, "EXPIRED"):
		h.State, h.Reason, h.NextOp, h.SettledAt = hold.Expired, hold.CauseExpired, 0, now
	case h.PartialCaptures != nil && h.PartialCaptures.Part > 0:
		h.PreviousState, h.State = h.State, hold.Working
		call := h.NextCall(now)
		in := &hold.PaymentIntent{ID: h.ID, Status: hold.StatusRequiresCapture, Amount: h.Amount,
			AmountCapturable: h.Amount - call.Amount, Currency: h.Currency,
			AmountReceived: hold.CapturedSoFar(h) + call.Amount}
		*h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: in}, now).Hold
		return
	case op == hold.OpCancel && hold.CapturedSoFar(h) > 0: // Stripe keeps the parts
		h.CapturedAmount = hold.CapturedSoFar(h)
		h.State, h.NextOp, h.SettledAt = hold.Captured, 0, now
	case op == hold.OpCancel:
		h.State, h.NextOp, h.SettledAt = hold.Canceled, 0, now
	default:
		h.State, h.NextOp, h.SettledAt = hold.Captured, 0, now
		if h.CapturedAmount = h.CaptureAmount; h.CapturedAmount == 0 {
			h.CapturedAmount = h.Amount
		}
	}
	h.History = append(h.History, entry)
}

func hasPairs(metadata, pairs map[string]string) bool {
	for k, v := range pairs {
		if metadata[k] != v {
			return false
		}
	}
	return true
}

func (m *fakeWorker) List(_ context.Context, q query.HoldQuery) (query.HoldPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	page := query.HoldPage{Now: now}
	if m.unavailable {
		return page, health.ErrUnavailable
	}
	all := slices.SortedFunc(maps.Values(m.holds), func(a, b hold.Hold) int { return cmp.Compare(a.ID, b.ID) })
	limit := cmp.Or(q.Limit, 50)
	for _, h := range all {
		if !hasPairs(h.Metadata, q.Metadata) {
			continue
		}
		if h.ID <= q.Cursor || !strings.HasPrefix(h.Reference, q.Reference) || q.Account != "" && h.Account != q.Account ||
			q.State != 0 && h.StateWithDueAsReady(now) != q.State || q.ExpiringWithin != 0 &&
			(h.State.IsFinal() || h.ExpiresAt.After(now.Add(q.ExpiringWithin))) {
			continue
		}
		if len(page.Holds) == limit {
			page.Next = page.Holds[limit-1].ID
			break
		}
		page.Holds = append(page.Holds, h)
	}
	return page, nil
}

func (m *fakeWorker) changeHold(id string, revision uint64, confirmed bool, do func(hold.Hold) (hold.Decision, error)) (hold.Hold, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	h, ok := m.holds[id]
	switch {
	case !ok:
		return h, now, holdNotFoundError(id)
	case revision != 0 && revision != h.Revision:
		return h, now, &hold.Problem{Code: hold.RevisionMismatch, Detail: "hold " + id + " has changed meanwhile"}
	}
	c, err := do(h)
	now = time.Now() // not before the change, so that what is due now is ready
	if err == nil {
		c, err = c.RefuseUnlessPolicyActionConfirmed(&h, confirmed, now,
			hold.DecisionRules{ExpiryMargin: time.Hour})
	}
	if err != nil {
		return h, now, err
	}
	m.holds[id] = c.Hold
	return c.Hold, now, nil
}

func (m *fakeWorker) PatchTerms(
	_ context.Context, id string, p hold.Patch, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, p.Confirm, func(h hold.Hold) (hold.Decision, error) { return h.ApplyPatch(&p, by, time.Now()) })
}

// RequestCapture loses Redis' reply to the first request for an amount that ends
// in 13.
func (m *fakeWorker) RequestCapture(
	_ context.Context, id string, req hold.CaptureRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	h, now, err := m.changeHold(id, revision, true, func(h hold.Hold) (hold.Decision, error) { return h.RequestCapture(req, by, time.Now()) })
	if err == nil && req.Amount%100 == 13 && !m.lostReply {
		m.lostReply = true
		return hold.Hold{}, time.Time{}, health.ErrUnavailable
	}
	return h, now, err
}

func (m *fakeWorker) RequestCancel(
	_ context.Context, id, reason string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, true, func(h hold.Hold) (hold.Decision, error) { return h.RequestCancel(reason, by, time.Now()) })
}

// RequestIncrementAndWait answers at once, as a bank that declines any amount
// that ends in 66.
func (m *fakeWorker) RequestIncrementAndWait(
	_ context.Context, id string, req hold.IncrementRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var requested time.Time
	h, now, err := m.changeHold(id, revision, true, func(h hold.Hold) (hold.Decision, error) {
		d, err := h.RequestIncrement(req, by, time.Now(), hold.DecisionRules{ExpiryMargin: time.Hour})
		if err != nil || d.Unchanged || req.Amount%100 == 77 {
			return d, err
		}
		h = d.Hold
		requested = hold.LastIncrementRequestTime(&h)
		h.State, h.PreviousState = hold.Working, h.State
		for d.NextStepNow = true; d.NextStepNow; h = d.Hold {
			call := h.NextCall(time.Now())
			in := &hold.PaymentIntent{ID: h.ID, Status: hold.StatusRequiresCapture, Amount: h.Amount,
				AmountCapturable: h.Amount, Currency: h.Currency, CaptureBefore: h.ExpiresAt,
				Features: hold.FeaturesKnown | hold.FeatureIncremental}
			a := hold.Answer{Kind: hold.AnswerOK, Intent: in}
			switch {
			case call.Op == hold.OpIncrement && call.Amount%100 == 66:
				a = hold.Answer{Kind: hold.AnswerDeclined, Code: "insufficient_funds"}
			case call.Op == hold.OpIncrement:
				in.Amount, in.AmountCapturable = call.Amount, call.Amount
			}
			d = h.ApplyAnswer(call, a, time.Now())
		}
		return d, nil
	})
	if err == nil && !requested.IsZero() {
		_, err = hold.FindIncrementOutcomeInHistory(&h, req.Amount, requested)
	}
	return h, now, err
}

func (m *fakeWorker) PauseHold(
	_ context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, confirmed, func(h hold.Hold) (hold.Decision, error) { return h.Pause(0, by, time.Now()) })
}

func (m *fakeWorker) ResumeHold(
	_ context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, confirmed, func(h hold.Hold) (hold.Decision, error) { return h.Resume(by, time.Now()) })
}

func (m *fakeWorker) AcknowledgeWarnings(
	_ context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, true, func(h hold.Hold) (hold.Decision, error) {
		return h.AcknowledgeWarnings(by, time.Now())
	})
}

func (m *fakeWorker) ForecastPlan(_ context.Context, next time.Duration) (query.Plan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	p := query.Plan{From: now, Until: now.Add(next)}
	for _, h := range m.holds {
		if h.NextOp == hold.OpCapture && h.NextAt.Before(p.Until) {
			p.Hours = append(p.Hours, query.PlanHour{Start: h.NextAt.Truncate(time.Hour), Capture: []hold.Sum{{Currency: h.Currency, Count: 1, Amount: h.Amount}}})
		}
		if !h.State.IsFinal() && h.ExpiresAt.Before(p.Until) {
			p.AtRisk = append(p.AtRisk, query.AtRiskHold{Hold: h,
				Reason: "expires with nothing scheduled"})
		}
	}
	return p, nil
}

func (m *fakeWorker) Check(context.Context) []health.ReadinessCheckResult {
	return []health.ReadinessCheckResult{{Name: "redis", OK: true}}
}

// parts is the interfaces of the API's hold service.
type parts interface {
	api.HoldScheduler
	api.HoldChanger
	api.HoldReader
	api.Planner
	api.ReadinessChecker
}

func holdsOf(p parts) api.HoldServices {
	return api.HoldServices{Scheduler: p, Changer: p, Reader: p, Planner: p, ReadinessChecker: p}
}
