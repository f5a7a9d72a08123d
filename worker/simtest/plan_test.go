package simtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// plan is all that is going to happen from outside in one simulated world. It
// is drawn whole from a seed before the world begins, as lists that can be made
// shorter: every item draws its own chance from its own name, so taking one
// away leaves the others as they are.
type plan struct {
	seed            uint64
	duration        time.Duration // within it holds are placed, acted on, and things go wrong
	jobInterval     time.Duration // of the capture and the expiry job
	replicas        int           // replicas that are meant to run
	concurrency     int
	partitions      int
	expiryMargin    time.Duration
	alertThresholds []time.Duration
	rateLimit       int // requests of one kind a second and account
	strictRate      int // what Stripe really allows of them; 0: more than rateLimit
	lease           time.Duration
	eventVersion    string        // in which Stripe renders events; empty: 2023-10-16
	serviceTime     time.Duration // how long a change at Stripe holds its intent's lock
	redisClockAhead time.Duration // Redis' clock, of everybody else's
	holds           []plannedHold
	faults          []fault
	laterWrites     []laterWrite
	intake          intakePlan
	listReadsAbove  int  // see worker.Options
	organizationKey bool // the API key is one of an organization
}

// plannedHold is one hold and the actions on it.
type plannedHold struct {
	number              int
	placedAt            time.Duration // placed at Stripe
	scheduledAt         time.Duration // scheduled
	authorizationWindow time.Duration // until its deadline
	account             string
	requestedAccount    string // account in the request, if it is a wrong one
	amount              int64
	currency            string
	action              string // capture, cancel or none
	dueAt               time.Duration
	captureAmount       int64
	captureParams       hold.CaptureParams
	onExpiry            string
	declaresAmount      bool
	omitsExpiry         bool          // only the amount is declared, where nothing is false of it
	amountError         int64         // added to the declared amount
	expiryError         time.Duration // added to the declared deadline
	reference           string
	actions             []plannedAction
	// by which it comes to holdd: empty for the API, or metadata, inbox, card
	intake          string
	repeatAfter     time.Duration // until the inbox gets the same entry once more
	invalidMetadata bool          // of metadata: one term is invalid
	card            *cardPayment
	multi           bool   // another system may capture parts and leave the rest held
	methodType      string // of the payment method, empty for a card
	manualByType    bool   // capture_method is manual for this type alone

	declinesIncrement bool // the bank declines the first increment
	renewal           plannedRenewal
	staged            plannedStages
	tip               int64 // what its capture takes above the amount

	unconfirmed bool // its policy may not act at once: whoever schedules it does not confirm that
}

// plannedAction is a request or a change at Stripe.
type plannedAction struct {
	number      int
	at          time.Duration
	kind        string // see perform
	amount      int64
	newTime     time.Duration
	newPolicy   string
	loseReply   bool
	noRetry     bool // doesn't ask again after an answer that was lost
	unconfirmed bool // see placed
	ifUnchanged bool // only if the hold is still what it was when it was last looked at
}

// fault is something that goes wrong for a while, or at a moment.
type fault struct {
	number       int
	kind         string
	from, to     time.Duration
	probability  float64
	replicaIndex int    // of a replica, -1: all
	atCall       string // which call, empty: any
	afterEffect  bool   // of kill-at: once it has had its effect
	restartAfter time.Duration
	// of lose-tail: how far the clock of the server that takes over is from the
	// last one's
	clockStep time.Duration
}

func (f fault) String() string {
	s := fmt.Sprintf("%s from %s to %s", f.kind, f.from.Round(time.Millisecond),
		f.to.Round(time.Millisecond))
	if f.probability > 0 {
		s += fmt.Sprintf(" for %.0f%%", f.probability*100)
	}
	if f.replicaIndex >= 0 {
		s += fmt.Sprintf(" of replica %c", 'a'+f.replicaIndex)
	}
	if f.atCall != "" {
		s += " at " + f.atCall
	}
	if f.clockStep != 0 {
		s += fmt.Sprintf(", and its clock goes by %s", f.clockStep)
	}
	if f.afterEffect {
		s += ", once it has had its effect"
	}
	return s
}

// declaresExpiry says whether the deadline is declared as well.
func (p *plannedHold) declaresExpiry() bool {
	return p.declaresAmount && (!p.omitsExpiry || p.amountError != 0 || p.expiryError != 0)
}

func (p plannedHold) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "H%d: %d %s", p.number, p.amount, p.currency)
	if p.account != "" {
		s.WriteString(" of " + p.account)
	}
	fmt.Fprintf(&s, ", placed +%s, ends +%s, told +%s: %s", p.placedAt.Round(time.Millisecond),
		(p.placedAt + p.authorizationWindow).Round(time.Millisecond),
		p.scheduledAt.Round(time.Millisecond), p.action)
	if p.action != "none" {
		fmt.Fprintf(&s, " at +%s", p.dueAt.Round(time.Millisecond))
	}
	if p.captureAmount > 0 {
		fmt.Fprintf(&s, " (%d)", p.captureAmount)
	}
	if !p.captureParams.IsEmpty() {
		fmt.Fprintf(&s, " with %+v", p.captureParams)
	}
	fmt.Fprintf(&s, ", on_expiry %s", p.onExpiry)
	if p.declaresAmount {
		fmt.Fprintf(&s, ", declared (amount %+d, deadline %+v, told %v)", p.amountError,
			p.expiryError, p.declaresExpiry())
	}
	if p.multi {
		s.WriteString(", multicapture")
	}
	if p.declinesIncrement {
		s.WriteString(", whose bank declines an increment")
	}
	if p.renewal.until > 0 {
		s.WriteString(p.renewal.String())
	}
	s.WriteString(p.staged.String())
	if p.tip > 0 {
		fmt.Fprintf(&s, ", a tip of %d", p.tip)
	}
	if p.methodType != "" {
		s.WriteString(", " + p.methodType)
	}
	if p.manualByType {
		s.WriteString(", manual by type")
	}
	s.WriteString(p.describeIntake())
	if p.unconfirmed {
		s.WriteString(", not confirmed")
	}
	if p.requestedAccount != "" {
		s.WriteString(", told with the wrong account")
	}
	for _, a := range p.actions {
		fmt.Fprintf(&s, "\n    +%s %s", a.at.Round(time.Microsecond), a.kind)
		if a.amount != 0 {
			fmt.Fprintf(&s, " %d", a.amount)
		}
		if a.newTime != 0 {
			fmt.Fprintf(&s, " +%s", a.newTime.Round(time.Millisecond))
		}
		s.WriteString(" " + a.newPolicy)
		if a.unconfirmed {
			s.WriteString(" (not confirmed)")
		}
		if a.ifUnchanged {
			s.WriteString(" (if nobody else has changed it)")
		}
		if a.loseReply {
			s.WriteString(" (the answer is lost)")
		}
	}
	return s.String()
}

// planScales: from the second to weeks, at a cost that stays the same.
var planScales = []struct{ tick, span time.Duration }{
	{time.Second, 80 * time.Second},
	{time.Second, 2 * time.Minute},
	{5 * time.Second, 6 * time.Minute},
	{30 * time.Second, 40 * time.Minute},
	{2 * time.Minute, 3 * time.Hour},
	{10 * time.Minute, 14 * time.Hour},
	{30 * time.Minute, 40 * time.Hour},
	{2 * time.Hour, 9 * 24 * time.Hour},
}

const replicasUpAfter = 2 * time.Second // the replicas are up by then

// maxClockStep is how far the clocks of two servers of Redis are from each
// other.
const maxClockStep = 20 * time.Second
