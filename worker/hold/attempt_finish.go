package hold

import "time"

// KeyReusedProblem refuses an idempotency key that was sent with another
// request before.
func KeyReusedProblem() *Problem {
	return problem(IdempotencyKeyReused, "Idempotency-Key",
		"this key was sent with another request: use a new key for a new authorization")
}

func abandonedProblem(id string) *Problem {
	p := problem(AuthorizationAbandoned, "", "authorization %s was not finished within %s, "+
		"or was canceled: start again with a new Idempotency-Key", id, ConfirmWindow)
	p.PaymentIntent = id
	return p
}

func declinedProblem(code, message, id string) *Problem {
	if code == "" {
		code = "card_declined"
	}
	if message == "" {
		message = "Your card was declined."
	}
	return &Problem{Code: CardDeclined, DeclineCode: code, PaymentIntent: id, Detail: message}
}

// startFinished starts a run for an attempt that has ended: the response is
// its outcome and the current hold.
func startFinished(m *AuthorizationMachine) {
	a := &m.attempt
	switch a.State {
	case AttemptDeclined:
		m.endWithoutSaving(declinedProblem(a.FailureCode, a.FailureMessage, a.PaymentIntent))
	case AttemptAbandoned:
		m.endWithoutSaving(abandonedProblem(a.PaymentIntent))
	default:
		m.state = stateReadHoldOfFinished
	}
}

func nextReadHold(*AuthorizationMachine, time.Time) Step { return Step{Kind: StepReadHold} }

func applyReadHoldOfFinished(m *AuthorizationMachine, r StepResult, now time.Time) {
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

func nextRetrieve(m *AuthorizationMachine, _ time.Time) Step {
	return Step{Kind: StepCall,
		Call: Call{Op: OpRead, PaymentIntent: m.attempt.PaymentIntent, Account: m.attempt.Account}}
}

func applyRetrieve(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch {
	case r.notSent():
		m.applyNotSent(r, now)
	case r.Answer.Kind != AnswerOK:
		m.endUnknown(now)
	default:
		r.Answer.Replayed = false // a read is current
		m.applyIntent(r.Answer, now)
	}
}

// applyIntent ends the run according to the intent in an answer.
func (m *AuthorizationMachine) applyIntent(a Answer, now time.Time) {
	in := a.Intent
	if !m.attempt.Confirm && in.Metadata[MetaAuthorization] != m.attempt.ID {
		m.foreign = &a
		m.endUnknown(now)
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
		m.setError(abandonedProblem(in.ID))
		m.endAs(AttemptAbandoned, time.Time{})
	case StatusRequiresPaymentMethod:
		c := cardholderOf(&a)
		m.attempt.FailureCode, m.attempt.FailureMessage = c.FailureCode, c.FailureMessage
		m.setError(declinedProblem(c.FailureCode, c.FailureMessage, in.ID))
		m.endAs(AttemptDeclined, in.Created.Add(AbandonIntentAfter))
	case StatusProcessing:
		m.result.Status = AuthorizationProcessing
		m.endAs(AttemptAwaitsCardholder, now.Add(ResumeAttemptAfter))
	default:
		awaitCardholder(m, a)
	}
}

// awaitCardholder ends the run with the action that the cardholder must take.
func awaitCardholder(m *AuthorizationMachine, a Answer) {
	c := cardholderOf(&a)
	m.result.ClientSecret, m.result.NextAction = c.ClientSecret, c.NextAction
	m.result.RedirectURL = c.RedirectURL
	m.result.Status = AuthorizationRequiresAction
	if a.Intent.Status == StatusRequiresConfirmation {
		m.result.Status = AuthorizationRequiresConfirmation
	}
	m.endAs(AttemptAwaitsCardholder, a.Intent.Created.Add(AbandonIntentAfter))
}

// cardholderOf returns the cardholder's part of an answer; it may be empty.
func cardholderOf(a *Answer) CardholderAction {
	if a.Cardholder == nil {
		return CardholderAction{}
	}
	return *a.Cardholder
}

// endDeclined ends the run because the bank declined.
func (m *AuthorizationMachine) endDeclined(a Answer) {
	resumeAt := time.Time{}
	if a.Intent != nil {
		m.attempt.PaymentIntent, resumeAt = a.Intent.ID, a.Intent.Created.Add(AbandonIntentAfter)
	}
	m.attempt.FailureCode, m.attempt.FailureMessage = a.Code, a.Message
	m.setError(declinedProblem(a.Code, a.Message, m.attempt.PaymentIntent))
	m.endAs(AttemptDeclined, resumeAt)
}

// setError sets the error that the caller gets.
func (m *AuthorizationMachine) setError(err error) { m.result, m.err = AuthorizationResult{}, err }

func nextPlaceHold(m *AuthorizationMachine, _ time.Time) Step {
	return Step{Kind: StepPlaceHold, Intent: m.intent}
}

func applyPlaceHold(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.result = AuthorizationResult{}
		m.endWithError(r.Err, now)
		return
	}
	m.result.Status, m.result.Hold, m.result.Created = AuthorizationDone, r.Hold, r.Created
	m.endAs(AttemptAuthorized, time.Time{})
}

// applyReadHoldOfCaptured ends the run of an intent that was captured before.
func applyReadHoldOfCaptured(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch {
	case r.Err != nil:
		m.setError(r.Err)
	case r.Hold == nil:
		m.setError(problem(AlreadyCaptured, "", "authorization %s was already captured",
			m.attempt.PaymentIntent))
	default:
		m.result.Status, m.result.Hold, m.result.Now = AuthorizationDone, r.Hold, now
	}
	m.endAs(AttemptAuthorized, time.Time{})
}
