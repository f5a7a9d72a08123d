package hold

import (
	"errors"
	"time"
)

// The words in which the worker and the store speak to each other. They stand here because neither knows the other.

// ErrUnreadableRecord is wrapped by a store's errors about single records that it can't read. The rest of what it returns is good.
var ErrUnreadableRecord = errors.New("not a hold's record: was it written by something else, or by a newer holdd?")

// RecordWrite is one hold's change, to be committed whole or not at all.
type RecordWrite struct {
	// Version is the one that the decision was made on; 0: there must be no such hold yet. The hold's new version is one more.
	Version   uint64
	Hold      Hold
	Placement Placement
	// Was is the reference before the change, so that its index follows.
	PreviousReference string
	Events            [][]byte // JSON, published with the change
	Drop              bool     // forget the hold
}

// Claim is a hold that the store has leased to a worker.
type Claim struct {
	Hold      Hold
	Since     time.Time // when this claim began, or the unfinished one that it takes over
	TakenOver bool      // an earlier claim did not report
}

// Lane is a queue of ready holds that share one of Stripe's limits.
type Lane struct {
	Partition       int
	Account         string
	Op              Op
	NearestDeadline time.Time // nearest deadline in it
	Ready           int
}

// PromoteResult is what a look at the schedule found.
type PromoteResult struct {
	Now           time.Time // Redis' time
	PromotedHolds int       // holds that became ready
	ExpiredLeases int       // leases that ran out
	NextDueAt     time.Time // when the next hold falls due, zero if none is scheduled
	More          bool      // the look was bounded and there is more
	Lanes         []Lane    // nearest deadline first
}

// DueHold is a hold whose next milestone has come.
type DueHold struct {
	Hold  Hold
	DueAt time.Time // what the milestone was set to
}

// MilestoneAdvance moves a hold's milestone without changing its record, if both are still what was seen: a change in between may have set the same
// time anew, and then there is more to do at it, or something else to tell.
type MilestoneAdvance struct {
	ID       string
	Version  uint64 // of the record that was seen, 0 if there was none
	From, To time.Time
	Events   [][]byte
}

// Counts are how many holds there are, by where they stand.
type Counts struct {
	Open, Scheduled, Ready, Working, Attention, Settled, Unverified int64
}

// SortedSet is one of the orders in which the store keeps holds.
type SortedSet uint8

const (
	SetScheduled  SortedSet = iota + 1 // by the time that they become ready
	SetExpiring                        // open ones, by the next milestone of their deadline
	SetWorking                         // by the end of their lease
	SetAttention                       // by their deadline
	SetSettled                         // by their end, newest first
	SetReferences                      // by reference
	SetReady                           // due and not claimed, by deadline
)

// Position is a place in a set: after the hold with this score and name. Its zero value is the beginning.
type Position struct {
	Score  int64  `json:"s,omitempty"`
	Member string `json:"n,omitempty"`
}

// ListedHold is a hold in a set, and its place there.
type ListedHold struct {
	Hold     Hold
	Position Position
}

// PendingRefresh is an intent that is to be read at Stripe, because Stripe told that something happened to it.
type PendingRefresh struct {
	Hold         Hold      // without a state if there is none
	AdoptUnknown bool      // there was no hold when it was asked for: its metadata may have terms
	RequestedAt  time.Time // when, by which the store knows it again
}

// InboxEntry is an entry of the inbox.
type InboxEntry struct {
	ID   string
	At   time.Time // when it was written
	Size int       // bytes; -1: it has no field hold
	Text string    // JSON of a wish, cut if it is too large
}

// RejectedRequest is a wish that was not granted and that nobody waits for.
type RejectedRequest struct {
	Source string // inbox or stripe
	ID     string // of the entry or the event
	Code   Code
	Field  string
	Reason string
	Text   string // the original
}

// Reservation is what a budget has granted: the first request may be sent after First, each other a Step after the one before. With nothing granted,
// Wait tells when it makes sense to ask again.
type Reservation struct {
	Granted           int
	Wait, First, Step time.Duration
}

// Condition is something that replicas see for a while, such as that Stripe is away.
type Condition struct {
	Name     string // small letters
	Active   bool   // this replica sees it
	Severity int    // how bad; an episode that gets worse is told anew
	// Raised and Cleared are the events of the beginning and the end of an episode. The end may be empty: then nobody is told.
	RaisedEvent, ClearedEvent []byte
}

// ConditionChange is what a [Condition] came to.
type ConditionChange uint8

// The first three are told once, to the replica whose word made the difference.
const (
	ConditionBegan ConditionChange = iota + 1
	ConditionEnded
	ConditionWorsened
)

// StreamEvent is an event as it stands in a partition's stream.
type StreamEvent struct {
	ID    string // of the entry: grows
	Event []byte // JSON
}

// SinkProgress is what a sink's deliverer notes, all of it at once or nothing.
type SinkProgress struct {
	State       []byte            // opaque to the store
	Park        map[string][]byte // what waits beside the stream, by hold
	Unpark      []string
	DeadLetters []DeadLetter // what was given up
	Requeued    []string     // entries of dead letters that were delivered after all, or given up anew
}

// DeadLetter is an event that a sink was not able to take for days.
type DeadLetter struct {
	Sink      string
	Partition int
	ID        string // of the entry
	Reason    string
	Event     []byte
}
