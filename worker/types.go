package worker

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// ScheduleResult is what became of one wish. Err is a *hold.Problem where the wish is at fault, any other error where it can be sent again.
type ScheduleResult struct {
	Hold    hold.Hold
	Created bool // false: the same wish was granted before
	Err     error
}

// Query selects holds for a list. Its zero value selects all.
type Query struct {
	State          hold.State    // 0: any
	Reference      string        // prefix
	Account        string        // exact
	ExpiringWithin time.Duration // 0: any; only open holds
	Limit          int           // at most; 0 means 50, never more than 200
	Cursor         string        // of the page before; empty: the first
}

// Page is one page of a list. A page may hold fewer than Limit, even none, and still have a Next: work per page is bounded.
type Page struct {
	Holds []hold.Hold
	Next  string    // cursor of the next page, empty at the end
	Now   time.Time // Redis' time when it was read
}

// Plan is what will happen by itself, and what is at risk.
type Plan struct {
	From, Until time.Time
	Hours       []PlanHour
	AtRisk      []Risk // nearest deadline first, at most 100
	Truncated   bool   // there is more than was looked at
}

// PlanHour is what falls due within the hour that begins at Start. What is overdue is in the first.
type PlanHour struct {
	Start   time.Time
	Capture []Sum
	Cancel  []Sum
}

// Sum is an amount of money in one currency, in minor units.
type Sum struct {
	Currency string `json:"currency"` // empty: amount not known yet
	Count    int    `json:"count"`
	Amount   int64  `json:"amount"`
}

// Risk is a hold that may lapse, and why.
type Risk struct {
	Hold   hold.Hold
	Reason string
}

// Check is one line of the readiness report.
type Check struct {
	Name   string // redis, stripe, scheduler; and schedule while it is being rebuilt
	OK     bool
	Detail string // what is wrong and what to do; of one that is OK, what an operator should know
}

// SinkStatus is how a way out stands, over all partitions.
type SinkStatus struct {
	Sink        string
	Failing     time.Time // since when it takes nothing, zero if it does
	Reason      string    // of what it did not take last
	Disabled    bool      // it asked not to be told any more
	Oldest      time.Time // when the oldest event that waits happened, zero if none does
	Parked      int       // holds whose events wait while those of others go on
	DeadLetters int64     // events that were given up and can be replayed
	EventsLost  int64     // events that were trimmed before it was back
}
