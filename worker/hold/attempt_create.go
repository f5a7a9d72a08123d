package hold

import "time"

// lostAttemptWindow is how long before its repetition an attempt may have begun
// that Redis has lost.
const lostAttemptWindow = 48 * time.Hour

// tryCreate goes on to the next request that creates the intent. A search comes
// first where the present key can bring no news, or where Stripe may have
// forgotten it.
func tryCreate(m *AuthorizationMachine, now time.Time) {
	switch {
	case m.spent, m.unknown && !m.attempt.IdempotencyKeyFresh(now):
		startSearch(m, stateSearchBeforeNewKey)
	case m.tries >= maxAuthorizeTries:
		m.endUnanswered(now)
	default:
		m.state = stateCreate
	}
}

func retryCreate(m *AuthorizationMachine, now time.Time) {
	m.notBefore = now.Add(authorizeRetryPause)
	tryCreate(m, now)
}

func nextCreate(m *AuthorizationMachine, _ time.Time) Step {
	call := m.request
	call.Key = m.attempt.IdempotencyKey()
	return Step{Kind: StepCall, NeedsCallTimeout: true,
		Call: Call{Op: OpAuthorize, Account: m.attempt.Account, Key: call.Key, Authorize: &call}}
}

func applyCreate(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.notSent() {
		m.applyNotSent(r, now)
		return
	}
	m.tries++
	if m.fresh && r.Answer.Replayed && m.attempt.IntentNotBefore.IsZero() {
		// Stripe knows the key of an attempt that Redis does not know: Redis
		// has lost it.
		m.attempt.IntentNotBefore = m.attempt.BegunAt.Add(-lostAttemptWindow)
		m.answer, m.state = r.Answer, stateSaveLostAttempt
		return
	}
	applyCreateAnswer(m, r.Answer, now)
}

func applySaveLostAttempt(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.endUnknown(now)
		return
	}
	applyCreateAnswer(m, m.answer, now)
}

// applyCreateAnswer applies the answer to a request that creates the intent.
func applyCreateAnswer(m *AuthorizationMachine, a Answer, now time.Time) {
	switch a.Kind {
	case AnswerOK:
		m.applyIntent(a, now)
	case AnswerDeclined:
		m.endDeclined(a)
	case AnswerReplayedError:
		if a.RateLimited {
			m.endUnanswered(now)
			return
		}
		// Only a stored answer proves that no twin of this request can have an
		// effect any more.
		m.unknown, m.spent = true, a.Replayed
		retryCreate(m, now)
	case AnswerUnknown, AnswerKeyInUse, AnswerLockTimeout:
		m.unknown = true
		retryCreate(m, now)
	case AnswerUnreachable:
		retryCreate(m, now)
	case AnswerRateLimited, AnswerUnauthorized, AnswerForbidden:
		m.endUnanswered(now)
	case AnswerIdempotencyError:
		if m.fresh {
			m.endAndDeleteRecord(KeyReusedProblem())
			return
		}
		// The digest says that the caller asks for the same as before. Another
		// version of holdd sent other parameters for it, and the search finds
		// what became of that.
		m.unknown, m.spent = true, true
		retryCreate(m, now)
	default:
		if !m.unknown {
			m.endRefused(a)
			return
		}
		// An earlier request may have been accepted all the same.
		m.answer = a
		startSearch(m, stateSearchAfterRefusal)
	}
}

func applySearchBeforeNewKey(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch applySearchPage(m, r) {
	case searchFound:
		m.state = stateRetrieve
	case searchUnsure:
		m.endUnknown(now)
	case searchNone:
		m.attempt.Generation++
		m.attempt.KeyUsedSince = now
		m.state = stateSaveKey
	}
}

func applySaveKey(m *AuthorizationMachine, r StepResult, now time.Time) {
	if r.Err != nil {
		m.endUnknown(now)
		return
	}
	m.unknown, m.spent = false, false
	tryCreate(m, now)
}

func applySearchAfterRefusal(m *AuthorizationMachine, r StepResult, now time.Time) {
	switch applySearchPage(m, r) {
	case searchFound:
		m.state = stateRetrieve
	case searchUnsure:
		m.endUnknown(now)
	case searchNone:
		m.endRefused(m.answer)
	}
}
