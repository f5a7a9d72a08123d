package hold

import "time"

const (
	// maxSearchPages and searchPageSize bound the search for an intent.
	maxSearchPages = 40
	searchPageSize = 100
	// searchClockSlack allows for clocks that differ.
	searchClockSlack = 5 * time.Minute
)

// intentSearch is the progress of the search for the attempt's intent. It lists
// the account's intents from the newest on and compares their metadata with the
// attempt's id.
type intentSearch struct {
	after string // the last intent of the page before
	pages int
}

// searchPageResult is the result of one page.
type searchPageResult uint8

const (
	searchMore   searchPageResult = iota + 1 // the next page is needed
	searchFound                              // the intent was found; the record names it
	searchNone                               // the list was read to its end without it
	searchUnsure                             // the list could not be read to its end
)

func startIntentSearch(m *AuthorizationAttemptMachine, s attemptMachineState) {
	m.search, m.state = intentSearch{}, s
}

func newSearchPageStep(m *AuthorizationAttemptMachine, _ time.Time) AuthorizationStep {
	return AuthorizationStep{Kind: StepCall, Call: Call{Op: OpList, Account: m.attempt.Account,
		After: m.search.after, Limit: searchPageSize}}
}

// recordIntentFromPage looks for the attempt's intent in one page of a list. It
// records the intent, or where the next page begins.
func recordIntentFromPage(
	m *AuthorizationAttemptMachine, r AuthorizationStepResult,
) searchPageResult {
	page := r.Answer.Page
	if r.wasNotSent() || r.Answer.Kind != AnswerOK || page == nil {
		return searchUnsure
	}
	since := m.attempt.BegunAt.Add(-searchClockSlack)
	if !m.attempt.IntentNotBefore.IsZero() {
		since = m.attempt.IntentNotBefore
	}
	for i := range page.Intents {
		in := &page.Intents[i]
		if in.Metadata[MetaAuthorization] == m.attempt.ID {
			m.attempt.PaymentIntent = in.ID
			return searchFound
		}
		if in.Created.Before(since) {
			return searchNone
		}
		m.search.after = in.ID
	}
	if !page.More || len(page.Intents) == 0 {
		return searchNone
	}
	if m.search.pages++; m.search.pages >= maxSearchPages {
		return searchUnsure
	}
	return searchMore
}
