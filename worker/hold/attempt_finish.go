package hold

import "time"

// IdempotencyKeyReusedProblem refuses an idempotency key that was sent with
// another request before.
func IdempotencyKeyReusedProblem() *Problem {
	return newProblem(IdempotencyKeyReused, "Idempotency-Key",
		"this key was sent with another request: use a new key for a new authorization")
}

func authorizationAbandonedProblem(id string) *Problem {
	p := newProblem(AuthorizationAbandoned, "", "authorization %s was not finished within %s, "+
		"or was canceled: start again with a new Idempotency-Key", id, ConfirmWindow)
	p.PaymentIntent = id
	return p
}

func cardDeclinedProblem(code, message, id string) *Problem {
	if code == "" {
		code = "card_declined"
	}
	if message == "" {
		message = "Your card was declined."
	}
	return &Problem{Code: CardDeclined, DeclineCode: code, PaymentIntent: id, Detail: message}
}

// startWithFinishedAttempt starts a run for an attempt that has ended: the
// response is its outcome and the current hold.
func startWithFinishedAttempt(m *AuthorizationAttemptMachine) {
	a := &m.attempt
	switch a.State {
	case AttemptDeclined:
		m.endWithoutSaving(cardDeclinedProblem(a.FailureCode, a.FailureMessage, a.PaymentIntent))
	case AttemptAbandoned:
		m.endWithoutSaving(authorizationAbandonedProblem(a.PaymentIntent))
	default:
		m.state = stateReadHoldOfFinished
	}
}

func newReadHoldStep(*AuthorizationAttemptMachine, time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepReadHold}
}

func applyReadHoldResult(m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time) {
	switch {
	case r.Err != nil:
		m.endWithoutSaving(r.Err)
	case r.Hold == nil: // Redis lost it
		m.state = stateRetrieve
	default:
		m.result = AuthorizationResult{PaymentIntent: r.Hold.ID, Status: AuthorizationDone,
			Hold: r.Hold, Now: now}
		m.endWithoutSaving(nil)
	}
}

func newRetrieveIntentStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepCall,
		Call: Call{Op: OpRead, PaymentIntent: m.attempt.PaymentIntent, Account: m.attempt.Account}}
}

func applyRetrieveIntentResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	switch {
	case r.wasNotSent():
		m.endNotSent(r, now)
	case r.Answer.Kind != AnswerOK:
		m.endOutcomeUnknown(now)
	default:
		r.Answer.Replayed = false // a read is current
		m.endRunByIntent(r.Answer, now)
	}
}

// endRunByIntent ends the run according to the intent in an answer.
func (m *AuthorizationAttemptMachine) endRunByIntent(a Answer, now time.Time) {
	in := a.Intent
	if !m.attempt.Confirm && in.Metadata[MetaAuthorization] != m.attempt.ID {
		m.foreign = &a
		m.endOutcomeUnknown(now)
		return
	}
	m.attempt.PaymentIntent, m.intent = in.ID, in
	if a.Replayed {
		m.state = stateRetrieve
		return
	}
	m.result = AuthorizationResult{PaymentIntent: in.ID, Now: now}
	switch in.Status {
	case StatusRequiresCapture:
		m.state = statePlace
	case StatusSucceeded:
		m.state = stateReadHoldOfCaptured
	case StatusCanceled:
		m.setError(authorizationAbandonedProblem(in.ID))
		m.endAndSaveAttempt(AttemptAbandoned, time.Time{})
	case StatusRequiresPaymentMethod:
		c := cardholderActionOf(&a)
		m.attempt.FailureCode, m.attempt.FailureMessage = c.FailureCode, c.FailureMessage
		m.setError(cardDeclinedProblem(c.FailureCode, c.FailureMessage, in.ID))
		m.endAndSaveAttempt(AttemptDeclined, in.Created.Add(AbandonIntentAfter))
	case StatusProcessing:
		m.result.Status = AuthorizationProcessing
		m.endAndSaveAttempt(AttemptAwaitsCardholder, now.Add(ResumeAttemptAfter))
	default:
		endRunWithCardholderAction(m, a)
	}
}

// endRunWithCardholderAction ends the run with the action that the cardholder must
// take.
func endRunWithCardholderAction(m *AuthorizationAttemptMachine, a Answer) {
	c := cardholderActionOf(&a)
	m.result.ClientSecret, m.result.NextAction = c.ClientSecret, c.NextAction
	m.result.RedirectURL = c.RedirectURL
	m.result.Status = AuthorizationRequiresAction
	if a.Intent.Status == StatusRequiresConfirmation {
		m.result.Status = AuthorizationRequiresConfirmation
	}
	m.endAndSaveAttempt(AttemptAwaitsCardholder, a.Intent.Created.Add(AbandonIntentAfter))
}

// cardholderActionOf returns the cardholder's part of an answer; it may be
// empty.
func cardholderActionOf(a *Answer) CardholderAction {
	if a.Cardholder == nil {
		return CardholderAction{}
	}
	return *a.Cardholder
}

// endCardDeclined ends the run because the bank declined.
func (m *AuthorizationAttemptMachine) endCardDeclined(a Answer) {
	resumeAt := time.Time{}
	if a.Intent != nil {
		m.attempt.PaymentIntent, resumeAt = a.Intent.ID, a.Intent.Created.Add(AbandonIntentAfter)
	}
	m.attempt.FailureCode, m.attempt.FailureMessage = a.Code, a.Message
	m.setError(cardDeclinedProblem(a.Code, a.Message, m.attempt.PaymentIntent))
	m.endAndSaveAttempt(AttemptDeclined, resumeAt)
}

// setError sets the error that the caller gets.
func (m *AuthorizationAttemptMachine) setError(err error) {
	m.result,
		m.err = AuthorizationResult{}, err
}

func newCreateHoldStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepPlaceHold, Intent: m.intent}
}

func applyCreateHoldResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.Err != nil {
		m.result = AuthorizationResult{}
		m.endWithError(r.Err, now)
		return
	}
	m.result.Status, m.result.Hold, m.result.Created = AuthorizationDone, r.Hold, r.Created
	m.endAndSaveAttempt(AttemptAuthorized, time.Time{})
}

// applyReadCapturedHoldResult ends the run of an intent that was captured before.
func applyReadCapturedHoldResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	switch {
	case r.Err != nil:
		m.setError(r.Err)
	case r.Hold == nil:
		m.setError(newProblem(AlreadyCaptured, "", "authorization %s was already captured",
			m.attempt.PaymentIntent))
	default:
		m.result.Status, m.result.Hold, m.result.Now = AuthorizationDone, r.Hold, now
	}
	m.endAndSaveAttempt(AttemptAuthorized, time.Time{})
}
