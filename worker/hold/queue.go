package hold

import (
	"errors"
	"time"
)

// ErrUnreadableRecord is wrapped by the store's errors about records that it
// cannot read. The store still returns the other records.
var ErrUnreadableRecord = errors.New(
	"unreadable record: written by another program or by a newer holdd")

// HoldWrite is one hold's change. The store writes all of it or nothing.
type HoldWrite struct {
	// Version is the version on which the decision was made; 0 means that the
	// hold must not exist yet. The new version is one more.
	Version   uint64
	Hold      Hold
	Placement Placement
	// PreviousReference is the reference before the change, for the index.
	PreviousReference string
	Events            [][]byte // JSON, published with the change
	Drop              bool     // delete the hold
}

// Claim is a hold that the store has leased to a worker.
type Claim struct {
	Hold      Hold
	Since     time.Time // when this claim began, or the unfinished one that it takes over
	TakenOver bool      // an earlier claim ended without a report
}

// RateLimitLane is the set of ready holds that share one of Stripe's rate limits.
type RateLimitLane struct {
	Partition       int
	Account         string
	Op              Op
	NearestDeadline time.Time
	Ready           int // holds
}

// PromoteResult is the result of promoting due holds.
type PromoteResult struct {
	Now           time.Time       // Redis' time
	PromotedHolds int             // holds that became ready
	ExpiredLeases int             // leases that ended without a report
	NextDueAt     time.Time       // when the next hold is due, zero if none is scheduled
	More          bool            // the limit was reached and more holds are due
	Lanes         []RateLimitLane // nearest deadline first
}

// DueHold is a hold whose next milestone is due.
type DueHold struct {
	Hold  Hold
	DueAt time.Time // when the milestone was due
}

// MilestoneWrite moves a hold's milestone without changing its record. It
// applies only if milestone and version are still those that were read.
type MilestoneWrite struct {
	ID       string
	Version  uint64 // of the record that was read, 0 if there was none
	From, To time.Time
	Events   [][]byte
}

// Counts is the number of holds by state.
type Counts struct {
	Open, Scheduled, Ready, Working, Attention, Settled, Unverified int64
}

// BudgetRequest asks a budget for requests of one account and kind.
type BudgetRequest struct {
	Account  string
	Op       Op            // its [Op.Bucket]
	Requests int           // at most
	Ahead    time.Duration // how far ahead of their sending they may be reserved
}

// BudgetReservation is the number of requests that a budget allows. The first
// may be sent after First, each further one a Step later. If Requests is 0,
// Wait is how long to wait before asking again.
type BudgetReservation struct {
	Requests          int
	Wait, First, Step time.Duration
}
