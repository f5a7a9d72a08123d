package hold

import "time"

func applyResumeSearch(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch applySearchPage(m, r) {
	case searchFound:
		m.state = stateResumeRetrieve
	case searchUnsure:
		m.resumeLater(r, now)
	case searchNone: // the request had no effect
		m.endAs(m.attempt.State, time.Time{})
	}
}

// resumeLater ends the run with the attempt as it is. The 16th, 32nd, 64th …
// run in a row that Stripe answered without an outcome publishes an alert
// first.
func (m *AuthorizationMachine) resumeLater(r StepResult, now time.Time) {
	wait, n := resumeRetryAfter, m.attempt.InconclusiveRuns
	if !r.notSent() {
		n++
	}
	if n >= MaxRunsBeforeAlert {
		wait = resumeRetrySlow
	}
	alert := n > m.attempt.InconclusiveRuns && n >= MaxRunsBeforeAlert && isPowerOfTwo(n)
	m.attempt.InconclusiveRuns = n
	m.endAs(m.attempt.State, now.Add(wait))
	if alert {
		m.state = statePublishUnresolved
	}
}

func nextPublishUnresolved(*AuthorizationMachine, time.Time) Step {
	return Step{Kind: StepPublishUnresolved}
}

func applyPublishUnresolved(m *AuthorizationMachine, r StepResult, _ time.Time) {
	if r.Err != nil {
		m.attempt.InconclusiveRuns-- // the next run publishes it
	}
	m.state = stateReleaseLease
}

// settle ends the attempt. One that was declined stays declined: another
// confirmation led here.
func (m *AuthorizationMachine) settle(s AttemptState) {
	if m.attempt.State == AttemptDeclined {
		s = AttemptDeclined
	}
	m.endAs(s, time.Time{})
}

// applyResumeRetrieve decides by the intent how an unfinished attempt
// continues.
func applyResumeRetrieve(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.notSent() || r.Answer.Kind != AnswerOK {
		m.resumeLater(r, now)
		return
	}
	in := r.Answer.Intent
	m.intent = in
	switch in.Status {
	case StatusRequiresCapture:
		m.state = stateResumePlace
	case StatusSucceeded:
		m.settle(AttemptAuthorized)
	case StatusCanceled:
		if in.CancellationReason == ReasonAbandoned {
			// A process of holdd may have canceled it and died before it
			// published.
			m.state = statePublishAbandoned
			return
		}
		m.settle(AttemptAbandoned)
	case StatusProcessing:
		m.resumeLater(r, now)
	default:
		cancelIfAbandoned(m, in, now)
	}
}

// cancelIfAbandoned waits for the cardholder until the intent counts as
// abandoned, and cancels it then.
func cancelIfAbandoned(m *AuthorizationMachine, in *PaymentIntent, now time.Time) {
	due := in.Created.Add(AbandonIntentAfter)
	if !now.Before(due) {
		m.state = stateCancel
		return
	}
	s := m.attempt.State
	if s == AttemptBegun && !m.attempt.Confirm {
		s = AttemptAwaitsCardholder
	}
	m.attempt.InconclusiveRuns = 0
	m.endAs(s, due)
}

func applyResumePlace(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.resumeLater(r, now)
		return
	}
	m.settle(AttemptAuthorized)
}

// nextCancel cancels an intent that the cardholder did not finish. holdd does
// not confirm it any more, so the cancel cannot release an authorization.
func nextCancel(m *AuthorizationMachine, _ time.Time) Step {
	return Step{Kind: StepCall, NeedsCallTimeout: true, Call: Call{Op: OpCancel,
		PaymentIntent: m.attempt.PaymentIntent, Account: m.attempt.Account,
		CancellationReason: ReasonAbandoned, Key: m.attempt.cancelIdempotencyKey()}}
}

func applyCancel(m *AuthorizationMachine, r StepResult, now time.Time) {
	a := r.Answer
	if r.notSent() || a.Kind != AnswerOK {
		if a.Kind == AnswerReplayedError && a.Replayed {
			// A new key is safe: a second cancel changes nothing.
			m.attempt.Generation++
		}
		m.resumeLater(r, now)
		return
	}
	m.canceled = &CanceledIntent{
		Intent:         *m.intent,
		IdempotencyKey: m.attempt.cancelIdempotencyKey(),
		RequestID:      a.RequestID,
		Declined:       m.attempt.State == AttemptDeclined,
	}
	m.state = statePublishAbandoned
}

// nextPublishAbandoned comes before the attempt is settled: if the process dies
// in between, the next run finds the intent canceled and publishes.
func nextPublishAbandoned(m *AuthorizationMachine, _ time.Time) Step {
	return Step{Kind: StepPublishAbandoned, Intent: m.intent}
}

func applyPublishAbandoned(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.canceled = nil
		m.resumeLater(r, now)
		return
	}
	m.settle(AttemptAbandoned)
}
