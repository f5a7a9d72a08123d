package hold

import "time"

// InboxEntry is an entry of the Redis inbox.
type InboxEntry struct {
	ID   string
	At   time.Time // when it was written
	Size int       // bytes; -1 if the entry has no field "hold"
	Text string    // JSON of a request; cut if it is too large
	// Traceparent is the field of this name, as it was written.
	Traceparent string
}

// RejectedRequest is an invalid request from a source that gets no response.
type RejectedRequest struct {
	Source string // inbox or stripe
	ID     string // of the entry or the event
	Code   ProblemCode
	Field  string
	Reason string
	Text   string // the original
}

// PendingRefresh is an intent to read at Stripe because an event said that it
// changed.
type PendingRefresh struct {
	Hold         Hold      // its state is 0 if there is no such hold
	AdoptUnknown bool      // there was no hold; the intent's metadata may have terms
	RequestedAt  time.Time // identifies the refresh in the store
}
