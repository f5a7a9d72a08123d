package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

func keyReusedProblem() error {
	return &hold.Problem{Code: hold.IdempotencyKeyReused, Field: "Idempotency-Key", Detail: "this key came with another request before: send a new one for a new authorization"}
}

func abandonedProblem(id string) error {
	return &hold.Problem{Code: hold.AuthorizationAbandoned, PaymentIntent: id,
		Detail: fmt.Sprintf("authorization %s was not finished within %s, or was canceled: begin anew, with a new Idempotency-Key", id, hold.ConfirmWindow)}
}

func declinedProblem(code, message, id string) error {
	return &hold.Problem{Code: hold.CardDeclined, DeclineCode: cmp.Or(code, "card_declined"), PaymentIntent: id, Detail: cmp.Or(message, "Your card was declined.")}
}

// repeatAnswer answers a request whose attempt is over: with its outcome, and the hold as it is now.
func (a *attempt) repeatAnswer(ctx context.Context) (AuthorizationResult, error) {
	switch a.rec.State {
	case hold.AttemptDeclined:
		return AuthorizationResult{}, declinedProblem(a.rec.FailureCode, a.rec.FailureMessage, a.rec.PaymentIntent)
	case hold.AttemptAbandoned:
		return AuthorizationResult{}, abandonedProblem(a.rec.PaymentIntent)
	}
	h, now, err := a.w.Get(ctx, a.rec.PaymentIntent)
	if errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) { // Redis has lost it
		return a.retrieveAndFinish(ctx)
	}
	if err != nil {
		return AuthorizationResult{}, err
	}
	return AuthorizationResult{PaymentIntent: h.ID, Status: StatusAuthorized, Hold: &h, Now: now}, nil
}

// retrieveAndFinish asks what became of the attempt's intent.
func (a *attempt) retrieveAndFinish(ctx context.Context) (AuthorizationResult, error) {
	au, err := a.w.callInteractive(ctx, a.rec.Account, hold.OpRead, func(ctx context.Context) hold.AuthorizeAnswer {
		return a.w.stripe.RetrieveAuthorization(ctx, a.rec.PaymentIntent, a.rec.Account)
	})
	if err != nil {
		return a.release(ctx, err)
	}
	if au.Kind != hold.AnswerOK {
		return a.answerOutcomeUnknown(ctx)
	}
	return a.finishByIntent(ctx, au)
}

// finishByIntent brings the attempt to what Stripe says of its intent.
func (a *attempt) finishByIntent(ctx context.Context, au hold.AuthorizeAnswer) (AuthorizationResult, error) {
	in := au.Intent
	if !a.rec.Confirm && in.Metadata[hold.MetaAuthorization] != a.rec.ID {
		a.w.log.Error("Stripe answered an authorization with somebody else's intent: nothing is done with it", zap.String("payment_intent", in.ID), zap.String("request_id", au.RequestID))
		return a.answerOutcomeUnknown(ctx)
	}
	a.rec.PaymentIntent = in.ID
	if au.Answer.Replayed { // a stored answer tells what was, not what is
		return a.retrieveAndFinish(ctx)
	}
	out := AuthorizationResult{PaymentIntent: in.ID, Now: a.w.redisNow()}
	switch in.Status {
	case hold.StatusRequiresCapture:
		h, created, err := a.w.placeHold(ctx, in, a.rec.Account, a.rec.By)
		if err != nil {
			return a.release(ctx, err)
		}
		a.saveState(ctx, hold.AttemptAuthorized, time.Time{})
		out.Status, out.Hold, out.Created = StatusAuthorized, &h, created
		return out, nil
	case hold.StatusSucceeded:
		a.saveState(ctx, hold.AttemptAuthorized, time.Time{})
		h, now, err := a.w.Get(ctx, in.ID)
		if errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) {
			err = &hold.Problem{Code: hold.AlreadyCaptured, Detail: fmt.Sprintf("the money of %s was taken already", in.ID)}
		}
		out.Status, out.Hold, out.Now = StatusAuthorized, &h, now
		return out, err
	case hold.StatusCanceled:
		a.saveState(ctx, hold.AttemptAbandoned, time.Time{})
		return AuthorizationResult{}, abandonedProblem(in.ID)
	case hold.StatusRequiresPaymentMethod:
		a.rec.FailureCode, a.rec.FailureMessage = au.FailureCode, au.FailureMessage
		a.saveState(ctx, hold.AttemptDeclined, in.Created.Add(hold.AbandonIntentAfter))
		return AuthorizationResult{}, declinedProblem(a.rec.FailureCode, a.rec.FailureMessage, in.ID)
	case hold.StatusProcessing:
		a.saveState(ctx, hold.AttemptAwaitsCardholder, a.w.redisNow().Add(resumeAfter))
		out.Status = StatusProcessing
		return out, nil
	}
	out.Status, out.ClientSecret, out.NextAction, out.RedirectURL = StatusRequiresAction, au.ClientSecret, au.NextAction, au.RedirectURL
	if in.Status == hold.StatusRequiresConfirmation {
		out.Status = StatusRequiresConfirmation
	}
	a.saveState(ctx, hold.AttemptAwaitsCardholder, in.Created.Add(hold.AbandonIntentAfter))
	return out, nil
}

