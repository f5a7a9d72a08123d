package hold

import "time"

// KeyReusedProblem says that an idempotency key came with another request
// before.
func KeyReusedProblem() *Problem {
	return problem(IdempotencyKeyReused, "Idempotency-Key",
		"this key came with another request before: send a new one for a new authorization")
}

func abandonedProblem(id string) *Problem {
	p := problem(AuthorizationAbandoned, "", "authorization %s was not finished within %s, "+
		"or was canceled: begin anew, with a new Idempotency-Key", id, ConfirmWindow)
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

// answerFinished begins a run for an attempt that has ended: the answer is its
// outcome, and the hold as it is now.
func (m *AuthorizationMachine) answerFinished() {
	a := &m.attempt
	switch a.State {
	case AttemptDeclined:
		m.done(declinedProblem(a.FailureCode, a.FailureMessage, a.PaymentIntent))
	case AttemptAbandoned:
		m.done(abandonedProblem(a.PaymentIntent))
	default:
		m.state = stateReadFinished
	}
}

func nextReadHold(*AuthorizationMachine, time.Time) Step { return Step{Kind: StepReadHold} }

func applyReadFinished(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch {
	case r.Err != nil:
		m.done(r.Err)
	case r.Hold == nil: // Redis has lost it
		m.state = stateRetrieve
	default:
		m.result = AuthorizationResult{PaymentIntent: r.Hold.ID, Status: AuthorizationDone,
			Hold: r.Hold, Now: now}
		m.done(nil)
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
		r.Answer.Replayed = false // a read tells what is
		m.applyIntent(r.Answer, now)
	}
}

// applyIntent ends the run as the intent in an answer says.
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
		m.state = stateReadCaptured
	case StatusCanceled:
		m.end(abandonedProblem(in.ID))
		m.releaseAs(AttemptAbandoned, time.Time{})
	case StatusRequiresPaymentMethod:
		c := cardholderOf(&a)
		m.attempt.FailureCode, m.attempt.FailureMessage = c.FailureCode, c.FailureMessage
		m.end(declinedProblem(c.FailureCode, c.FailureMessage, in.ID))
		m.releaseAs(AttemptDeclined, in.Created.Add(AbandonIntentAfter))
	case StatusProcessing:
		m.result.Status = AuthorizationProcessing
		m.releaseAs(AttemptAwaitsCardholder, now.Add(ResumeAttemptAfter))
	default:
		m.awaitCardholder(a)
	}
}

// awaitCardholder ends the run with what the cardholder needs to go on.
func (m *AuthorizationMachine) awaitCardholder(a Answer) {
	c := cardholderOf(&a)
	m.result.ClientSecret, m.result.NextAction = c.ClientSecret, c.NextAction
	m.result.RedirectURL = c.RedirectURL
	m.result.Status = AuthorizationRequiresAction
	if a.Intent.Status == StatusRequiresConfirmation {
		m.result.Status = AuthorizationRequiresConfirmation
	}
	m.releaseAs(AttemptAwaitsCardholder, a.Intent.Created.Add(AbandonIntentAfter))
}

// cardholderOf is what an answer has for the cardholder, empty if it has
// nothing.
func cardholderOf(a *Answer) Cardholder {
	if a.Cardholder == nil {
		return Cardholder{}
	}
	return *a.Cardholder
}

// decline ends the run because the bank declined.
func (m *AuthorizationMachine) decline(a Answer) {
	resumeAt := time.Time{}
	if a.Intent != nil {
		m.attempt.PaymentIntent, resumeAt = a.Intent.ID, a.Intent.Created.Add(AbandonIntentAfter)
	}
	m.attempt.FailureCode, m.attempt.FailureMessage = a.Code, a.Message
	m.end(declinedProblem(a.Code, a.Message, m.attempt.PaymentIntent))
	m.releaseAs(AttemptDeclined, resumeAt)
}

// end sets the error that the caller gets.
func (m *AuthorizationMachine) end(err error) { m.result, m.err = AuthorizationResult{}, err }

func nextPlace(m *AuthorizationMachine, _ time.Time) Step {
	return Step{Kind: StepPlaceHold, Intent: m.intent}
}

func applyPlace(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.result = AuthorizationResult{}
		m.release(r.Err, now)
		return
	}
	m.result.Status, m.result.Hold, m.result.Created = AuthorizationDone, r.Hold, r.Created
	m.releaseAs(AttemptAuthorized, time.Time{})
}

// applyReadCaptured answers for an intent whose money is captured already.
func applyReadCaptured(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch {
	case r.Err != nil:
		m.end(r.Err)
	case r.Hold == nil:
		m.end(problem(AlreadyCaptured, "", "authorization %s was captured already",
			m.attempt.PaymentIntent))
	default:
		m.result.Status, m.result.Hold, m.result.Now = AuthorizationDone, r.Hold, now
	}
	m.releaseAs(AttemptAuthorized, time.Time{})
}
