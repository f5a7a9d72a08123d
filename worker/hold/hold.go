package hold

import (
	"slices"
	"strings"
	"time"
)

// State is where a hold stands. Waiting to Attention are open, the last three
// are final.
type State uint8

const (
	Waiting   State = iota + 1 // no time set: a trigger or the deadline decides
	Paused                     // somebody said "not now"; the deadline still counts
	Scheduled                  // will be acted on when Next comes
	Ready                      // due and not yet claimed; never stored, see [Hold.StateAt]
	Working                    // claimed, or its outcome isn't known yet
	Attention                  // a person must look; can be scheduled anew
	Captured                   // final: the money was taken
	Canceled                   // final: the money was let go
	Expired                    // final: the card network let it go
)

var stateNames = [...]string{"", "waiting", "paused", "scheduled", "ready", "working", "attention",
	"captured", "canceled", "expired"}

// States lists every state, in the order of their values.
func States() []State {
	return []State{Waiting, Paused, Scheduled, Ready, Working, Attention,
		Captured, Canceled, Expired}
}

func (s State) String() string { return enumName(stateNames[:], int(s)) }

// Final reports whether nothing more can happen to a hold in this state.
func (s State) Final() bool { return s >= Captured && s <= Expired }

// ParseState is the inverse of [State.String].
func ParseState(s string) (State, bool) {
	i := parseEnum(stateNames[:], s)
	return State(i), i > 0
}

// Op is something that can be asked of Stripe about a hold.
type Op uint8

const (
	OpCapture Op = iota + 1
	OpCancel
	OpRead      // retrieve: learn the truth, change nothing
	OpAuthorize // create or confirm an intent: never what a hold does next
	OpUpdate    // write the terms to the intent's metadata: never what a hold does next
	OpConfirm   // confirm an intent once more
	OpList      // list intents, one page
	OpCheck     // ask something harmless, to learn whether Stripe answers and accepts the key
)

var opNames = [...]string{"", "capture", "cancel", "read", "authorize", "update",
	"confirm", "list", "check"}

// Bucket is the operation whose budget a request is taken from.
func (o Op) Bucket() Op {
	switch o {
	case OpConfirm:
		return OpAuthorize
	case OpList, OpCheck:
		return OpRead
	}
	return o
}

func (o Op) String() string { return enumName(opNames[:], int(o)) }

// Policy says what happens to a hold that is still open when its deadline draws
// near.
type Policy uint8

const (
	PolicyCancel  Policy = iota + 1 // let the money go while we can say so ourselves
	PolicyCapture                   // take the money before it is gone
	PolicyAlert                     // only tell somebody
)

var policyNames = [...]string{"", "cancel", "capture", "alert"}

func (p Policy) String() string { return enumName(policyNames[:], int(p)) }

// ParsePolicy is the inverse of [Policy.String].
func ParsePolicy(s string) (Policy, bool) {
	i := parseEnum(policyNames[:], s)
	return Policy(i), i > 0
}

// DeadlineSource tells how well a deadline is known.
type DeadlineSource uint8

const (
	// the usual window of the payment method, 7 days if unknown
	SourceAssumed DeadlineSource = iota + 1
	SourceCharge                 // capture_before of the charge
	SourceCaller                 // expires_at sent along by the caller, unchecked
)

var sourceNames = [...]string{"", "assumed", "capture_before", "caller"}

func (s DeadlineSource) String() string { return enumName(sourceNames[:], int(s)) }

// Cause tells why something happened to a hold.
type Cause uint8

const (
	CauseSchedule Cause = iota + 1 // the hold's own time came
	CauseTrigger                   // somebody asked for it now
	CauseOnExpiry                  // the deadline's policy
	// somebody else did it at Stripe: the Dashboard, another system
	CauseElsewhere
	CauseExpired        // the card network's deadline passed
	CauseAmountTooLarge // more than the authorization allows
	// Stripe doesn't know the intent under this account and mode
	CauseNotFound
	CauseRefused // Stripe or the bank refused for good
	// Stripe saw our idempotency key with other parameters: a bug
	CauseKeyConflict
	CauseNotCapturable // the intent is in no state to be captured
	CauseMismatch      // the truth at Stripe is not what the caller said
	CauseReview        // a fraud review at Stripe
	CauseAfterDeadline // the hold will end before its own time comes
	CauseOverdue       // found again so long after its time that a person decides
	// its deadline became known only when the policy's time was over
	CauseInsideMargin
	CauseNoOutcome // many calls in a row led to no outcome
)

var causeNames = [...]string{
	"", "schedule", "trigger", "on_expiry", "elsewhere", "lapsed", "amount_too_large", "not_found",
	"refused",
	"key_conflict", "not_capturable", "mismatch", "review", "after_deadline", "overdue",
	"inside_margin", "no_outcome",
}

func (c Cause) String() string { return enumName(causeNames[:], int(c)) }

// Limits of what a hold may carry. They bound its record in Redis.
const (
	MaxMetadataPairs  = 20
	MaxMetadataKey    = 40  // characters, as at Stripe
	MaxMetadataValue  = 500 // characters, as at Stripe
	MaxReferenceBytes = 200 // bytes
	MaxHistory        = 32  // entries; the first and the newest are kept
	MaxNoteBytes      = 300 // bytes of a text from outside in one history entry
)

