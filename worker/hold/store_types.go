package hold

import "time"

// HoldWrite is one hold's change. The store writes all of it or nothing.
type HoldWrite struct {
	// Version is the version on which the decision was made; 0 means that the
	// hold must not exist yet. The new version is one more.
	Version   uint64
	Hold      Hold
	Placement SortedSetPlacement
	// PreviousReference is the reference before the change, for the index.
	PreviousReference string
	Events            [][]byte // JSON, published with the change
	Drop              bool     // delete the hold
	// DespiteMaxmemory writes a new hold although Redis has reached maxmemory.
	DespiteMaxmemory bool
}

// CommitResult is what became of a [HoldWrite].
type CommitResult uint8

// The results of a commit.
const (
	CommitConflict CommitResult = iota + 1 // the hold has another version; nothing is written
	CommitWritten                          // this commit wrote it
	CommitRepeated                         // an earlier commit wrote the same; nothing is written
)

// IsCommitted reports whether the store has the write.
func (r CommitResult) IsCommitted() bool { return r == CommitWritten || r == CommitRepeated }

// Claim is a hold that the store has leased to a worker.
type Claim struct {
	Hold      Hold
	Since     time.Time // when this claim began, or the unfinished one that it takes over
	TakenOver bool      // an earlier claim ended without a report
}

// ReadyHoldLane is the set of ready holds that share one of Stripe's rate limits.
type ReadyHoldLane struct {
	Partition       int
	Account         string
	Op              Op
	NearestDeadline time.Time
	Ready           int // holds
}

// ClaimShare is the part of a pass that goes to one lane.
type ClaimShare struct {
	Lane  ReadyHoldLane
	Holds int       // claim at most
	Until time.Time // claim no hold whose deadline is later; zero: any hold
}

// ClaimedShare are the holds that the store claimed for one [ClaimShare].
type ClaimedShare struct {
	Claims []Claim // nearest deadline first
	// NearestDeadline is that of the holds left in the lane; zero: none is left.
	NearestDeadline time.Time
	// LeasedAt is when the leases began, by Redis' clock. It is zero if Redis
	// did not answer for this share.
	LeasedAt time.Time
}

// PromoteRequest says what to promote and what to list, in each partition.
type PromoteRequest struct {
	Scheduled bool            // promote scheduled holds that are due, not only ended leases
	Holds     int             // promote at most, of each of the two
	Lanes     int             // list at most; 0: the store's maximum
	SkipLanes []ReadyHoldLane // do not list them; only their partition, account and op count
}

// PromoteResult is the result of promoting due holds.
type PromoteResult struct {
	Now           time.Time       // Redis' time
	PromotedHolds int             // holds that became ready
	ExpiredLeases int             // leases that ended without a report
	NextDueAt     time.Time       // of the next scheduled hold, zero if there is none
	NextLeaseEnd  time.Time       // when the next lease ends, zero if no hold is leased
	More          bool            // the limit was reached and more holds are due
	Lanes         []ReadyHoldLane // nearest deadline first
	MoreLanes     bool            // other lanes may have ready holds, beside these and the skipped ones
}

// HoldWithDueMilestone is a hold whose next milestone is due.
type HoldWithDueMilestone struct {
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

// HoldCounts is the number of holds by state.
type HoldCounts struct {
	Open, Scheduled, Ready, Working, Attention, Settled, Unverified int64
}

// BudgetRequest asks a budget for requests of one account and kind.
type BudgetRequest struct {
	Account  string
	Op       Op            // its [Op.RateLimitBucket]
	Requests int           // at most
	Ahead    time.Duration // how far ahead of their sending they may be reserved
	Priority RateLimitPriority
}

// LoweredRate is a rate of requests that a 429 lowered below the configured one.
type LoweredRate struct {
	Account   string // empty: the own account
	Kind      string // of requests: an [Op.RateLimitBucket], or [AllKinds]
	PerSecond float64
}

// AllKinds is the kind of a rate that all requests of an account share.
const AllKinds = "all"

// RateLimitPriority orders the work that shares an account's limit on all requests. A
// higher one comes first; each has a small guaranteed share. The zero value is
// the lowest.
type RateLimitPriority uint8

// The priorities, the lowest first.
const (
	PriorityMirror    RateLimitPriority = iota // terms written to metadata
	PriorityReconcile                          // the comparison with Stripe
	PriorityRefresh                            // reads that webhooks ask for
	PriorityVerify                             // reads of unverified holds
	PriorityDeadline                           // reads of holds at their deadline
	PriorityRequested                          // a person or a booking waits
	PriorityDue                                // captures and cancels that are due
)

// BudgetReservation is the number of requests that a budget allows. The first
// may be sent after First, each further one a Step later. If Requests is 0,
// Wait is how long to wait before asking again.
type BudgetReservation struct {
	Requests          int
	Wait, First, Step time.Duration
}