func (a *attempt) declined(ctx context.Context, au hold.AuthorizeAnswer) (AuthorizationResult, error) {
	next := time.Time{}
	if au.Intent != nil {
		a.rec.PaymentIntent, next = au.Intent.ID, au.Intent.Created.Add(hold.AbandonIntentAfter)
	}
	a.rec.FailureCode, a.rec.FailureMessage = au.Code, au.Message
	a.saveState(ctx, hold.AttemptDeclined, next)
	return AuthorizationResult{}, declinedProblem(au.Code, au.Message, a.rec.PaymentIntent)
}

// refused is a request that Stripe would not have. Nothing happened, so there is nothing to remember: if the key is spent, Stripe says so.
func (a *attempt) refused(ctx context.Context, au hold.AuthorizeAnswer) (AuthorizationResult, error) {
	a.forget(ctx)
	return AuthorizationResult{}, &hold.Problem{Code: hold.AuthorizationRefused, PaymentIntent: a.rec.PaymentIntent,
		Detail: fmt.Sprintf("Stripe refused the request (%s): %s", cmp.Or(au.Code, au.Kind.String()), cmp.Or(au.Message, "it says no more"))}
}

// endUnanswered ends the try: what may have happened is not known, or surely nothing has.
func (a *attempt) endUnanswered(ctx context.Context) (AuthorizationResult, error) {
	if a.unknown {
		return a.answerOutcomeUnknown(ctx)
	}
	return a.release(ctx, fmt.Errorf("%w (Stripe could not be asked)", ErrUnavailable))
}

func (a *attempt) answerOutcomeUnknown(ctx context.Context) (AuthorizationResult, error) {
	return a.release(ctx, &hold.Problem{Code: hold.OutcomeUnknown,
		Detail: "Stripe's answer was lost, so it isn't known whether the card was authorized: repeat the same request with the same Idempotency-Key, that authorizes once at the most"})
}

// release lets the attempt go as it is, for the caller's repetition or for whoever looks after it.
func (a *attempt) release(ctx context.Context, why error) (AuthorizationResult, error) {
	a.save(ctx, true, a.w.redisNow().Add(resumeAfter))
	return AuthorizationResult{}, why
}

func (a *attempt) saveState(ctx context.Context, s hold.AttemptState, next time.Time) {
	a.rec.State = s
	a.save(ctx, true, next)
}

// saveAndHold writes the attempt down before something is done on the ground of it. It reports whether it is still ours.
func (a *attempt) saveAndHold(ctx context.Context) bool {
	return a.save(ctx, false, a.w.redisNow().Add(resumeAfter))
}

func (a *attempt) save(ctx context.Context, release bool, next time.Time) bool {
	ok, err := a.w.store.SaveAuthorization(ctx, a.rec, a.token, release, next)
	if err != nil {
		a.w.reportStoreError(ctx, "write an authorization", err) // it is looked after in a moment, and finds the truth at Stripe
	}
	return ok && err == nil
}

func (a *attempt) forget(ctx context.Context) {
	if err := a.w.store.ForgetAuthorization(ctx, a.rec, a.token); err != nil {
		a.w.reportStoreError(ctx, "forget an authorization", err)
	}
}

// search looks for the intent of an attempt whose answer was lost, by the mark in its metadata. Only a list that was read to its end says that
// there is none.
func (a *attempt) search(ctx context.Context) (id string, sure bool) {
	since := a.rec.BegunAt.Add(-searchSlack)
	if !a.rec.IntentNotBefore.IsZero() {
		since = a.rec.IntentNotBefore
	}
	after := ""
	for range searchPages {
		if !a.w.waitForBudget(ctx, a.rec.Account, hold.OpRead) {
			return "", false
		}
		page, more, an := a.w.listIntents(ctx, a.rec.Account, after)
		if an.Kind != hold.AnswerOK {
			return "", false
		}
		for i := range page {
			if page[i].Metadata[hold.MetaAuthorization] == a.rec.ID {
				return page[i].ID, true
			}
			if page[i].Created.Before(since) {
				return "", true
			}
			after = page[i].ID
		}
		if !more || len(page) == 0 {
			return "", true
		}
	}
	return "", false
}

