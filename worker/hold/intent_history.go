package hold

import "time"

// StripeListKind is what a list reads.
type StripeListKind uint8

// The contents of a list. Each needs other permissions of the key.
const (
	ContentIntents        StripeListKind = iota // intents with their deadlines and reviews
	ContentHistories                            // intents with their histories
	ContentCharges                              // the same without [ChargeHistory.CapturedAt]
	ContentCaptures                             // events of captures, of the last 30 days
	ContentPlainHistories                       // charges without an intent, with their histories
	ContentPlainCharges                         // the same without [ChargeHistory.CapturedAt]
)

// ChargeHistory is what became of an intent's money. An intent shows only its
// state now. Amounts are in minor units.
type ChargeHistory struct {
	Charge       string    // id of the latest charge; empty if no bank authorized it
	AuthorizedAt time.Time // when the bank authorized it
	Authorized   int64     // with increments
	Captured     int64
	// CapturedAt is when the charge's balance transaction was created, which is
	// when the money was captured; zero if nothing was, or if it was not read.
	CapturedAt time.Time
	Brand      string // of a card, such as visa
	Extended   bool   // the authorization is an extended one
	// Manual says that the intent was to be captured by a request of its own.
	Manual bool
}

// ChargeCapturedEvent is an event charge.captured.
type ChargeCapturedEvent struct {
	ID     string // of the event
	Charge string
	At     time.Time
}
