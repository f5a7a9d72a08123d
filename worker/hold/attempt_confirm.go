package hold

import "time"

// applyCheckConfirmable decides by the intent whether to confirm it: only an
// intent that holdd created, within the [ConfirmWindow], and only if there is
// something to confirm.
func applyCheckConfirmable(m *AuthorizationMachine, r StepResult, now time.Time) {
	a := r.Answer
	switch {
	case r.notSent():
		m.applyNotSent(r, now)
		return
	case a.Kind == AnswerNotFound && m.tries == 0 && !m.unknown,
		a.Kind == AnswerOK && a.Intent.Metadata[MetaAuthorization] == "":
		m.endAndDeleteRecord(problem(AuthorizationNotFound, "",
			"there is no authorization %s of this holdd: check the id and the account",
			m.attempt.PaymentIntent))
		return
	case a.Kind != AnswerOK:
		m.endUnanswered(now)
		return
	}
	in := a.Intent
	otherCard := m.request.PaymentMethod != ""
	switch {
	case !in.confirmable():
		m.applyIntent(a, now)
	case in.ConfirmWindowOver(now):
		m.endAndDeleteRecord(abandonedProblem(in.ID))
	case in.Status == StatusRequiresAction && !otherCard:
		m.applyIntent(a, now)
	case in.Status == StatusRequiresPaymentMethod && (!otherCard || m.attempt.ConfirmSent):
		// There is nothing to pay with: the card was declined, maybe in answer
		// to the very request whose answer was lost.
		m.applyIntent(a, now)
	case m.tries >= maxAuthorizeTries:
		m.endUnanswered(now)
	case !m.attempt.ConfirmSent:
		m.attempt.ConfirmSent, m.state = true, stateSaveConfirm
	default:
		m.state = stateConfirm
	}
}

// confirmable reports whether the intent waits for a confirmation, with its own
// card or another.
func (in *PaymentIntent) confirmable() bool {
	return in.Status == StatusRequiresConfirmation || in.Status == StatusRequiresAction ||
		in.Status == StatusRequiresPaymentMethod
}

// retryCheckConfirmable reads the intent again: it tells whether there is still
// something to confirm.
func retryCheckConfirmable(m *AuthorizationMachine, now time.Time) {
	m.notBefore, m.state = now.Add(authorizeRetryPause), stateCheckConfirmable
}

func nextSaveBeforeConfirm(m *AuthorizationMachine, now time.Time) Step {
	step := nextSave(m, now)
	step.NeedsCallTimeout = true
	return step
}

func applySaveBeforeConfirm(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch {
	case r.TooLate: // nothing was saved, and nothing will be sent
		m.attempt.ConfirmSent = false
		m.endUnanswered(now)
	case r.Err != nil:
		m.endUnknown(now)
	default:
		m.state = stateConfirm
	}
}

func nextConfirm(m *AuthorizationMachine, _ time.Time) Step {
	call := m.request
	call.Key = m.attempt.IdempotencyKey()
	return Step{Kind: StepCall, NeedsCallTimeout: true, Call: Call{Op: OpConfirm,
		PaymentIntent: m.attempt.PaymentIntent, Account: m.attempt.Account,
		Key: call.Key, Authorize: &call, MayBeMissing: true}}
}

// applyConfirm applies the answer to a request that confirms the intent.
func applyConfirm(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.notSent() {
		m.applyNotSent(r, now)
		return
	}
	m.tries++
	a := r.Answer
	if a.RateLimited {
		m.endUnanswered(now)
		return
	}
	switch a.Kind {
	case AnswerOK, AnswerReplayedError:
		if a.Kind == AnswerOK && !a.Replayed {
			m.applyIntent(a, now)
			return
		}
		// A replayed answer may be stale. The next check reads the intent; if
		// it still needs a confirmation, that needs a new key.
		m.unknown = true
		if a.Replayed {
			renewConfirmKey(m)
			return
		}
		retryCheckConfirmable(m, now)
	case AnswerDeclined:
		m.endDeclined(a)
	case AnswerUnknown, AnswerKeyInUse, AnswerLockTimeout:
		m.unknown = true
		retryCheckConfirmable(m, now)
	case AnswerUnexpectedState, AnswerUnreachable:
		retryCheckConfirmable(m, now)
	case AnswerRateLimited, AnswerUnauthorized, AnswerForbidden:
		m.endUnanswered(now)
	case AnswerIdempotencyError:
		if m.fresh {
			m.endAndDeleteRecord(KeyReusedProblem())
			return
		}
		m.unknown = true
		renewConfirmKey(m)
	default:
		if !m.unknown {
			m.endRefused(a)
			return
		}
		retryCheckConfirmable(m, now)
	}
}

// renewConfirmKey takes a new key. That is safe without a search: one intent is
// authorized once.
func renewConfirmKey(m *AuthorizationMachine) {
	m.attempt.Generation++
	m.state = stateSaveConfirmKey
}

func applySaveConfirmKey(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.endUnknown(now)
		return
	}
	retryCheckConfirmable(m, now)
}
