package hold

import (
	"slices"
	"strings"
	"time"
)

// State is the state of a hold. Waiting to Attention are open, the last three
// are final.
type State uint8

// The states of a hold.
const (
	Waiting   State = iota + 1 // no time set: waits for a request or its deadline
	Paused                     // its own time is suspended; the deadline still counts
	Scheduled                  // acted on at NextAt
	Ready                      // due and not yet claimed; never stored, see [Hold.StateWithDueAsReady]
	Working                    // claimed, or its outcome is unknown
	Attention                  // an operator must decide; can be scheduled again
	Captured                   // final: the money was captured
	Canceled                   // final: the authorization was released
	Expired                    // final: the card network ended the authorization
)

var stateNames = [...]string{"", "waiting", "paused", "scheduled", "ready", "working", "attention",
	"captured", "canceled", "expired"}

// States lists every state, in the order of their values.
func States() []State {
	return []State{Waiting, Paused, Scheduled, Ready, Working, Attention,
		Captured, Canceled, Expired}
}

func (s State) String() string { return enumName(stateNames[:], int(s)) }

// IsFinal reports whether a hold in this state has ended. It changes again only if
// Stripe contradicts it, see [Hold.ReopenContradictedHold].
func (s State) IsFinal() bool { return s >= Captured && s <= Expired }

// ParseState is the inverse of [State.String].
func ParseState(s string) (State, bool) {
	i := enumIndex(stateNames[:], s)
	return State(i), i > 0
}

// Op is an operation at Stripe. A hold's next operation is a capture, a cancel,
// a read or an increment.
type Op uint8

// The operations at Stripe.
const (
	OpCapture Op = iota + 1
	OpCancel
	OpRead      // retrieve the intent
	OpAuthorize // create and confirm an intent
	OpUpdate    // write the terms to the intent's metadata
	OpConfirm   // confirm an existing intent
	OpList      // list intents, one page
	OpCheck     // a harmless request, to see whether Stripe answers and accepts the key
	OpIncrement // raise the authorized amount
	OpCreate    // create an intent without confirming it
	// Next operations only: the next step of a renewal, and the release of an
	// intent that must not hold money beside the hold's own.
	OpRenew
	OpRelease
	// Of a Checkout Session in which the cardholder gives another card.
	OpSetUpCard     // create one
	OpReadCardSetup // retrieve it
)

var opNames = [...]string{"", "capture", "cancel", "read", "authorize", "update",
	"confirm", "list", "check", "increment", "create", "renew", "release",
	"set_up_card", "read_card_setup"}

// RateLimitBucket returns the operation whose rate limit the request counts
// against.
func (o Op) RateLimitBucket() Op {
	switch o {
	case OpConfirm, OpCreate, OpRenew, OpSetUpCard:
		return OpAuthorize
	case OpRelease:
		return OpCancel
	case OpList, OpCheck, OpReadCardSetup:
		return OpRead
	}
	return o
}

func (o Op) String() string { return enumName(opNames[:], int(o)) }

// ExpiryPolicy is what on_expiry does with a hold that is still open at its
// deadline minus the expiry margin.
type ExpiryPolicy uint8

// The policies of on_expiry.
const (
	PolicyCancel  ExpiryPolicy = iota + 1 // release the authorization
	PolicyCapture                         // capture before the authorization ends
	PolicyAlert                           // only publish a warning
)

var policyNames = [...]string{"", "cancel", "capture", "alert"}

func (p ExpiryPolicy) String() string { return enumName(policyNames[:], int(p)) }

// ParseExpiryPolicy is the inverse of [ExpiryPolicy.String].
func ParseExpiryPolicy(s string) (ExpiryPolicy, bool) {
	i := enumIndex(policyNames[:], s)
	return ExpiryPolicy(i), i > 0
}

// DeadlineSource is where a deadline comes from.
type DeadlineSource uint8

// The sources of deadlines.
const (
	SourceAssumed DeadlineSource = iota + 1 // the usual window of the payment method
	SourceCharge                            // capture_before of the charge
	SourceCaller                            // expires_at of the request, not verified
)

var sourceNames = [...]string{"", "assumed", "capture_before", "caller"}