// waitForBudget draws one request from the budget, waiting for it as long as a guest does.
func (w *Worker) waitForBudget(ctx context.Context, account string, op hold.Op) bool {
	for end := time.Now().Add(interactiveTimeout); ; {
		budget, err := w.store.Reserve(ctx, account, op, 1, reserveAhead)
		if err != nil {
			w.reportStoreError(ctx, "take from the budget", err)
			return false
		}
		if budget.Granted > 0 {
			return budget.First <= 0 || sleepContext(ctx, budget.First)
		}
		wait := budget.Wait
		if time.Now().Add(wait).After(end) || !sleepContext(ctx, wait) {
			return false
		}
	}
}

// callInteractive sends one request that a guest waits for. An error means that nothing was sent.
func (w *Worker) callInteractive(ctx context.Context, account string, op hold.Op, send func(context.Context) hold.AuthorizeAnswer) (hold.AuthorizeAnswer, error) {
	if w.keyRejected.Load() {
		return hold.AuthorizeAnswer{}, fmt.Errorf("%w (Stripe rejects the key)", ErrUnavailable)
	}
	if !w.waitForBudget(ctx, account, op) {
		return hold.AuthorizeAnswer{}, fmt.Errorf("%w (the budget for requests to Stripe is used up)", ErrUnavailable)
	}
	done, err := w.breaker.Allow()
	if err != nil {
		return hold.AuthorizeAnswer{}, fmt.Errorf("%w (Stripe is away)", ErrUnavailable)
	}
	bounded, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	began := time.Now()
	au := send(bounded)
	w.recordAnswer(done, au.Answer)
	if w.o.Observer != nil {
		w.o.Observer.CallFinished(op, au.Kind, time.Since(began))
	}
	w.pauseIfLimited(ctx, account, op, au.Answer)
	return au, nil
}

func sleepContext(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// placeHold makes the hold of an authorized intent, or finds it. Its terms are those of the intent's metadata, and not the caller's: where Redis has lost the
// hold, terms that were changed since stand only there, and the repetition of an old request must not bring the old ones back.
func (w *Worker) placeHold(ctx context.Context, in *hold.Intent, account, by string) (h hold.Hold, created bool, err error) {
	d := w.termsFromIntent(in, account, w.redisNow())
	for range maxConflictRetries {
		existing, now, err := w.store.Read(ctx, in.ID)
		if err != nil {
			return h, false, w.unavailable(ctx, "read a hold", err)
		}
		w.syncClock(now)
		if existing[0] != nil {
			return *existing[0], false, nil
		}
		c, err := hold.NewAuthorized(d, in, by, now)
		if err != nil {
			return h, false, err
		}
		ok, err := w.commitWithRetry(ctx, []hold.RecordWrite{w.newWrite(&hold.Hold{}, &c, now)})
		if err != nil {
			return h, false, w.unavailable(ctx, "write a hold", err)
		}
		if ok[0] {
			c.Hold.Version = 1
			w.recordEvents(&c, hold.Call{}, hold.Answer{}, 0)
			if c.Hold.NextOp != 0 && c.Hold.NextAt.Before(now.Add(lookahead)) {
				w.Wake()
			}
			return c.Hold, true, nil
		}
	}
	return h, false, fmt.Errorf("others keep changing hold %s: %w", in.ID, ErrUnavailable)
}

// termsFromIntent reads the terms in an intent's metadata. They were good when they were written; if somebody has spoiled them since, the hold waits
// for a person, and its deadline's policy is to let the money go.
func (w *Worker) termsFromIntent(in *hold.Intent, account string, now time.Time) *hold.Draft {
	req, paused, _, err := hold.RequestFromMetadata(in, account)
	if err == nil {
		var d *hold.Draft
		if d, err = req.ValidateRecovered(paused, now); err == nil {
			return d
		}
	}
	w.log.Error("an authorized intent's metadata has no terms that can be read: its hold waits, set its time with PATCH /v1/holds/"+in.ID,
		zap.String("payment_intent", in.ID), zap.String("account", account), zap.Error(err))
	return &hold.Draft{ID: in.ID, Account: account, OnExpiry: hold.PolicyCancel}
}
