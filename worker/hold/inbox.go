package hold

import "time"

// InboxEntry is an entry of the Redis inbox.
type InboxEntry struct {
	ID   string
	At   time.Time // when it was written
	Size int       // bytes; -1 if it has no field "hold"
	Text string    // JSON of a request, cut if it is too large
}

// RejectedRequest is a request that was rejected while no caller waited for it.
type RejectedRequest struct {
	Source string // inbox or stripe
	ID     string // of the entry or the event
	Code   Code
	Field  string
	Reason string
	Text   string // the original
}

// PendingRefresh is an intent that is to be read at Stripe, because a webhook
// said that it changed.
type PendingRefresh struct {
	Hold         Hold      // without a state if there is none
	AdoptUnknown bool      // there was no hold: the intent's metadata may have terms
	RequestedAt  time.Time // identifies the request in the store
}