func (s DeadlineSource) String() string { return enumName(sourceNames[:], int(s)) }

// Cause is why something happened to a hold.
type Cause uint8

// The causes of events and outcomes.
const (
	CauseSchedule       Cause = iota + 1 // the hold's own time
	CauseTrigger                         // a request to capture or cancel now
	CauseOnExpiry                        // on_expiry
	CauseElsewhere                       // another system, such as the Dashboard
	CauseExpired                         // the card network ended the authorization
	CauseAmountTooLarge                  // more than the authorized amount
	// Stripe does not find the intent under this account and mode
	CauseNotFound
	CauseRefused // Stripe or the bank refused for good
	// Stripe saw the idempotency key with other parameters: a bug
	CauseKeyConflict
	CauseNotCapturable // the intent's status allows no capture
	CauseMismatch      // the intent differs from what the caller stated
	CauseReview        // a fraud review at Stripe
	CauseAfterDeadline // the authorization ends before the hold's own time
	CauseOverdue       // found so long after its time that an operator decides
	CauseInsideMargin  // the deadline became known after the time of on_expiry
	CauseNoOutcome     // many calls in a row without an outcome
	CauseFeeTooLarge   // a fee or a transfer above the amount that a capture would take
	CauseContradiction // Stripe shows another state than the settled hold
	CauseUnavailable   // the charge lacks the feature
	CauseTooLate       // the time for it is over
	CauseSuperseded    // another request took its place
	// The intent lacks what a renewal needs: a customer and a saved card
	CauseNotRenewable
	CauseDeclined       // the bank declined the renewal
	CauseRequiresAction // the bank requires the cardholder
	CauseRenewalLimit   // max_renewals is reached
	// The record was unreadable, and the terms are not known for sure
	CauseRecordUnreadable
	CauseUnprotected // a renewal released the old authorization first
)

var causeNames = [...]string{
	"", "schedule", "trigger", "on_expiry", "elsewhere", "expired", "amount_too_large", "not_found",
	"refused",
	"key_conflict", "not_capturable", "mismatch", "review", "after_deadline", "overdue",
	"inside_margin", "no_outcome", "fee_too_large",
	"contradiction", "unavailable", "too_late", "superseded", "not_renewable", "declined",
	"requires_action", "renewal_limit", "record_unreadable", "unprotected",
}

func (c Cause) String() string { return enumName(causeNames[:], int(c)) }

// Limits of a hold's fields. They bound its record in Redis.
const (
	MaxMetadataPairs  = 20
	MaxMetadataKey    = 40  // characters, as at Stripe
	MaxMetadataValue  = 500 // characters, as at Stripe
	MaxReferenceBytes = 200 // bytes
	MaxHistory        = 32  // entries; the first and the newest are kept
	MaxNoteBytes      = 300 // bytes of the note of one history entry
)

// IdempotencyKeyUsage counts the requests sent under the current generation of
// the idempotency key.
type IdempotencyKeyUsage struct {
	Count   uint32
	FirstAt time.Time // when the first may have left: Stripe may forget the key 24 h later
	Unknown bool      // the outcome of at least one is unknown
}

