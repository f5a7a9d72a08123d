package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Authorizer is what authorizing cards needs of Stripe.
type Authorizer interface {
	Authorize(ctx context.Context, c hold.AuthorizeCall) hold.AuthorizeAnswer
	Confirm(ctx context.Context, c hold.AuthorizeCall) hold.AuthorizeAnswer
	RetrieveAuthorization(ctx context.Context, id, account string) hold.AuthorizeAnswer
}

// Attempts is where attempts to authorize are written down. Its methods are described at package store.
type Attempts interface {
	BeginAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string, lease, look time.Duration) (hold.AuthorizationAttempt, hold.AttemptLookup, time.Time, error)
	SaveAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string, release bool, next time.Time) (bool, error)
	ForgetAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string) error
	DueAuthorizations(ctx context.Context, n int) (ids []string, now time.Time, err error)
}

// AuthorizationResult is what a caller is told of a card's authorization. Its secrets are for the guest's browser alone.
type AuthorizationResult struct {
	PaymentIntent string
	Status        AuthorizationStatus
	Hold          *hold.Hold // once authorized
	Created       bool       // by this very request
	Now           time.Time
	ClientSecret  hold.Secret
	NextAction    string
	RedirectURL   hold.Secret
}

// AuthorizationStatus says who is to do the next step.
type AuthorizationStatus string

const (
	StatusAuthorized           AuthorizationStatus = "authorized"            // nobody: there is a hold
	StatusRequiresAction       AuthorizationStatus = "requires_action"       // the guest, with the client secret
	StatusRequiresConfirmation AuthorizationStatus = "requires_confirmation" // the caller: confirm
	StatusProcessing           AuthorizationStatus = "processing"            // Stripe: the hold appears by itself
)

const (
	authorizeTries = 3
	authorizePause = 500 * time.Millisecond
	// duplicateWaitLimit is how long a second click waits for the first one's outcome.
	duplicateWaitLimit = 8 * time.Second
	// resumeAfter is when an attempt is looked after whose process said no more.
	resumeAfter = 2 * time.Minute
	// Bounds of the search for an intent whose answer was lost.
	searchPages       = 40
	searchSlack       = 5 * time.Minute // clocks differ
	lostAttemptWindow = 48 * time.Hour  // back from when Redis had forgotten the attempt
)

// attempt is one caller's attempt while somebody is at it.
type attempt struct {
	w       *Worker
	rec     hold.AuthorizationAttempt
	token   string
	call    hold.AuthorizeCall
	until   time.Time // our clock: when the lease ends, reckoned from before it was asked for
	unknown bool      // a request may have been sent under the present key, and what became of it isn't known
	fresh   bool      // nothing was known of the attempt
}

// Authorize authorizes a card, once for each key however often it is called, and schedules the hold that follows. It goes on though the caller
// goes away, because the guest's card may be held by then. Errors are *hold.Problem or wrap ErrUnavailable.
func (w *Worker) Authorize(ctx context.Context, key string, req hold.AuthorizeRequest, by string) (AuthorizationResult, error) {
	id, err := hold.AttemptID(key)
	if err != nil {
		return AuthorizationResult{}, err
	}
	a := &attempt{w: w, rec: hold.AuthorizationAttempt{ID: id, Digest: req.Digest(), State: hold.AttemptBegun, Account: req.Account, Generation: 1, By: by}}
	_, a.call, err = req.Validate(id, w.redisNow())
	past := errors.Is(err, &hold.Problem{Code: hold.InThePast})
	switch {
	case past:
		a.rec.State = 0 // a repeated request may be older than its times, a new one may not
	case err != nil:
		return AuthorizationResult{}, err
	}
	begin, e := a.begin(ctx)
	if e != nil {
		return AuthorizationResult{}, e
	}
	if begin == hold.LookupNotFound {
		return AuthorizationResult{}, err
	}
	if past {
		if _, a.call, err = req.Validate(id, a.rec.BegunAt); err != nil {
			return AuthorizationResult{}, err
		}
	}
	return a.proceed(ctx, begin, a.create)
}

// ConfirmAuthorization confirms an authorization of [Worker.Authorize] once more, after the guest has acted or with another card. See there.
func (w *Worker) ConfirmAuthorization(ctx context.Context, id, key string, req hold.ConfirmRequest, by string) (AuthorizationResult, error) {
	attemptID, err := hold.AttemptID(key)
	if err != nil {
		return AuthorizationResult{}, err
	}
	call, err := req.Validate(id)
	if err != nil {
		return AuthorizationResult{}, err
	}
	a := &attempt{w: w, call: call, rec: hold.AuthorizationAttempt{ID: attemptID, Digest: req.Digest(id), State: hold.AttemptBegun, Confirm: true,
		Account: req.Account, PaymentIntent: id, Generation: 1, By: by}}
	begin, err := a.begin(ctx)
	if err != nil {
		return AuthorizationResult{}, err
	}
	return a.proceed(ctx, begin, a.confirm)
}

