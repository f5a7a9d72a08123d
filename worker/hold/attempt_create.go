package hold

import "time"

// lostAttemptWindow is how long before its repetition an attempt may have begun
// that Redis has lost.
const lostAttemptWindow = 48 * time.Hour

// createIntentOrSearch goes on to the next request that creates the intent. A search
// comes first where the present key can bring no news, or where Stripe may have
// forgotten it.
func createIntentOrSearch(m *AuthorizationAttemptMachine, now time.Time) {
	switch {
	case m.spent, m.unknown && !m.attempt.IsIdempotencyKeyFresh(now):
		startIntentSearch(m, stateSearchBeforeNewKey)
	case m.tries >= maxAuthorizeTries:
		m.endWithoutAnswer(now)
	default:
		m.state = stateCreate
	}
}

func retryCreateIntentOrSearch(m *AuthorizationAttemptMachine, now time.Time) {
	m.notBefore = now.Add(authorizeRetryPause)
	createIntentOrSearch(m, now)
}

func newCreateIntentStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	call := m.request
	call.Key = m.attempt.IdempotencyKey()
	return AuthorizationStep{Kind: StepCall, NeedsCallTimeout: true,
		Call: Call{Op: OpAuthorize, Account: m.attempt.Account, Key: call.Key, Authorize: &call}}
}

func applyCreateIntentResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.wasNotSent() {
		m.endNotSent(r, now)
		return
	}
	m.tries++
	if m.fresh && r.Answer.Replayed && m.attempt.IntentNotBefore.IsZero() {
		// Stripe knows the key of an attempt that Redis does not know: Redis
		// has lost it.
		m.attempt.IntentNotBefore = m.attempt.BegunAt.Add(-lostAttemptWindow)
		m.answer, m.state = r.Answer, stateResaveLostAttempt
		return
	}
	applyAttemptCreateIntentAnswer(m, r.Answer, now)
}

func applyResaveLostAttemptResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.Err != nil {
		m.endOutcomeUnknown(now)
		return
	}
	applyAttemptCreateIntentAnswer(m, m.answer, now)
}

// applyAttemptCreateIntentAnswer applies the answer to a request that creates the intent.
func applyAttemptCreateIntentAnswer(m *AuthorizationAttemptMachine, a Answer, now time.Time) {
	switch a.Kind {
	case AnswerOK:
		m.endRunByIntent(a, now)
	case AnswerDeclined:
		m.endCardDeclined(a)
	case AnswerReplayedError:
		if a.RateLimited {
			m.endWithoutAnswer(now)
			return
		}
		// Only a stored answer proves that no twin of this request can have an
		// effect any more.
		m.unknown, m.spent = true, a.Replayed
		retryCreateIntentOrSearch(m, now)
	case AnswerUnknown, AnswerKeyInUse, AnswerLockTimeout:
		m.unknown = true
		retryCreateIntentOrSearch(m, now)
	case AnswerUnreachable:
		retryCreateIntentOrSearch(m, now)
	case AnswerRateLimited, AnswerUnauthorized, AnswerForbidden:
		m.endWithoutAnswer(now)
	case AnswerIdempotencyError:
		if m.fresh {
			m.endAndDeleteRecord(IdempotencyKeyReusedProblem())
			return
		}
		// The digest says that the caller asks for the same as before. Another
		// version of holdd sent other parameters for it, and the search finds
		// what became of that.
		m.unknown, m.spent = true, true
		retryCreateIntentOrSearch(m, now)
	default:
		if !m.unknown {
			m.endRequestRefused(a)
			return
		}
		// An earlier request may have been accepted all the same.
		m.answer = a
		startIntentSearch(m, stateSearchAfterRefusal)
	}
}

func applySearchBeforeNewKeyResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	switch recordIntentFromPage(m, r) {
	case searchFound:
		m.state = stateRetrieve
	case searchUnsure:
		m.endOutcomeUnknown(now)
	case searchNone:
		m.attempt.Generation++
		m.attempt.KeyUsedSince = now
		m.state = stateSaveKey
	}
}

func applySaveNewKeyResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	if r.Err != nil {
		m.endOutcomeUnknown(now)
		return
	}
	m.unknown, m.spent = false, false
	createIntentOrSearch(m, now)
}

func applySearchAfterRefusalResult(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult, now time.Time,
) {
	switch recordIntentFromPage(m, r) {
	case searchFound:
		m.state = stateRetrieve
	case searchUnsure:
		m.endOutcomeUnknown(now)
	case searchNone:
		m.endRequestRefused(m.answer)
	}
}
