package hold

import "time"

// applyConfirmableCheckResult decides by the intent whether to confirm it: only
// an intent that holdd created, within the [ConfirmWindow], and only if there
// is something to confirm.
func applyConfirmableCheckResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	a := r.Answer
	switch {
	case r.wasNotSent():
		m.endNotSent(r, now)
		return
	case a.Kind == AnswerNotFound && m.tries == 0 && !m.unknown,
		a.Kind == AnswerOK && a.Intent.Metadata[MetaAuthorization] == "":
		m.endAndDeleteRecord(newProblem(AuthorizationNotFound, "",
			"there is no authorization %s of this holdd: check the id and the account",
			m.attempt.PaymentIntent))
		return
	case a.Kind != AnswerOK:
		m.endWithoutAnswer(now)
		return
	}
	in := a.Intent
	otherCard := m.request.PaymentMethod != ""
	switch {
	case !in.isConfirmable():
		m.endRunByIntent(a, now)
	case in.IsConfirmWindowOver(now):
		m.endAndDeleteRecord(authorizationAbandonedProblem(in.ID))
	case in.Status == StatusRequiresAction && !otherCard:
		m.endRunByIntent(a, now)
	case in.Status == StatusRequiresPaymentMethod && (!otherCard || m.attempt.ConfirmSent):
		// There is nothing to pay with: the card was declined, maybe in answer
		// to the very request whose answer was lost.
		m.endRunByIntent(a, now)
	case m.tries >= maxAuthorizeTries:
		m.endWithoutAnswer(now)
	case !m.attempt.ConfirmSent:
		m.attempt.ConfirmSent, m.state = true, stateSaveConfirm
	default:
		m.state = stateConfirm
	}
}

// isConfirmable reports whether the intent waits for a confirmation, with its
// own card or another.
func (in *PaymentIntent) isConfirmable() bool {
	return in.Status == StatusRequiresConfirmation || in.Status == StatusRequiresAction ||
		in.Status == StatusRequiresPaymentMethod
}

// retryConfirmableCheck reads the intent again: it tells whether there is
// still something to confirm.
func retryConfirmableCheck(m *AuthorizationAttemptMachine, now time.Time) {
	m.notBefore, m.state = now.Add(authorizeRetryPause), stateCheckConfirmable
}

func newSaveBeforeConfirmStep(m *AuthorizationAttemptMachine, now time.Time) AuthorizationStep {
	step := newSaveAttemptStep(m, now)
	step.NeedsCallTimeout = true
	return step
}

func applySaveConfirmResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	switch {
	case r.TooLate: // nothing was saved, and nothing will be sent
		m.attempt.ConfirmSent = false
		m.endWithoutAnswer(now)
	case r.Err != nil:
		m.endOutcomeUnknown(now)
	default:
		m.state = stateConfirm
	}
}

func newConfirmIntentStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	call := m.request
	call.Key = m.attempt.IdempotencyKey()
	return AuthorizationStep{Kind: StepCall, NeedsCallTimeout: true, Call: Call{Op: OpConfirm,
		PaymentIntent: m.attempt.PaymentIntent, Account: m.attempt.Account,
		Key: call.Key, Authorize: &call, MayBeMissing: true}}
}

// applyConfirmResult applies the answer to a request that confirms the intent.
func applyConfirmResult(m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time) {
	if r.wasNotSent() {
		m.endNotSent(r, now)
		return
	}
	m.tries++
	a := r.Answer
	if a.RateLimited {
		m.endWithoutAnswer(now)
		return
	}
	switch a.Kind {
	case AnswerOK, AnswerReplayedError:
		if a.Kind == AnswerOK && !a.Replayed {
			m.endRunByIntent(a, now)
			return
		}
		// A replayed answer may be stale. The next check reads the intent; if
		// it still needs a confirmation, that needs a new key.
		m.unknown = true
		if a.Replayed {
			useNewConfirmKey(m)
			return
		}
		retryConfirmableCheck(m, now)
	case AnswerDeclined:
		m.endCardDeclined(a)
	case AnswerUnknown, AnswerKeyInUse, AnswerLockTimeout:
		m.unknown = true
		retryConfirmableCheck(m, now)
	case AnswerUnexpectedState, AnswerUnreachable:
		retryConfirmableCheck(m, now)
	case AnswerRateLimited, AnswerUnauthorized, AnswerForbidden:
		m.endWithoutAnswer(now)
	case AnswerIdempotencyError:
		if m.fresh {
			m.endAndDeleteRecord(IdempotencyKeyReusedProblem())
			return
		}
		m.unknown = true
		useNewConfirmKey(m)
	default:
		if !m.unknown {
			m.endRequestRefused(a)
			return
		}
		retryConfirmableCheck(m, now)
	}
}

// useNewConfirmKey takes a new key. That is safe without a search: one intent is
// authorized once.
func useNewConfirmKey(m *AuthorizationAttemptMachine) {
	m.attempt.Generation++
	m.state = stateSaveConfirmKey
}

func applySaveNewConfirmKeyResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.Err != nil {
		m.endOutcomeUnknown(now)
		return
	}
	retryConfirmableCheck(m, now)
}