// Attempt is what is known of the requests sent under the current generation of
// the idempotency key.
type Attempt struct {
	Count   uint32    // requests sent
	FirstAt time.Time // when the first one may have left: Stripe may forget the key 24 h after it
	Unknown bool      // at least one has an outcome that isn't known
}

// Hold is an authorization and what is to become of it. Times have millisecond
// precision, amounts are minor units.
type Hold struct {
	ID             string // the PaymentIntent that first placed it
	PaymentIntent  string // the one that holds the money now
	Account        string // connected account, empty for one's own
	Reference      string // the caller's booking
	Amount         int64  // held: what can still be captured; 0: not known yet
	Currency       string // lower case, empty while Amount isn't known
	CaptureAt      time.Time
	CancelAt       time.Time // at most one of the two is set
	CaptureAmount  int64     // the total wanted, whoever takes it; 0: everything
	ExpiresAt      time.Time
	ExpiresSource  DeadlineSource
	OnExpiry       Policy
	State          State
	Revision       uint64
	Metadata       map[string]string
	Verified       bool // Stripe has confirmed amount, currency and state
	CreatedAt      time.Time
	SettledAt      time.Time
	CapturedAmount int64 // what was really taken
	// CapturedElsewhere is what another system took, as far as is known: of a
	// hold that is still open, or of CapturedTotal.
	CapturedElsewhere int64
	// SingleCapture is Stripe's word that the charge can be captured only once.
	// Without it another system may take a part at any time, so a capture that
	// names an amount begins with a read.
	SingleCapture  bool
	Acknowledged   bool // a person knows that this hold nears its end
	CancelWanted   bool // a cancel was accepted: from here on nothing may capture
	Mirrored       bool // the terms stand in the intent's metadata
	Unmirrorable   bool // they can't, and it was given up
	History        []HistoryEntry
	HistoryDropped uint32 // history entries dropped to keep the bound

	// What the worker does at its next claim.
	NextOp     Op
	NextAt     time.Time
	Reason     Cause // why Next, later why it ended
	Generation uint32
	Attempt    Attempt
	ReadFirst  bool // the key must not be used again before Stripe has been read back
	// times in a row that Stripe didn't know the intent, or told nothing of an
	// outcome that isn't known
	InconclusiveReads uint32
	Retries           uint32 // consecutive retries, for the back-off
	// calls in a row whose answers led to no outcome, without those that an
	// outage explains
	Calls uint32
	// times in a row that Stripe refused for the state and a read showed the
	// money held
	Refusals uint32

	// Version is the store's fencing token: it grows with every write and every
	// claim.
	Version uint64
	// Prior is the state from which a claimed hold was taken, and the one it
	// goes back to if nothing was sent.
	PreviousState State
}

// StateAt is the state that people see: a hold whose time has come and that
// nobody has claimed is ready.
func (h *Hold) StateAt(now time.Time) State {
	if h.State == Scheduled && h.NextOp != 0 && !h.NextAt.After(now) {
		return Ready
	}
	return h.State
}

// ActionTime is when the caller wants something to happen, zero if never.
func (h *Hold) ActionTime() time.Time {
	if !h.CaptureAt.IsZero() {
		return h.CaptureAt
	}
	return h.CancelAt
}

// HistoryKind says what a line of a hold's history tells.
type HistoryKind uint8

const (
	HistoryScheduled HistoryKind = iota + 1
	HistoryChanged
	HistoryTriggered
	HistoryPaused
	HistoryResumed
	HistoryAcknowledged
	HistoryAttempt
	HistoryObserved
	HistoryOutcome
)

var historyKindNames = [...]string{"", "scheduled", "changed", "triggered", "paused", "resumed",
	"acknowledged", "attempt", "observed", "outcome"}

func (k HistoryKind) String() string { return enumName(historyKindNames[:], int(k)) }

// HistoryEntry is one line of a hold's history.
type HistoryEntry struct {
	At        time.Time
	Kind      HistoryKind
	By        string     // who: api, cli, inbox, stripe, holdd, or the name of a token
	Op        Op         // of a trigger or an attempt
	Key       string     // idempotency key of an attempt
	RequestID string     // Stripe's
	Answer    AnswerKind // of an attempt
	Cause     Cause
	Note      string // at most MaxNote bytes
}

func appendHistory(h *Hold, e HistoryEntry) {
	e.Note, e.RequestID = truncateUTF8(e.Note, MaxNoteBytes), truncateUTF8(e.RequestID, 64)
	e.At = e.At.Truncate(time.Millisecond)
	// The slice may be shared with an older copy of the hold: never append in
	// place.
	h.History = append(slices.Clip(h.History), e)
	if over := len(h.History) - MaxHistory; over > 0 {
		h.History = append(h.History[:1:1], h.History[1+over:]...)
		h.HistoryDropped += uint32(over)
	}
}

// truncateUTF8 cuts a text to at most n bytes of valid UTF-8.
func truncateUTF8(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

func enumName(names []string, i int) string {
	if i <= 0 || i >= len(names) {
		return "unknown"
	}
	return names[i]
}

func parseEnum(names []string, s string) int {
	if s == "" {
		return 0
	}
	return max(0, slices.Index(names, s))
}
