package client

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Plan forecasts what will happen without a request, and what is at risk.
type Plan struct {
	From      time.Time       `json:"from"`
	Until     time.Time       `json:"until"`
	Hours     []PlanHour      `json:"hours" nullable:"false" doc:"Hours in which holds are captured or released, at their own time or by on_expiry. Overdue holds count in the first"`
	Capture   []CurrencyTotal `json:"capture" nullable:"false" doc:"Captures of all hours"`
	Cancel    []CurrencyTotal `json:"cancel" nullable:"false" doc:"Releases of all hours"`
	AtRisk    []AtRiskHold    `json:"at_risk" nullable:"false" doc:"Holds that may expire, nearest deadline first, at most 100"`
	Truncated bool            `json:"truncated,omitempty" doc:"There are more holds than were examined"`
	Livemode  bool            `json:"livemode" doc:"Whether the holds are of Stripe's live mode"`
}

// PlanHour totals the holds that fall due in the hour that begins at Start.
type PlanHour struct {
	Start   time.Time       `json:"start"`
	Capture []CurrencyTotal `json:"capture" nullable:"false"`
	Cancel  []CurrencyTotal `json:"cancel" nullable:"false"`
}

// CurrencyTotal is an amount of money in one currency.
type CurrencyTotal struct {
	Currency string `json:"currency,omitempty" doc:"Absent for holds whose amount is not known yet"`
	Count    int    `json:"count"`
	Amount   int64  `json:"amount" doc:"In minor units"`
}

// AtRiskHold is a hold that may expire, and the reason.
type AtRiskHold struct {
	Hold   hold.View `json:"hold"`
	Reason string    `json:"reason"`
}

// Reconciliation is one comparison of the schedule with Stripe.
type Reconciliation struct {
	ID              string           `json:"id"`
	DryRun          bool             `json:"dry_run"`
	State           string           `json:"state" enum:"running,finished,interrupted" doc:"An interrupted run continues by itself"`
	By              string           `json:"by" doc:"Who started it: the name of a token, cli, api, or schedule for the cron job"`
	Replica         string           `json:"replica"`
	StartedAt       time.Time        `json:"started_at"`
	UpdatedAt       time.Time        `json:"updated_at"`
	FinishedAt      *time.Time       `json:"finished_at,omitempty"`
	Percent         int              `json:"percent" doc:"Estimated progress"`
	Accounts        int              `json:"accounts" doc:"Accounts that are compared, your own included"`
	Listed          int64            `json:"listed" doc:"PaymentIntents that Stripe listed"`
	Compared        int64            `json:"compared" doc:"Listed PaymentIntents that have a hold"`
	Retrieved       int64            `json:"retrieved" doc:"Open holds that were not listed and whose PaymentIntent was retrieved one by one"`
	RetrieveFailed  int64            `json:"retrieve_failed" doc:"Open holds that were not listed and whose PaymentIntent could not be retrieved. The next run tries again"`
	CountsByKind    map[string]int64 `json:"counts" doc:"Findings by kind, listed or not"`
	Findings        []Finding        `json:"findings" nullable:"false" doc:"At most 1000, and at most 500 of a kind"`
	FindingsOmitted int64            `json:"findings_omitted,omitempty" doc:"Findings that are counted and not listed"`
	Error           string           `json:"error,omitempty" doc:"Why the run was interrupted"`
	Livemode        bool             `json:"livemode" doc:"Whether it compares with Stripe's live mode"`
}

// Finding is one difference between Stripe and the schedule.
type Finding struct {
	Kind          string     `json:"kind" enum:"scheduled,changed,captured,canceled,expired,attention,contradiction,released,orphan,recent,rejected,unreadable" doc:"orphan holds money and is not scheduled; recent is one of the last ten minutes, which is skipped"`
	PaymentIntent string     `json:"payment_intent,omitempty"`
	Account       string     `json:"account,omitempty"`
	Reference     string     `json:"reference,omitempty"`
	Amount        int64      `json:"amount,omitempty" doc:"In minor units"`
	Currency      string     `json:"currency,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty" doc:"When the authorization ends. Absent if it holds no money any more"`
	Detail        string     `json:"detail,omitempty"`
}

// ReconcileRequest is the body of POST /v1/reconcile.
type ReconcileRequest struct {
	DryRun   bool     `json:"dry_run,omitempty" doc:"Report differences and change nothing"`
	Accounts []string `json:"accounts,omitempty" maxItems:"100" doc:"Connected accounts to compare, beside those with open holds. Name them after Redis has lost its data"`
}