func (a *attempt) proceed(ctx context.Context, begin hold.AttemptLookup, do func(context.Context) (AuthorizationResult, error)) (AuthorizationResult, error) {
	if begin == hold.LookupFinished {
		return a.repeatAnswer(ctx)
	}
	a.fresh, a.unknown = begin == hold.LookupCreated, begin != hold.LookupCreated
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Until(a.until))
	defer cancel()
	return do(detached)
}

// begin writes the attempt down and waits, for a while, for somebody else who is at it.
func (a *attempt) begin(ctx context.Context) (hold.AttemptLookup, error) {
	w := a.w
	a.token = rand.Text()
	mine := a.rec
	end := time.Now().Add(duplicateWaitLimit)
	failed := 0
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, authorizePause) {
		a.until = time.Now().Add(w.o.Lease - leaseSlack)
		rec, begin, now, err := w.store.BeginAuthorization(ctx, mine, a.token, w.o.Lease, resumeAfter)
		w.syncClock(now)
		switch {
		case err != nil:
			if failed++; failed > 1 || ctx.Err() != nil { // once more with the same token: only the reply may have been lost
				return 0, w.unavailable(ctx, "write an authorization down", err)
			}
		case begin == hold.LookupKeyReused:
			return 0, keyReusedProblem()
		case begin != hold.LookupBusy:
			a.rec = rec
			a.rec.ID, a.rec.Digest = mine.ID, mine.Digest
			return begin, nil
		case time.Now().After(end):
			return 0, &hold.Problem{Code: hold.InProgress, Field: "Idempotency-Key", Detail: "the same request is under way: repeat it in a moment, with the same Idempotency-Key"}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return 0, fmt.Errorf("%w (waiting for the same request)", ErrUnavailable)
		case <-t.C:
		}
	}
}

// create sends the request until it is known what became of it, or for as long as is decent.
func (a *attempt) create(ctx context.Context) (AuthorizationResult, error) {
	if a.rec.PaymentIntent != "" {
		return a.retrieveAndFinish(ctx)
	}
	spent := false // the key is of no more use
	for try := 1; ; try++ {
		if spent || a.unknown && !a.rec.IdempotencyKeyFresh(a.w.redisNow()) {
			found, sure := a.search(ctx)
			switch {
			case found != "":
				a.rec.PaymentIntent = found
				return a.retrieveAndFinish(ctx)
			case !sure:
				return a.answerOutcomeUnknown(ctx)
			}
			a.rec.Generation++
			a.rec.KeyUsedSince = a.w.redisNow()
			if !a.saveAndHold(ctx) {
				return a.answerOutcomeUnknown(ctx)
			}
			a.unknown, spent = false, false
		}
		if try > authorizeTries || time.Until(a.until) < a.w.o.CallTimeout {
			return a.endUnanswered(ctx)
		}
		a.call.Key = a.rec.IdempotencyKey()
		au, err := a.w.callInteractive(ctx, a.rec.Account, hold.OpAuthorize, func(ctx context.Context) hold.AuthorizeAnswer { return a.w.stripe.Authorize(ctx, a.call) })
		if err != nil {
			return a.release(ctx, err)
		}
		if a.fresh && au.Answer.Replayed && a.rec.IntentNotBefore.IsZero() { // Redis has lost what it knew
			a.rec.IntentNotBefore = a.rec.BegunAt.Add(-lostAttemptWindow)
			if !a.saveAndHold(ctx) {
				return a.answerOutcomeUnknown(ctx)
			}
		}
		switch au.Kind {
		case hold.AnswerOK:
			return a.finishByIntent(ctx, au)
		case hold.AnswerDeclined:
			return a.declined(ctx, au)
		case hold.AnswerReplayedError:
			// Only a stored answer proves that no twin of this request can have an effect any more.
			a.unknown, spent = true, au.Answer.Replayed
		case hold.AnswerUnknown:
			a.unknown = true
		case hold.AnswerKeyInUse, hold.AnswerLockTimeout:
			a.unknown = true
		case hold.AnswerUnreachable, hold.AnswerRateLimited, hold.AnswerUnauthorized, hold.AnswerForbidden:
			if au.Kind != hold.AnswerUnreachable || try >= authorizeTries {
				return a.endUnanswered(ctx)
			}
		case hold.AnswerIdempotencyError:
			if a.fresh {
				a.forget(ctx)
				return AuthorizationResult{}, keyReusedProblem()
			}
			// The caller asks for the same as before (the digest says so), and an older holdd worded it otherwise: what became of that is searched for.
			a.unknown, spent = true, true
		default:
			if a.unknown { // an earlier request may have been granted all the same
				if found, sure := a.search(ctx); found != "" {
					a.rec.PaymentIntent = found
					return a.retrieveAndFinish(ctx)
				} else if !sure {
					return a.answerOutcomeUnknown(ctx)
				}
			}
			return a.refused(ctx, au)
		}
		sleepContext(ctx, authorizePause)
	}
}

