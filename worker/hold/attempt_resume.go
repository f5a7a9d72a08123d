package hold

import "time"

func applyResumeSearchResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	switch recordIntentFromPage(m, r) {
	case searchFound:
		m.state = stateResumeRetrieve
	case searchUnsure:
		m.endAndResumeLater(r, now)
	case searchNone: // the request had no effect
		m.endAndSaveAttempt(m.attempt.State, time.Time{})
	}
}

// endAndResumeLater ends the run with the attempt as it is. The 16th, 32nd,
// 64th … run in a row that Stripe answered without an outcome publishes an
// alert first.
func (m *AuthorizationAttemptMachine) endAndResumeLater(r AuthorizationStepResult, now time.Time) {
	wait, n := resumeRetryAfter, m.attempt.InconclusiveRuns
	if !r.wasNotSent() {
		n++
	}
	if n >= MaxRunsBeforeAlert {
		wait = resumeRetrySlow
	}
	alert := n > m.attempt.InconclusiveRuns && n >= MaxRunsBeforeAlert && isPowerOfTwo(n)
	m.attempt.InconclusiveRuns = n
	m.endAndSaveAttempt(m.attempt.State, now.Add(wait))
	if alert {
		m.state = statePublishUnresolved
	}
}

func newPublishUnresolvedAttemptStep(*AuthorizationAttemptMachine, time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepPublishUnresolved}
}

func applyPublishUnresolvedResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, _ time.Time,
) {
	if r.Err != nil {
		m.attempt.InconclusiveRuns-- // the next run publishes it
	}
	m.state = stateReleaseLease
}

// endAndFinishAttempt ends the attempt. One that was declined stays declined: another
// confirmation led here.
func (m *AuthorizationAttemptMachine) endAndFinishAttempt(s AuthorizationAttemptState) {
	if m.attempt.State == AttemptDeclined {
		s = AttemptDeclined
	}
	m.endAndSaveAttempt(s, time.Time{})
}

// applyResumeRetrieveResult decides by the intent how an unfinished attempt
// continues.
func applyResumeRetrieveResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.wasNotSent() || r.Answer.Kind != AnswerOK {
		m.endAndResumeLater(r, now)
		return
	}
	in := r.Answer.Intent
	m.intent = in
	switch in.Status {
	case StatusRequiresCapture:
		m.state = stateResumePlace
	case StatusSucceeded:
		m.endAndFinishAttempt(AttemptAuthorized)
	case StatusCanceled:
		if in.CancellationReason == ReasonAbandoned {
			// A process of holdd may have canceled it and died before it
			// published.
			m.state = statePublishAbandoned
			return
		}
		m.endAndFinishAttempt(AttemptAbandoned)
	case StatusProcessing:
		m.endAndResumeLater(r, now)
	default:
		cancelIntentOrAwaitCardholder(m, in, now)
	}
}

// cancelIntentOrAwaitCardholder waits for the cardholder until the intent counts as
// abandoned, and cancels it then.
func cancelIntentOrAwaitCardholder(m *AuthorizationAttemptMachine, in *PaymentIntent, now time.Time) {
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
	m.endAndSaveAttempt(s, due)
}

func applyResumeCreateHoldResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.Err != nil {
		m.endAndResumeLater(r, now)
		return
	}
	m.endAndFinishAttempt(AttemptAuthorized)
}

// newCancelIntentStep cancels an intent that the cardholder did not finish.
// holdd does not confirm it any more, so the cancel cannot release an
// authorization.
func newCancelIntentStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepCall, NeedsCallTimeout: true, Call: Call{Op: OpCancel,
		PaymentIntent: m.attempt.PaymentIntent, Account: m.attempt.Account,
		CancellationReason: ReasonAbandoned, Key: m.attempt.cancelIdempotencyKey()}}
}

func applyCancelIntentResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	a := r.Answer
	if r.wasNotSent() || a.Kind != AnswerOK {
		if a.Replayed {
			// This key only repeats a refusal. A new one is safe: a second cancel
			// changes nothing.
			m.attempt.Generation++
		}
		m.endAndResumeLater(r, now)
		return
	}
	m.canceled = &CanceledAbandonedIntent{
		Intent:         *m.intent,
		IdempotencyKey: m.attempt.cancelIdempotencyKey(),
		RequestID:      a.RequestID,
		Declined:       m.attempt.State == AttemptDeclined,
	}
	m.state = statePublishAbandoned
}

// newPublishAbandonedIntentStep comes before the attempt is settled: if the
// process dies in between, the next run finds the intent canceled and
// publishes.
func newPublishAbandonedIntentStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepPublishAbandoned, Intent: m.intent}
}

func applyPublishAbandonedResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.Err != nil {
		m.canceled = nil
		m.endAndResumeLater(r, now)
		return
	}
	m.endAndFinishAttempt(AttemptAbandoned)
}
