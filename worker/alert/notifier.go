package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// Store is what deliveries need of the place where events are kept. Its methods
// are described at package store.
type Store interface {
	Partitions() int
	ReadEvents(ctx context.Context, partition int, after string, n int) (events []hold.StreamEvent,
		trimmed bool, err error)
	StreamLength(ctx context.Context, partition int) (length, added int64, err error)
	AcquireSinkLease(ctx context.Context, sink string, partition int, holder string,
		lease time.Duration) (token int64, state []byte, start string, parked map[string][]byte,
		err error)
	SaveSinkProgress(ctx context.Context, sink string, partition int, token int64,
		p hold.SinkProgress, lease time.Duration) (ok bool, err error)
	RequeuedDeadLetters(ctx context.Context, sink string, partition, n int) (
		[]hold.StreamEvent, error)
	DeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64,
		err error)
	RequeueDeadLetters(ctx context.Context, sink string, ids []string) (n int64, err error)
	SinkStates(ctx context.Context, sink string) ([][]byte, error)
	PublishOnce(ctx context.Context, about string, event []byte) (first bool, err error)
	ReportConditions(ctx context.Context, replica string, ttl, quiet time.Duration,
		list []hold.Condition) ([]hold.ConditionChange, error)
}

// Observer is told what comes of deliveries, for metrics. Its methods must be
// quick and safe for concurrent use.
type Observer interface {
	// Sent is called for each try: kind is a [Kind], or event for a sink that
	// takes events; result is delivered, rejected, failed, retry_later or gone.
	DeliveryAttempted(sink, kind, result string)
	// Waiting tells how far behind a sink is in a partition that this replica
	// delivers: zero values when it is not behind, or another replica delivers.
	BacklogChanged(sink string, partition int, oldest time.Time, parked int)
	// Dropped tells how many events were given up or lost since the last call.
	EventsDropped(sink string, dead, lost int64)
}

// Options say where to. Store, Replica and Logger must be set; everything else
// may be left out.
type Options struct {
	Store    Store
	Replica  string // this process, unique among the replicas
	Logger   *zap.Logger
	Observer Observer

	Callback *Callback
	// chat, mail and pagers; severity=… in one's parameters is the least that
	// is sent there
	NotifyURLs []string
	PingURL    string // of a dead man's switch
	RunbookURL string
	TimeZone   *time.Location
	Livemode   bool
	Version    string

	PollInterval time.Duration // between two looks for new events; 0: 1 s
	// Transport replaces the network, but for mail. May be nil.
	Transport http.RoundTripper
}

// Notifier takes events and alerts to where they are wanted.
type Notifier struct {
	options       Options
	store         Store
	log           *zap.Logger
	renderOptions RenderOptions
	sinks         []*sink
	pinger        *pinger
	redisOutage   *redisOutageNotifier

	mu       sync.Mutex
	observed map[string]deliveryState // by sink and partition: what was last told to the observer
}

