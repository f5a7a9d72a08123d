package main

import (
	"sync"

	"github.com/holdd/holdd/worker/stripesim"
)

// outcome is how a booking stands or ended.
type outcome int

const (
	stillHeld outcome = iota + 1
	inThreeDSecure
	capturedAtItsTime
	capturedWhenAsked
	capturedInPart
	capturedBeforeDeadline
	capturedElsewhere
	releasedAtItsTime
	releasedWhenAsked
	releasedBeforeDeadline
	releasedElsewhere
	expired
	declined
	abandoned
	notAuthorized
	lastOutcome = notAuthorized
)

var outcomeNames = [...]string{"",
	"still held",
	"at 3-D Secure still",
	"captured at the time planned",
	"captured when asked for",
	"captured in part, the rest released",
	"captured before the deadline, as on_expiry says",
	"captured by others at Stripe",
	"released at the time planned",
	"released when asked for",
	"released before the deadline, as on_expiry says",
	"released by others at Stripe",
	"expired",
	"declined by the bank",
	"left at 3-D Secure",
	"not authorized",
}

func (o outcome) String() string { return outcomeNames[o] }

// incident is something that happened on the way.
type incident string

const (
	rejectedAfterDeadline incident = "refused: the authorization ends before the time asked for (422)"
	checkoutChanged       incident = "times of checkout changed"
	alreadySettled        incident = "refused: it was settled already, or being settled (409)"
	lostReply             incident = "answers of Stripe lost, and asked for again with the same key"
	warned                incident = "warnings of a deadline"
	canceledBeforeCapture incident = "cancels that came just in time"
	otherRejections       incident = "requests that holdd did not grant for another reason"
	attentionRequired     incident = "holds that a person must look at"
)

// booking is one guest's, with what the daemon's log has said of its hold.
type booking struct {
	subject
	kind     scenarioKind
	intent   string
	outcome  outcome
	captured int64 // minor units
	unknown  bool  // holdd has said that it doesn't know the outcome of a request yet
	changing bool  // the hotel is changing the terms, and tells of it
}

// bookingLedger are the hotel's: what it wished for, and what the daemon's log
// says became of it.
type bookingLedger struct {
	sim     *stripesim.Sim
	printer *printer

	mu        sync.Mutex
	bookings  []*booking
	byIntent  map[string]*booking
	incidents map[incident]int
}

func newBookingLedger(sim *stripesim.Sim, t *printer) *bookingLedger {
	return &bookingLedger{sim: sim, printer: t, byIntent: map[string]*booking{},
		incidents: map[incident]int{}}
}

// add enters a booking whose guest has not paid yet.
func (b *bookingLedger) add(k *booking) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k.outcome = notAuthorized
	b.bookings = append(b.bookings, k)
}

// place notes the PaymentIntent of a booking, and how it stands.
func (b *bookingLedger) place(k *booking, intent string, o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k.intent, k.outcome = intent, o
	if intent != "" {
		b.byIntent[intent] = k
	}
}

// markChanging notes that the hotel itself is about to change a hold, or is
// done with it.
func (b *bookingLedger) markChanging(k *booking, changing bool) {
	b.mu.Lock()
	k.changing = changing
	b.mu.Unlock()
}

func (b *bookingLedger) count(i incident) {
	b.mu.Lock()
	b.incidents[i]++
	b.mu.Unlock()
}

// settle notes how a hold ended, and returns its booking; nil if it is none of
// the hotel's.
func (b *bookingLedger) settle(intent string, o outcome, captured int64) *booking {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.byIntent[intent]
	if k == nil {
		return nil
	}
	if o == capturedAtItsTime || o == capturedWhenAsked {
		if captured < k.amount {
			o = capturedInPart
		}
	}
	k.outcome, k.captured, k.unknown = o, captured, false
	copied := *k
	return &copied
}

// markOutcomeUnknown notes that the outcome of a request isn't known.
func (b *bookingLedger) markOutcomeUnknown(intent string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.byIntent[intent]; k != nil {
		k.unknown = true
	}
}

// find is a copy of the booking, nil if the hotel has none for the intent.
func (b *bookingLedger) find(intent string) *booking {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.byIntent[intent]
	if k == nil {
		return nil
	}
	copied := *k
	return &copied
}

// captures is how often Stripe has taken money from the intent.
func (b *bookingLedger) captures(intent string) int {
	n := 0
	for _, e := range b.sim.Ledger() {
		if e.Intent == intent && e.Kind == stripesim.EffectCaptured {
			n++
		}
	}
	return n
}
