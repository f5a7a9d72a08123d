package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/erase"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

// Options configure a [Engine]. Zero values mean the defaults of the settings.
type Options struct {
	Rules       hold.DecisionRules
	Schedules   CronSchedules
	Concurrency int           // calls to Stripe under way at once
	Lease       time.Duration // other replicas take over a crashed replica's holds within it
	CallTimeout time.Duration // of one call to Stripe
	Grace       time.Duration // for calls that are under way when the worker stops
	ReadRate    int           // reads per second in the budget; reconcile uses at most half
	// ListReadsAbove is above how many waiting reads of an account its list is
	// read instead; 0 means [bulkread.DefaultListAbove].
	ListReadsAbove int
	// WriteRate is the captures per second of each account, and the cancels per
	// second. 0 means that no limit is known.
	WriteRate int
	TotalRate int           // requests per second of each account; 0 means no limit
	Retention time.Duration // of settled holds
	Livemode  bool
	Replica   string // this process, unique among the replicas
	Logger    *zap.Logger
	Health    *health.Reporter // shared with the caller; nil means one of the worker's own
	Changes   *changes.Watcher // shared with the caller; nil means one of the worker's own
	Observer  Observer         // may be nil
	Tracer    Tracer           // may be nil
	// CardholderLink returns the link for a hold whose renewal requires its
	// cardholder; nil means that events have none.
	CardholderLink func(h *hold.Hold) string
	// AccountKnown reports whether the key is known to be of the account whose
	// holds are in Redis; nil means that it never is.
	AccountKnown func() bool
	// RedisInspector repeats the checks of Redis' settings; nil means not to.
	RedisInspector RedisInspector
	// Deliveries reports the progress of the sinks; nil means that there are
	// none.
	Deliveries erase.DeliveryProgressReader
	// DecodeRequest decodes a request of the Redis inbox by the API's rules.
	// Its errors are *[hold.Problem]. If it is nil, the worker does not read
	// the inbox.
	DecodeRequest func(text []byte) (hold.ScheduleRequest, error)
}

// WithDefaults returns the options with defaults in place of zero values. It
// returns an error if an option is invalid.
func (o Options) WithDefaults() (Options, error) {
	setDefault(&o.Lease, 30*time.Second)
	setDefault(&o.CallTimeout, 10*time.Second)
	setDefault(&o.Grace, 20*time.Second)
	setDefault(&o.Retention, 90*24*time.Hour)
	setDefault(&o.Rules.ExpiryMargin, time.Hour)
	setDefault(&o.Rules.CancellationReason, hold.ReasonRequestedByCustomer)
	setDefault(&o.Concurrency, 64)
	setDefault(&o.ReadRate, 25)
	o.Schedules.setDefaults()
	setDefault(&o.Rules.CaptureInterval, o.Schedules.captureInterval())
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Health == nil {
		o.Health = health.NewRedisHealthReporter(o.Logger)
	}
	if o.Replica == "" {
		return o, errors.New("missing replica: want a name that no other replica has")
	}
	if o.CallTimeout*2 > o.Lease {
		return o, fmt.Errorf("invalid lease %s: want at least twice the call timeout %s",
			o.Lease, o.CallTimeout)
	}
	return o, nil
}

// captureInterval is the time between two runs of the job that acts on due
// holds. Near the deadline the expiry job acts as well, also outside the window
// of the capture job.
func (s *CronSchedules) captureInterval() time.Duration {
	return min(cronInterval(s.Capture), cronInterval(s.Expiry))
}

// cronInterval is the time between two runs of a job. An invalid schedule is
// reported when the jobs begin.
func cronInterval(spec string) time.Duration {
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return time.Second
	}
	first := schedule.Next(time.Unix(0, 0).UTC())
	return schedule.Next(first).Sub(first)
}

func (s *CronSchedules) setDefaults() {
	setDefault(&s.Capture, "@every 1s")
	setDefault(&s.Expiry, "@every 1s")
	setDefault(&s.Report, "@every 15s")
	setDefault(&s.Purge, "@hourly")
	setDefault(&s.Reconcile, "@every 15m")
	setDefault(&s.Verify, "@every 5s")
	setDefault(&s.Resume, "@every 10s")
	setDefault(&s.Refresh, "@every 1s")
	setDefault(&s.Inbox, "@every 1s")
	setDefault(&s.Mirror, "@every 2s")
	setDefault(&s.RedisCheck, "@every 1m")
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