// Hold is an authorization and its terms. Times have millisecond precision,
// amounts are in minor units.
type Hold struct {
	ID             string // the PaymentIntent that first placed it
	PaymentIntent  string // the one that holds the money now
	Account        string // connected account; empty for the platform's own
	Reference      string // the caller's booking
	Amount         int64  // what can still be captured; 0: not known yet
	Currency       string // lower case; empty while Amount is not known
	CaptureAt      time.Time
	CancelAt       time.Time // at most one of the two is set
	CaptureAmount  int64     // the total wanted, whoever captures it; 0: everything
	CaptureParams  CaptureParams
	ExpiresAt      time.Time
	ExpiresSource  DeadlineSource
	OnExpiry       ExpiryPolicy
	State          State
	Revision       uint64
	Metadata       map[string]string
	Verified       bool // Stripe has confirmed amount, currency and state
	CreatedAt      time.Time
	SettledAt      time.Time
	CapturedAmount int64 // by holdd and other systems
	// CapturedElsewhere is what other systems captured, as far as is known. Of an
	// open hold, [CapturedSoFar] has what holdd captured as well.
	CapturedElsewhere int64
	// CancellationReason is the reason that a cancel sends. Of a canceled hold
	// it is the reason that Stripe has.
	CancellationReason string
	// SingleCapture says that the charge can be captured only once. Without it
	// another system may capture a part at any time, so a capture that names an
	// amount begins with a read.
	SingleCapture   bool
	Features        CardFeatures     // of the charge, as it was last read
	Increment       PendingIncrement // requested, and without an outcome
	MaxCapturable   int64            // with FeatureOvercapture: the most that may be captured in all
	Renewal         *Renewal         // nil without renewal terms; see unshareRenewal
	PartialCaptures *PartialCaptures // nil unless captured in parts; see unsharePartialCaptures
	Acknowledged    bool             // further warnings are silenced
	CancelWanted    bool             // a cancel was accepted: nothing may capture any more
	Mirrored        bool             // the intent's metadata has the terms
	Unmirrorable    bool             // the terms cannot be written there
	History         []HistoryEntry
	HistoryDropped  uint32 // history entries dropped to keep the bound

	// The next operation.
	NextOp     Op
	NextAt     time.Time
	Reason     Cause  // of NextOp, or of the outcome
	Generation uint32 // of the idempotency key
	Sent       IdempotencyKeyUsage
	ReadFirst  bool // Stripe must be read before the key is used again

	// Counters of consecutive events.
	InconclusiveReads uint32 // 404s, or reads that say nothing of an unknown outcome
	Retries           uint32 // for the back-off
	Calls             uint32 // calls without an outcome, whatever the answers were
	Refusals          uint32 // refusals for the state while a read shows the money held

	// Trace is the span of the request that scheduled it; zero for none.
	Trace TraceContext

	// Version is the fencing token. It grows with every write and every claim.
	Version uint64
	// PreviousState is the state of a claimed hold before its claim. The hold
	// returns to it if nothing was sent.
	PreviousState State

	Unknown UnknownFields // of a later release
}

// StateWithDueAsReady returns the state to show: a scheduled hold whose time has come is
// ready.
func (h *Hold) StateWithDueAsReady(now time.Time) State {
	if h.State == Scheduled && h.NextOp != 0 && !h.NextAt.After(now) {
		return Ready
	}
	return h.State
}

// ActionTime returns CaptureAt or CancelAt, whichever is set.
func (h *Hold) ActionTime() time.Time {
	if !h.CaptureAt.IsZero() {
		return h.CaptureAt
	}
	return h.CancelAt
}

// LatenessAt returns how long after its due time a hold is acted on at a time.
func LatenessAt(h *Hold, at time.Time) time.Duration {
	due := h.NextAt
	if own := h.ActionTime(); h.Reason == CauseSchedule && !own.IsZero() {
		due = own
	}
	return max(0, at.Sub(due))
}

// HistoryKind is the kind of a history entry.
type HistoryKind uint8

// The kinds of history entries.
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
	HistoryIncrement // the outcome of an increment
	HistoryPart      // a capture that kept the rest
)

var historyKindNames = [...]string{"", "scheduled", "changed", "triggered", "paused", "resumed",
	"acknowledged", "attempt", "observed", "outcome", "increment", "partly_captured"}

func (k HistoryKind) String() string { return enumName(historyKindNames[:], int(k)) }

// HistoryEntry is one entry of a hold's history.
type HistoryEntry struct {
	At        time.Time
	Kind      HistoryKind
	By        string     // api, cli, inbox, stripe, holdd, or the name of a token
	Op        Op         // of a request or an attempt
	Key       string     // idempotency key of an attempt
	RequestID string     // of an attempt
	Answer    AnswerKind // of an attempt
	Cause     Cause
	Note      string // at most MaxNoteBytes
	Unknown   UnknownFields
}

// appendHistory adds an entry. Beyond MaxHistory it drops the oldest but the
// first.
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

// truncateUTF8 returns at most n bytes of s as valid UTF-8.
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

func enumIndex(names []string, s string) int {
	if s == "" {
		return 0
	}
	return max(0, slices.Index(names, s))
}
