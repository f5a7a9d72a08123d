package hold

import "time"

const (
	// maxSearchPages and searchPageSize bound the search for an intent.
	maxSearchPages = 40
	searchPageSize = 100
	// searchClockSlack allows for clocks that differ.
	searchClockSlack = 5 * time.Minute
)

// search is the progress of the search for the attempt's intent. It lists the
// account's intents from the newest on and compares their metadata with the
// attempt's id.
type search struct {
	after string // the last intent of the page before
	pages int
}

// searchResult is the result of one page.
type searchResult uint8

const (
	searchMore   searchResult = iota + 1 // the next page is needed
	searchFound                          // the intent was found; the record names it
	searchNone                           // the list was read to its end without it
	searchUnsure                         // the list could not be read to its end
)

func startSearch(m *AuthorizationMachine, s machineState) { m.search, m.state = search{}, s }

func nextSearch(m *AuthorizationMachine, _ time.Time) Step {
	return Step{Kind: StepCall, Call: Call{Op: OpList, Account: m.attempt.Account,
		After: m.search.after, Limit: searchPageSize}}
}

// applySearchPage applies one page of the search.
func applySearchPage(m *AuthorizationMachine, r StepResult) searchResult {
	page := r.Answer.Page
	if r.notSent() || r.Answer.Kind != AnswerOK || page == nil {
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
