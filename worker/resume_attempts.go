package worker

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	abandonPerTick   = 64
	resumeRetryAfter = time.Minute
)

// resumeAttempts is the job that looks after attempts to authorize: what a crash left between Stripe and the schedule is scheduled, and what the guest
// never finished is canceled and reported.
func (w *Worker) resumeAttempts(ctx context.Context) {
	ids, now, err := w.store.DueAuthorizations(ctx, abandonPerTick)
	if err != nil {
		w.reportStoreError(ctx, "look after authorizations", err)
		return
	}
	w.syncClock(now)
	for _, id := range ids {
		if ctx.Err() != nil || w.keyRejected.Load() {
			return
		}
		w.resumeAttempt(ctx, id)
	}
}

func (w *Worker) resumeAttempt(ctx context.Context, id string) {
	a := &attempt{w: w, token: rand.Text(), rec: hold.AuthorizationAttempt{ID: id}, until: time.Now().Add(w.o.Lease - leaseSlack), unknown: true}
	rec, begin, now, err := w.store.BeginAuthorization(ctx, a.rec, a.token, w.o.Lease, resumeAfter)
	w.syncClock(now)
	switch {
	case err != nil:
		w.reportStoreError(ctx, "look after an authorization", err)
		return
	case begin == hold.LookupNotFound: // outlived its record
		a.forget(ctx)
		return
	case begin != hold.LookupResumed: // somebody is at it
		return
	}
	a.rec = rec
	a.rec.ID = id
	if a.rec.PaymentIntent == "" {
		found, sure := a.search(ctx)
		switch {
		case found == "" && sure: // the request never took effect, or its answer is told already
			a.save(ctx, true, time.Time{})
			return
		case found == "":
			a.save(ctx, true, w.redisNow().Add(resumeRetryAfter))
			return
		}
		a.rec.PaymentIntent = found
	}
	in := a.retrieveIntent(ctx)
	if in == nil {
		a.save(ctx, true, w.redisNow().Add(resumeRetryAfter))
		return
	}
	switch in.Status {
	case hold.StatusRequiresCapture:
		if _, _, err := w.placeHold(ctx, in, a.rec.Account, a.rec.By); err != nil {
			a.save(ctx, true, w.redisNow().Add(resumeRetryAfter))
			return
		}
		a.saveSettled(ctx, hold.AttemptAuthorized)
	case hold.StatusSucceeded:
		a.saveSettled(ctx, hold.AttemptAuthorized)
	case hold.StatusCanceled:
		if in.CancellationReason == "abandoned" && !a.publishAbandoned(ctx, in) { // by a process that died before it told
			a.save(ctx, true, w.redisNow().Add(resumeRetryAfter))
			return
		}
		a.saveSettled(ctx, hold.AttemptAbandoned)
	case hold.StatusProcessing:
		a.save(ctx, true, w.redisNow().Add(resumeRetryAfter))
	default:
		if due := in.Created.Add(hold.AbandonIntentAfter); w.redisNow().Before(due) {
			if a.rec.State == hold.AttemptBegun && !a.rec.Confirm {
				a.rec.State = hold.AttemptAwaitsCardholder
			}
			a.save(ctx, true, due)
			return
		}
		a.cancelAbandoned(ctx, in)
	}
}

// saveSettled ends an attempt. One that was answered with a refusal keeps its answer: another confirmation brought it here.
func (a *attempt) saveSettled(ctx context.Context, s hold.AttemptState) {
	if a.rec.State != hold.AttemptDeclined {
		a.rec.State = s
	}
	a.save(ctx, true, time.Time{})
}

func (a *attempt) retrieveIntent(ctx context.Context) *hold.Intent {
	au, err := a.w.callInteractive(ctx, a.rec.Account, hold.OpRead, func(ctx context.Context) hold.AuthorizeAnswer {
		return a.w.stripe.RetrieveAuthorization(ctx, a.rec.PaymentIntent, a.rec.Account)
	})
	if err != nil || au.Kind != hold.AnswerOK {
		return nil
	}
	return au.Intent
}

// cancelAbandoned lets go what the guest never finished. By now holdd confirms it no more, so the cancel can't take an authorization with it.
func (a *attempt) cancelAbandoned(ctx context.Context, in *hold.Intent) {
	key := "holdd-abandon-" + in.ID + "-" + strconv.FormatUint(uint64(a.rec.Generation), 10)
	au, err := a.w.callInteractive(ctx, a.rec.Account, hold.OpCancel, func(ctx context.Context) hold.AuthorizeAnswer {
		return hold.AuthorizeAnswer{Answer: a.w.stripe.Do(ctx, hold.Call{Op: hold.OpCancel, PaymentIntent: in.ID, Account: a.rec.Account, Key: key})}
	})
	if err != nil || au.Kind != hold.AnswerOK {
		if au.Kind == hold.AnswerReplayedError && au.Answer.Replayed { // a cancel twice is a cancel
			a.rec.Generation++
		}
		a.save(ctx, true, a.w.redisNow().Add(resumeRetryAfter))
		return
	}
	declined := a.rec.State == hold.AttemptDeclined
	// Before it is settled: should nothing more get done, the next look meets it canceled, and tells.
	if !a.publishAbandoned(ctx, in) {
		a.save(ctx, true, a.w.redisNow().Add(resumeRetryAfter))
		return
	}
	a.saveSettled(ctx, hold.AttemptAbandoned)
	a.w.log.Warn("authorization.abandoned", zap.String("event", "authorization.abandoned"), zap.String("payment_intent", in.ID), zap.String("account", a.rec.Account),
		zap.String("reference", in.Metadata[hold.MetaReference]), zap.Int64("amount", in.Amount), zap.String("currency", in.Currency),
		zap.String("idempotency_key", key), zap.String("request_id", au.RequestID), zap.Bool("declined", declined), zap.String("cause", string(in.Status)))
}

// publishAbandoned tells, once, that an authorization was given up. It returns false if that could not be written down.
func (a *attempt) publishAbandoned(ctx context.Context, in *hold.Intent) bool {
	err := a.w.publishOnce(ctx, TypeAuthorizationAbandoned, in.ID, EventData{Cause: string(in.Status), Intent: &Finding{
		PaymentIntent: in.ID, Account: a.rec.Account, Reference: in.Metadata[hold.MetaReference], Amount: in.Amount, Currency: in.Currency}})
	if err != nil {
		a.w.reportStoreError(ctx, "tell of an authorization that was given up", err)
	}
	return err == nil
}
