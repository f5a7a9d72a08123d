package worker

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// maxCallsPerClaim bounds the calls under one claim: act, read back, act again, read back.
const maxCallsPerClaim = 4

// maxBudgetWait is how long a claim waits for the budget before it is put off.
const maxBudgetWait = time.Second

// outcome is a handled claim on its way to the store.
type outcome struct {
	before   hold.Hold // as claimed; its version is the fencing token
	decision hold.Decision
	call     hold.Call // the last one that was sent
	answer   hold.Answer
	at       time.Time
}

// execute carries a claim to what it comes to. It sends nothing when stopping, when the lease may end before the answer, or when Stripe is away:
// then the hold is given back as it was.
func (w *Worker) execute(stopping, calls context.Context, j claimedHold) outcome {
	h := j.claim.Hold
	r := outcome{before: h}
	h.MarkClaimed(j.claim.Since, j.claim.TakenOver)
	tokens := map[hold.Op]int{j.lane: 1}
	sent := false
	park := func(wait time.Duration) outcome {
		r.at = w.redisNow()
		if !sent {
			r.decision = h.ReleaseUnsent()
		}
		if wait > 0 {
			r.decision = r.decision.DeferUntil(r.at.Add(wait))
		} else if sent {
			r.decision = r.decision.DeferUntil(r.at)
		}
		return r
	}
	if d := time.Until(j.sendAt); d > time.Millisecond/2 {
		sleepContext(stopping, d)
	}
	for n := 0; n < maxCallsPerClaim; {
		if stopping.Err() != nil {
			return park(0)
		}
		if time.Until(j.leaseUntil) < w.o.CallTimeout {
			return park(0)
		}
		call := h.NextCall(w.redisNow())
		if tokens[call.Op] == 0 {
			budget, err := w.store.Reserve(calls, h.Account, call.Op, 1, reserveAhead)
			if err != nil {
				w.reportStoreError(stopping, "take from the budget", err)
				return park(time.Second)
			}
			if budget.Granted == 0 && budget.Wait > maxBudgetWait {
				return park(budget.Wait)
			}
			tokens[call.Op] = budget.Granted
			// The budget refills in a moment; the check above bounds how often.
			if d := budget.First + budget.Wait; d > 0 {
				sleepContext(stopping, d)
				continue
			}
		}
		done, err := w.breaker.Allow()
		if err != nil {
			return park(time.Second)
		}
		tokens[call.Op]--
		n++
		began := time.Now()
		ctx, cancel := context.WithTimeout(calls, w.o.CallTimeout)
		a := w.stripe.Do(ctx, call)
		cancel()
		w.recordAnswer(done, a)
		if w.o.Observer != nil {
			w.o.Observer.CallFinished(call.Op, a.Kind, time.Since(began))
		}
		w.pauseIfLimited(calls, h.Account, call.Op, a)
		r.call, r.answer, r.at = call, a, w.redisNow()
		r.decision = r.decision.FollowedBy(h.ApplyAnswer(call, a, r.at))
		sent = true
		if !r.decision.Again {
			return r
		}
		h = r.decision.Hold
	}
	return park(time.Second)
}

// Bounds of the pause that a refusal for its rate brings upon all replicas.
const (
	rateLimitPause = 2 * time.Second
	forbiddenPause = time.Minute
)

// pauseIfLimited tells all replicas when Stripe says that something is too much, or not allowed, for one account.
func (w *Worker) pauseIfLimited(ctx context.Context, account string, op hold.Op, a hold.Answer) {
	d := time.Duration(0)
	switch a.Kind {
	case hold.AnswerRateLimited:
		d = rateLimitPause
		w.rateLimitedCalls.Add(1)
	case hold.AnswerForbidden:
		d = forbiddenPause
		w.log.Error("Stripe doesn't let this key do this: give it the permission, or check the connected account",
			zap.String("account", account), zap.Stringer("op", op), zap.String("code", a.Code), zap.String("message", a.Message), zap.String("request_id", a.RequestID))
	default:
		return
	}
	if err := w.store.PauseAccount(ctx, account, op, d); err != nil {
		w.reportStoreError(ctx, "slow an account down", err)
	}
}

func newBreaker(w *Worker) *gobreaker.TwoStepCircuitBreaker[hold.Answer] {
	return gobreaker.NewTwoStepCircuitBreaker[hold.Answer](gobreaker.Settings{
		Name:        "stripe",
		MaxRequests: 1,
		Timeout:     5 * time.Second,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 5 },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				w.log.Error("Stripe is away: nothing is claimed, one call every few seconds tries whether it is back")
			case gobreaker.StateClosed:
				w.log.Info("Stripe is back")
			}
		},
	})
}

// recordAnswer tells the breaker whether Stripe is there, and whether it takes the key. An error that Stripe replays tells nothing about now.
func (w *Worker) recordAnswer(done func(error), a hold.Answer) {
	switch a.Kind {
	case hold.AnswerUnknown, hold.AnswerUnreachable:
		done(errNoAnswer)
	case hold.AnswerUnauthorized:
		done(nil)
		if w.keyRejected.CompareAndSwap(false, true) {
			w.log.Error("Stripe rejects the key: nothing is claimed until it is accepted again; set stripe_api_key to a valid one and restart",
				zap.String("request_id", a.RequestID))
		}
	default:
		done(nil)
		if w.keyRejected.CompareAndSwap(true, false) {
			w.log.Info("Stripe accepts the key again")
		}
	}
}
