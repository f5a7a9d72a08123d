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
	abandonPerTick = 64
	lookLater      = time.Minute
)

// abandon is the job that looks after attempts to authorize: what a crash left between Stripe and the schedule is scheduled, and what the guest
// never finished is canceled and reported.
func (w *Worker) abandon(ctx context.Context) {
	ids, now, err := w.store.DueAuthorizations(ctx, abandonPerTick)
	if err != nil {
		w.storeFailed(ctx, "look after authorizations", err)
		return
	}
	w.sync(now)
	for _, id := range ids {
		if ctx.Err() != nil || w.rejected.Load() {
			return
		}
		w.lookAfter(ctx, id)
	}
}

func (w *Worker) lookAfter(ctx context.Context, id string) {
	a := &attempt{w: w, token: rand.Text(), rec: hold.Authorization{ID: id}, until: time.Now().Add(w.o.Lease - tickSlack), unknown: true}
	rec, begin, now, err := w.store.BeginAuthorization(ctx, a.rec, a.token, w.o.Lease, lookSoon)
	w.sync(now)
	switch {
	case err != nil:
		w.storeFailed(ctx, "look after an authorization", err)
		return
	case begin == hold.BeginNone: // outlived its record
		a.forget(ctx)
		return
	case begin != hold.BeginTaken: // somebody is at it
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
			a.save(ctx, true, w.now().Add(lookLater))
			return
		}
		a.rec.PaymentIntent = found
	}
	in := a.peek(ctx)
	if in == nil {
		a.save(ctx, true, w.now().Add(lookLater))
		return
	}
	switch in.Status {
	case hold.StatusRequiresCapture:
		if _, _, err := w.place(ctx, in, a.rec.Account, a.rec.By); err != nil {
			a.save(ctx, true, w.now().Add(lookLater))
			return
		}
		a.settled(ctx, hold.AuthorizationDone)
	case hold.StatusSucceeded:
		a.settled(ctx, hold.AuthorizationDone)
	case hold.StatusCanceled:
		if in.CancellationReason == "abandoned" && !a.tellAbandoned(ctx, in) { // by a process that died before it told
			a.save(ctx, true, w.now().Add(lookLater))
			return
		}
		a.settled(ctx, hold.AuthorizationGivenUp)
	case hold.StatusProcessing:
		a.save(ctx, true, w.now().Add(lookLater))
	default:
		if due := in.Created.Add(hold.AbandonAfter); w.now().Before(due) {
			if a.rec.State == hold.AuthorizationBegun && !a.rec.Confirm {
				a.rec.State = hold.AuthorizationOpen
			}
			a.save(ctx, true, due)
			return
		}
		a.cancel(ctx, in)
	}
}

// settled ends an attempt. One that was answered with a refusal keeps its answer: another confirmation brought it here.
func (a *attempt) settled(ctx context.Context, s hold.AuthorizationState) {
	if a.rec.State != hold.AuthorizationDeclined {
		a.rec.State = s
	}
	a.save(ctx, true, time.Time{})
}

func (a *attempt) peek(ctx context.Context) *hold.Intent {
	au, err := a.w.guest(ctx, a.rec.Account, hold.OpRead, func(ctx context.Context) hold.Authorized {
		return a.w.stripe.Look(ctx, a.rec.PaymentIntent, a.rec.Account)
	})
	if err != nil || au.Kind != hold.AnswerOK {
		return nil
	}
	return au.Intent
}

// cancel lets go what the guest never finished. By now holdd confirms it no more, so the cancel can't take an authorization with it.
func (a *attempt) cancel(ctx context.Context, in *hold.Intent) {
	key := "holdd-abandon-" + in.ID + "-" + strconv.FormatUint(uint64(a.rec.Generation), 10)
	au, err := a.w.guest(ctx, a.rec.Account, hold.OpCancel, func(ctx context.Context) hold.Authorized {
		return hold.Authorized{Answer: a.w.stripe.Do(ctx, hold.Call{Op: hold.OpCancel, PaymentIntent: in.ID, Account: a.rec.Account, Key: key})}
	})
	if err != nil || au.Kind != hold.AnswerOK {
		if au.Kind == hold.AnswerReplayedError && au.Answer.Replayed { // a cancel twice is a cancel
			a.rec.Generation++
		}
		a.save(ctx, true, a.w.now().Add(lookLater))
		return
	}
	declined := a.rec.State == hold.AuthorizationDeclined
	// Before it is settled: should nothing more get done, the next look meets it canceled, and tells.
	if !a.tellAbandoned(ctx, in) {
		a.save(ctx, true, a.w.now().Add(lookLater))
		return
	}
	a.settled(ctx, hold.AuthorizationGivenUp)
	a.w.log.Warn("authorization.abandoned", zap.String("event", "authorization.abandoned"), zap.String("payment_intent", in.ID), zap.String("account", a.rec.Account),
		zap.String("reference", in.Metadata[hold.MetaReference]), zap.Int64("amount", in.Amount), zap.String("currency", in.Currency),
		zap.String("idempotency_key", key), zap.String("request_id", au.RequestID), zap.Bool("declined", declined), zap.String("cause", string(in.Status)))
}

// tellAbandoned tells, once, that an authorization was given up. It returns false if that could not be written down.
func (a *attempt) tellAbandoned(ctx context.Context, in *hold.Intent) bool {
	err := a.w.publish(ctx, TypeAuthorizationAbandoned, in.ID, EventData{Cause: string(in.Status), Intent: &Finding{
		PaymentIntent: in.ID, Account: a.rec.Account, Reference: in.Metadata[hold.MetaReference], Amount: in.Amount, Currency: in.Currency}})
	if err != nil {
		a.w.storeFailed(ctx, "tell of an authorization that was given up", err)
	}
	return err == nil
}
