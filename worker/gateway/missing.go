package gateway

import (
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// missingIntentsLimit is how many different PaymentIntents of an account
	// Stripe must not find in a row before the key is suspected to be that of
	// another account.
	missingIntentsLimit = 20
	// missingIntentsPause is how long a suspicion pauses a kind of request of
	// the account. The first requests after it are the probes.
	missingIntentsPause = time.Minute
	// wrongKeyCode is the code of an answer that is not believed.
	wrongKeyCode = "not_found_wrong_key"
)

// missingIntentCounter counts, for each account, the PaymentIntents that Stripe
// did not find since it last found one. Holds exist because Stripe had their
// intents: if it finds none of many, the key is more likely that of another
// account than all of them are gone.
//
// It counts nothing for a key whose account is known to be the one of the holds.
type missingIntentCounter struct {
	accountKnown func() bool // may be nil
	mu           sync.Mutex
	byAccount    map[string]map[string]struct{} // at most missingIntentsLimit ids each
	suspected    int                            // accounts whose limit is reached
}

// recordAnswer records what an answer says of the call's intent. suspected says
// that a 404 must not be believed, changed that this answer began or ended it.
func (m *missingIntentCounter) recordAnswer(
	c *hold.Call, kind hold.AnswerKind,
) (suspected, changed bool) {
	if c.PaymentIntent == "" || m.accountKnown != nil && m.accountKnown() {
		return false, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	missing := m.byAccount[c.Account]
	was := len(missing) >= missingIntentsLimit
	switch {
	case provesIntentExists(kind):
		delete(m.byAccount, c.Account)
		if was {
			m.suspected--
		}
		return false, was
	case kind != hold.AnswerNotFound || was || c.MayBeMissing:
		return was, false
	}
	if missing == nil {
		missing = map[string]struct{}{}
		if m.byAccount == nil {
			m.byAccount = map[string]map[string]struct{}{}
		}
		m.byAccount[c.Account] = missing
	}
	missing[c.PaymentIntent] = struct{}{}
	if len(missing) < missingIntentsLimit {
		return false, false
	}
	m.suspected++
	return true, true
}

// hasSuspectedAccount reports whether an account is suspected.
func (m *missingIntentCounter) hasSuspectedAccount() bool {
	if m.accountKnown != nil && m.accountKnown() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.suspected > 0
}

// provesIntentExists reports whether an answer shows that the account has the
// intent.
func provesIntentExists(k hold.AnswerKind) bool {
	switch k {
	case hold.AnswerOK, hold.AnswerUnexpectedState, hold.AnswerChargeGone,
		hold.AnswerAmountTooLarge, hold.AnswerLockTimeout, hold.AnswerDeclined:
		return true
	}
	return false
}