// SinkStatus describes a sink of events or alerts, and its deliveries.
type SinkStatus struct {
	Sink         string     `json:"sink" doc:"callback, or the service of one of notify_urls"`
	FailingSince *time.Time `json:"failing_since,omitempty" doc:"Since when every delivery fails"`
	Reason       string     `json:"reason,omitempty" doc:"Why the last delivery failed"`
	Disabled     bool       `json:"disabled,omitempty" doc:"The receiver answered 410 Gone. holdd delivers nothing until the sink's address changes"`
	OldestAt     *time.Time `json:"oldest_at,omitempty" doc:"Time of the oldest undelivered event"`
	ParkedHolds  int        `json:"parked_holds" doc:"Holds whose events wait behind one that the receiver rejects, while it accepts those of other holds"`
	DeadLetters  int64      `json:"dead_letters" doc:"Events that were not accepted for three days. They can be replayed"`
	EventsLost   int64      `json:"events_lost" doc:"Events that were trimmed from the stream before they were delivered"`
}

// SinkList lists all sinks.
type SinkList struct {
	Sinks    []SinkStatus `json:"sinks" nullable:"false"`
	Livemode bool         `json:"livemode" doc:"Whether the events are of Stripe's live mode"`
}

// DeadLetter is an event that a sink did not accept for three days.
type DeadLetter struct {
	ID        string    `json:"id" doc:"Send it to replay this event"`
	EventID   string    `json:"event_id" doc:"The webhook-id of every attempt"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	HoldID    string    `json:"hold,omitempty"`
	Reason    string    `json:"reason"`
}

// DeadLetterList lists the dead letters of one sink, oldest first.
type DeadLetterList struct {
	Sink        string       `json:"sink"`
	DeadLetters []DeadLetter `json:"dead_letters" nullable:"false"`
	Total       int64        `json:"total"`
}

// ReplayResult says how many dead letters are being delivered again.
type ReplayResult struct {
	Replayed int64 `json:"replayed"`
}

// ReplayRequest is the body of POST /v1/deliveries/replay.
type ReplayRequest struct {
	Sink string   `json:"sink,omitempty" doc:"Default: callback"`
	IDs  []string `json:"ids,omitempty" maxItems:"1000" doc:"Ids of dead letters. Default: all, up to 1000 of each partition"`
}

// Readiness answers GET /readyz.
type Readiness struct {
	Ready  bool             `json:"ready"`
	Checks []ReadinessCheck `json:"checks" nullable:"false"`
}

// ReadinessCheck is one line of the readiness report.
type ReadinessCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty" doc:"The error and what to do about it. If tokens are required, only callers with a token see it"`
}

// Health answers GET /healthz: the process is alive. If tokens are required,
// only callers with a token see Version and Livemode.
type Health struct {
	Status   string `json:"status" enum:"ok"`
	Version  string `json:"version,omitempty"`
	Livemode *bool  `json:"livemode,omitempty" doc:"Whether holdd uses Stripe's live mode"`

	ExpiryMarginSeconds int64 `json:"expiry_margin_seconds,omitempty" doc:"How long before a deadline on_expiry acts"`
}

// LogLevel is the lowest level that is logged.
type LogLevel struct {
	Level      string `json:"level" enum:"debug,info,warn,error" doc:"The lowest level that is logged now"`
	Configured string `json:"configured" enum:"debug,info,warn,error" doc:"The level of the settings, which returns with a restart"`
}

// RepairRequest is the body of POST /v1/holds/{id}/repair.
type RepairRequest struct {
	Account string `json:"account,omitempty" doc:"The hold's connected account. Default: the one in the record, or your own" example:"acct_1PxYzA2eZvKYlo2C"`
	Force   bool   `json:"force,omitempty" doc:"Also replace a record that a newer holdd seems to have written, and lose what it says"`
}

// RepairResult is a repaired hold.
type RepairResult struct {
	Hold        *hold.View        `json:"hold,omitempty" doc:"The rebuilt hold. Absent if none could be made of the PaymentIntent"`
	Reason      string            `json:"reason,omitempty" doc:"Why there is no hold, and what to do"`
	Quarantined QuarantinedRecord `json:"quarantined"`
}

// QuarantinedRecord is the record that was replaced.
type QuarantinedRecord struct {
	At     time.Time `json:"at" doc:"When it was put into the quarantine"`
	By     string    `json:"by" doc:"Who asked for the repair"`
	Size   int       `json:"size" doc:"Size of the record, in bytes"`
	Record []byte    `json:"record" doc:"The first 32 KiB of the record, in base64. Redis keeps the last 1,000 in the stream holdd:quarantine"`
}
