package hold

import (
	"errors"
	"time"
)

// What the engine and the store exchange about holds that are due. Neither
// knows the other.

// ErrUnreadableRecord is wrapped by the store's errors about single records
// that it cannot read. The rest of what it returns is good.
var ErrUnreadableRecord = errors.New(
	"unreadable record: written by another program or by a newer holdd")

// RecordWrite is one hold's change, to be committed whole or not at all.
type RecordWrite struct {
	// Version is the one that the decision was based on; 0 says that there must
	// be no such hold yet. The hold's new version is one more.
	Version   uint64
	Hold      Hold
	Placement Placement
	// PreviousReference is the reference before the change, so that its index
	// follows.
	PreviousReference string
	Events            [][]byte // JSON, published with the change
	Drop              bool     // delete the hold
}

// Claim is a hold that the store has leased to a worker.
type Claim struct {
	Hold      Hold
	Since     time.Time // when this claim began, or the unfinished one that it takes over
	TakenOver bool      // an earlier claim did not report
}

// Lane is the ready holds that share one of Stripe's limits.
type Lane struct {
	Partition       int
	Account         string
	Op              Op
	NearestDeadline time.Time
	Ready           int // holds
}

// PromoteResult is what promoting due holds came to.
type PromoteResult struct {
	Now           time.Time // Redis' time
	PromotedHolds int       // holds that became ready
	ExpiredLeases int       // leases that ended without a report
	NextDueAt     time.Time // when the next hold is due, zero if none is scheduled
	More          bool      // the work was bounded and there is more
	Lanes         []Lane    // nearest deadline first
}

// DueHold is a hold whose next milestone is due.
type DueHold struct {
	Hold  Hold
	DueAt time.Time // when the milestone was due
}

// MilestoneAdvance moves a hold's milestone without changing its record, if
// both are still what was read. A change in between may have set the same time
// anew, and then more is to be done at it.
type MilestoneAdvance struct {
	ID       string
	Version  uint64 // of the record that was read, 0 if there was none
	From, To time.Time
	Events   [][]byte
}

// Counts are how many holds there are, by where they stand.
type Counts struct {
	Open, Scheduled, Ready, Working, Attention, Settled, Unverified int64
}

// Reservation is what a budget has granted: the first request may be sent after
// First, each other a Step after the one before. If nothing is granted, Wait
// says when it makes sense to ask again.
type Reservation struct {
	Granted           int
	Wait, First, Step time.Duration
}