// New checks where to.
func New(o Options) (*Notifier, error) {
	if o.Store == nil || o.Replica == "" {
		return nil, errors.New("alerts need a store and the replica's name")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.PollInterval == 0 {
		o.PollInterval = time.Second
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	a := &Notifier{options: o, store: o.Store, log: o.Logger, renderOptions: RenderOptions{
		Zone: o.TimeZone, RunbookURL: o.RunbookURL, Livemode: o.Livemode},
		observed: map[string]deliveryState{}}
	if o.Callback != nil {
		s, err := newCallbackSink(&o)
		if err != nil {
			return nil, err
		}
		a.sinks = append(a.sinks, s)
	}
	for _, address := range o.NotifyURLs {
		s, err := newNotifySink(&o, address)
		if err != nil {
			return nil, err
		}
		if a.HasSink(s.name) {
			return nil, errors.New("notify_urls has the same address twice: give it once")
		}
		a.sinks = append(a.sinks, s)
	}
	a.redisOutage = newRedisOutageNotifier(a)
	if o.PingURL != "" {
		p, err := newPinger(&o)
		if err != nil {
			return nil, err
		}
		a.pinger = p
	}
	return a, nil
}

// drainTimeout is how long deliveries that are under way may take once holdd
// stops.
const drainTimeout = 3 * time.Second

// Run delivers until ctx ends. Each sink and partition has a goroutine of its
// own: none waits for another.
func (a *Notifier) Run(ctx context.Context) {
	// What is on its way when it ends is waited for a moment: cut off, nobody
	// would know whether it was taken, and it would be sent twice.
	sendCtx, cancelSends := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSends()
	stop := context.AfterFunc(ctx, func() {
		sleepContext(sendCtx, drainTimeout)
		cancelSends()
	})
	defer stop()
	var all sync.WaitGroup
	for _, s := range a.sinks {
		for p := range a.store.Partitions() {
			c := &deliverer{notifier: a, sink: s, partition: p, sendCtx: sendCtx,
				log: a.log.With(zap.String("sink", s.name))}
			all.Go(func() { c.run(ctx) })
		}
	}
	if a.pinger != nil {
		all.Go(func() { a.pinger.run(ctx) })
	}
	all.Go(func() { a.redisOutage.run(ctx) })
	all.Wait()
}

// ReadinessChecked takes in what the report job found. It never waits.
func (a *Notifier) ReadinessChecked(checks []health.Check) {
	if a.pinger != nil {
		a.pinger.update(checks)
	}
	a.redisOutage.update(checks)
}

// SinkStatuses tells how each sink stands.
func (a *Notifier) SinkStatuses(ctx context.Context) ([]event.SinkStatus, error) {
	var out []event.SinkStatus
	for _, s := range a.sinks {
		states, err := a.store.SinkStates(ctx, s.name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
		}
		t := event.SinkStatus{Sink: s.name}
		for _, raw := range states {
			var st deliveryState
			if json.Unmarshal(raw, &st) != nil {
				continue
			}
			t.Failing, t.Oldest = earlierTime(t.Failing, st.FailingSince),
				earlierTime(t.Oldest, st.OldestPending)
			t.Disabled = t.Disabled || st.DisabledAddress == s.addressDigest
			t.Parked += st.ParkedHolds
			t.EventsLost += st.EventsLost
			if st.Reason != "" {
				t.Reason = st.Reason
			}
		}
		if _, t.DeadLetters, err = a.store.DeadLetters(ctx, s.name, 1); err != nil {
			return nil, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func earlierTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// DeadLetters returns up to n events that a sink was not able to take for days,
// oldest first, and how many there are.
func (a *Notifier) DeadLetters(
	ctx context.Context, sink string, n int,
) ([]hold.DeadLetter, int64, error) {
	list, total, err := a.store.DeadLetters(ctx, sink, n)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
	}
	return list, total, nil
}

// ReplayDeadLetters sends dead letters of a sink once more: those named, or
// all.
func (a *Notifier) ReplayDeadLetters(
	ctx context.Context, sink string, ids []string,
) (int64, error) {
	n, err := a.store.RequeueDeadLetters(ctx, sink, ids)
	if err != nil {
		return n, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
	}
	return n, nil
}

// HasSink says whether there is a sink of this name.
func (a *Notifier) HasSink(sink string) bool {
	for _, s := range a.sinks {
		if s.name == sink {
			return true
		}
	}
	return false
}

// SinkNames are those of the sinks.
func (a *Notifier) SinkNames() []string {
	names := make([]string, len(a.sinks))
	for i, s := range a.sinks {
		names[i] = s.name
	}
	return names
}

// now is this replica's clock. Deliveries are about minutes and days; nothing
// that is due to a hold depends on them.
func (a *Notifier) now() time.Time { return time.Now().UTC() }

// leaseDuration is how long a replica that died keeps others from going on.
func (a *Notifier) leaseDuration() time.Duration { return time.Minute + 4*a.options.PollInterval }

func (a *Notifier) standbyInterval() time.Duration { return 10 * a.options.PollInterval }

func (a *Notifier) recordDelivery(s *sink, m *message, out deliveryOutcome) {
	kind := "event"
	if m.alert != nil {
		kind = string(m.alert.Kind)
	}
	if a.options.Observer != nil {
		a.options.Observer.DeliveryAttempted(s.name, kind, resultNames[out.result])
	}
	if out.result != resultDelivered {
		a.log.Debug("not taken", zap.String("sink", s.name), zap.String("id", m.eventID),
			zap.String("kind", kind), zap.String("reason", out.reason))
	}
}

// observeState tells the observer how a sink stands.
func (a *Notifier) observeState(s *sink, partition int, st deliveryState) {
	if a.options.Observer == nil {
		return
	}
	key := s.name + ":" + itoa(partition)
	a.mu.Lock()
	previous, seenBefore := a.observed[key]
	a.observed[key] = st
	a.mu.Unlock()
	a.options.Observer.BacklogChanged(s.name, partition, st.OldestPending, st.ParkedHolds)
	if seenBefore && st.Cursor != "" && previous.Cursor != "" {
		a.options.Observer.EventsDropped(s.name, max(0, st.DeadLetters-previous.DeadLetters),
			max(0, st.EventsLost-previous.EventsLost))
	}
}