// confirm looks first: only an intent of ours is confirmed, within the guest's time, and only where there is something to confirm.
func (a *attempt) confirm(ctx context.Context) (AuthorizationResult, error) {
	for try := 1; ; try++ {
		au, err := a.w.callInteractive(ctx, a.rec.Account, hold.OpRead, func(ctx context.Context) hold.AuthorizeAnswer {
			return a.w.stripe.RetrieveAuthorization(ctx, a.rec.PaymentIntent, a.rec.Account)
		})
		switch {
		case err != nil:
			return a.release(ctx, err)
		case au.Kind == hold.AnswerNotFound && try == 1 && !a.unknown, au.Kind == hold.AnswerOK && au.Intent.Metadata[hold.MetaAuthorization] == "":
			a.forget(ctx)
			return AuthorizationResult{}, &hold.Problem{Code: hold.AuthorizationNotFound, Detail: fmt.Sprintf("there is no authorization %s of this holdd: check the id and the account", a.rec.PaymentIntent)}
		case au.Kind != hold.AnswerOK:
			return a.endUnanswered(ctx)
		}
		in := au.Intent
		other := a.call.PaymentMethod != ""
		switch {
		case in.Status != hold.StatusRequiresConfirmation && in.Status != hold.StatusRequiresAction && in.Status != hold.StatusRequiresPaymentMethod:
			return a.finishByIntent(ctx, au)
		case in.ConfirmWindowOver(a.w.redisNow()):
			a.forget(ctx)
			return AuthorizationResult{}, abandonedProblem(in.ID)
		case in.Status == hold.StatusRequiresAction && !other:
			return a.finishByIntent(ctx, au)
		case in.Status == hold.StatusRequiresPaymentMethod && (!other || a.rec.ConfirmSent):
			// Nothing to pay with: it was refused, maybe by the very request whose answer was lost.
			return a.finishByIntent(ctx, au)
		case try > authorizeTries || time.Until(a.until) < a.w.o.CallTimeout:
			return a.endUnanswered(ctx)
		}
		if !a.rec.ConfirmSent {
			a.rec.ConfirmSent = true
			if !a.saveAndHold(ctx) {
				return a.answerOutcomeUnknown(ctx)
			}
		}
		a.call.Key = a.rec.IdempotencyKey()
		if au, err = a.w.callInteractive(ctx, a.rec.Account, hold.OpAuthorize, func(ctx context.Context) hold.AuthorizeAnswer { return a.w.stripe.Confirm(ctx, a.call) }); err != nil {
			return a.release(ctx, err)
		}
		switch {
		case au.Kind == hold.AnswerOK && !au.Answer.Replayed:
			return a.finishByIntent(ctx, au)
		case au.Kind == hold.AnswerDeclined:
			return a.declined(ctx, au)
		}
		switch au.Kind {
		case hold.AnswerOK, hold.AnswerReplayedError:
			// A stored answer tells what was: the next look tells what is, and where there is still something to confirm it needs a new key.
			a.unknown = true
			if au.Answer.Replayed { // another key is safe: of one intent there is one authorization
				a.rec.Generation++
				if !a.saveAndHold(ctx) {
					return a.answerOutcomeUnknown(ctx)
				}
			}
		case hold.AnswerUnknown, hold.AnswerKeyInUse, hold.AnswerLockTimeout:
			a.unknown = true
		case hold.AnswerUnexpectedState:
			// The next look tells which.
		case hold.AnswerUnreachable:
		case hold.AnswerRateLimited, hold.AnswerUnauthorized, hold.AnswerForbidden:
			return a.endUnanswered(ctx)
		case hold.AnswerIdempotencyError:
			if a.fresh {
				a.forget(ctx)
				return AuthorizationResult{}, keyReusedProblem()
			}
			a.unknown = true
			a.rec.Generation++
			if !a.saveAndHold(ctx) {
				return a.answerOutcomeUnknown(ctx)
			}
		default:
			if !a.unknown {
				return a.refused(ctx, au)
			}
		}
		sleepContext(ctx, authorizePause)
	}
}
