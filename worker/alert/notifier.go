package alert

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"go.uber.org/zap"
)

// Stores are the parts of the store that deliveries need.
type Stores struct {
	Events       EventStreamStore
	Leases       SinkLeaseStore
	Requeued     RequeuedDeadLetterStore
	SystemEvents SystemEventStore
	Sinks        SinkAdminStore
}

// DeliveryObserver records deliveries, for metrics. Its methods must be quick
// and safe for concurrent use. daemon.metrics implements it.
type DeliveryObserver interface {
	// DeliveryAttempted is called for each attempt. kind is a [Kind], or event
	// for a sink that takes events. result is delivered, rejected, failed,
	// retry_later or gone.
	DeliveryAttempted(sink, kind, result string)
	// SinkBacklogChanged reports when the oldest event that waits happened, and how
	// many holds are parked. Both are zero if no event waits or another replica
	// delivers.
	SinkBacklogChanged(sink string, partition int, oldest time.Time, parked int)
	// EventsDropped reports the dead letters and the trimmed events since the
	// last call.
	EventsDropped(sink string, dead, lost int64)
}

// DeliveryTracer begins the span of an attempt to deliver an event, and sets the
// headers by which the receiver continues it. It returns nil if the event's
// trace is not recorded. tracing.Tracer implements it.
type DeliveryTracer interface {
	StartDelivery(ctx context.Context, traceparent, eventID, address string, header http.Header) (
		end func(status int, result string))
}

// Options configure a [Notifier]. Stores and Replica are required.
type Options struct {
	Stores   Stores
	Replica  string // unique among the replicas
	Logger   *zap.Logger
	Observer DeliveryObserver
	Tracer   DeliveryTracer   // of callbacks; may be nil
	Health   *health.Reporter // shared with the worker; nil means one of its own
	Changes  *changes.Watcher // shared with the worker; nil means to poll without it

	Callback *CallbackEndpoint
	// NotifyURLs are the addresses of chats, mail and pagers. The parameter
	// severity of an address is the least severity that is sent there.
	NotifyURLs []string
	PingURL    string // of a dead man's switch
	RunbookURL string
	TimeZone   *time.Location
	Livemode   bool
	Version    string

	PollInterval time.Duration     // between two reads of a stream, at least; 0 means 1 s
	Transport    http.RoundTripper // replaces the network, except for mail
}

func (o *Options) validateAndSetDefaults() error {
	s := &o.Stores
	if s.Events == nil || s.Leases == nil || s.Requeued == nil || s.SystemEvents == nil ||
		s.Sinks == nil || o.Replica == "" {
		return errors.New("alert options need every store and the name of the replica")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Health == nil {
		o.Health = health.NewRedisHealthReporter(o.Logger)
	}
	if o.PollInterval == 0 {
		o.PollInterval = time.Second
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	return nil
}

func (o *Options) renderOptions() RenderOptions {
	return RenderOptions{Zone: o.TimeZone, RunbookURL: o.RunbookURL, Livemode: o.Livemode}
}

// Notifier delivers events and alerts to the sinks.
type Notifier struct {
	*SinkAdmin
	options Options
	sinks   []*sink
	pinger  *deadMansSwitchPinger // may be nil
	direct  *readinessNotifier
}

// New checks the addresses in o and returns a notifier.
func New(o Options) (*Notifier, error) {
	if err := o.validateAndSetDefaults(); err != nil {
		return nil, err
	}
	sinks, err := newSinks(&o)
	if err != nil {
		return nil, err
	}
	n := &Notifier{options: o, sinks: sinks, direct: newReadinessNotifier(&o, sinks),
		SinkAdmin: &SinkAdmin{store: o.Stores.Sinks, sinks: sinks}}
	if o.PingURL != "" {
		if n.pinger, err = newDeadMansSwitchPinger(&o); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func newSinks(o *Options) (sinks []*sink, err error) {
	if o.Callback != nil {
		s, err := newCallbackSink(o)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, s)
	}
	for _, address := range o.NotifyURLs {
		s, err := newNotifySink(o, address)
		if err != nil {
			return nil, err
		}
		for _, other := range sinks {
			if other.name == s.name {
				return nil, errors.New("duplicate address in notify_urls: give each once")
			}
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}

// drainTimeout is how long requests under way may take once holdd stops.
const drainTimeout = 3 * time.Second

// Run delivers until ctx ends. Each sink and partition has a goroutine, so that
// none waits for another.
func (n *Notifier) Run(ctx context.Context) {
	// A request that is cut off has an unknown outcome and is sent again, so
	// requests under way get a moment longer.
	sendCtx, cancelSends := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSends()
	stop := context.AfterFunc(ctx, func() {
		execute.SleepUnlessCanceled(sendCtx, drainTimeout)
		cancelSends()
	})
	defer stop()
	var running sync.WaitGroup
	for _, s := range n.sinks {
		for p := range n.options.Stores.Sinks.PartitionCount() {
			d := newDeliverer(sendCtx, &n.options, s, p)
			running.Go(func() { d.run(ctx) })
		}
	}
	if n.options.Changes != nil && len(n.sinks) > 0 {
		running.Go(func() { n.options.Changes.Run(ctx) })
	}
	if n.pinger != nil {
		running.Go(func() { n.pinger.run(ctx) })
	}
	running.Go(func() { n.direct.run(ctx) })
	running.Wait()
}

// ReadinessChecked takes the result of a readiness check, for the dead man's
// switch and for alerts about Redis and the stages. It does not block.
func (n *Notifier) ReadinessChecked(checks []health.ReadinessCheckResult) {
	if n.pinger != nil {
		n.pinger.enqueueReadinessChecks(checks)
	}
	n.direct.enqueueReadinessChecks(checks)
}

// replaceLatest puts v into a channel of one place, instead of an older value
// that was not read yet.
func replaceLatest[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	select {
	case c <- v:
	default:
	}
}
