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

// Store is what deliveries need of the place where events are kept. Its methods are described at package store.
type Store interface {
	Partitions() int
	ReadEvents(ctx context.Context, partition int, after string, n int) (events []hold.StreamEvent, torn bool, err error)
	StreamLength(ctx context.Context, partition int) (length, added int64, err error)
	BeginSink(ctx context.Context, sink string, partition int, holder string, lease time.Duration) (token int64, state []byte, start string, parked map[string][]byte, err error)
	SaveSink(ctx context.Context, sink string, partition int, token int64, p hold.SinkProgress, lease time.Duration) (ok bool, err error)
	RequeuedDeadLetters(ctx context.Context, sink string, partition, n int) ([]hold.StreamEvent, error)
	DeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64, err error)
	RequeueDeadLetters(ctx context.Context, sink string, ids []string) (n int64, err error)
	SinkStates(ctx context.Context, sink string) ([][]byte, error)
	PublishOnce(ctx context.Context, about string, event []byte) (first bool, err error)
	ReportConditions(ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.Condition) ([]hold.ConditionChange, error)
}

// Observer is told what comes of deliveries, for metrics. Its methods must be quick and safe for concurrent use.
type Observer interface {
	// Sent is called for each try: kind is a [Kind], or event for a sink that takes events; result is taken, refused, failed, later or gone.
	Sent(sink, kind, result string)
	// Waiting tells how far behind a sink is in a partition that this replica delivers: zero values when it is not behind, or another replica delivers.
	Waiting(sink string, partition int, oldest time.Time, parked int)
	// Dropped tells how many events were given up or lost since the last call.
	Dropped(sink string, dead, lost int64)
}

// Options say where to. Store, Replica and Logger must be set; everything else may be left out.
type Options struct {
	Store    Store
	Replica  string // this process, unique among the replicas
	Logger   *zap.Logger
	Observer Observer

	Callback *Callback
	Notify   []string // chat, mail and pagers; severity=… in one's parameters is the least that is sent there
	PingURL  string   // of a dead man's switch
	Runbook  string
	Zone     *time.Location
	Livemode bool
	Version  string

	Poll time.Duration // between two looks for new events; 0: 1 s
	// Transport replaces the network, but for mail. May be nil.
	Transport http.RoundTripper
}

// Alerts takes events and alerts to where they are wanted.
type Alerts struct {
	o     Options
	store Store
	log   *zap.Logger
	style Style
	sinks []*sink
	ping  *pinger
	redis *redisWatch

	mu   sync.Mutex
	seen map[string]state // by sink and partition: what was last told to the observer
}

// New checks where to.
func New(o Options) (*Alerts, error) {
	if o.Store == nil || o.Replica == "" {
		return nil, errors.New("alerts need a store and the replica's name")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	a := &Alerts{o: o, store: o.Store, log: o.Logger, style: Style{Zone: o.Zone, Runbook: o.Runbook, Livemode: o.Livemode}, seen: map[string]state{}}
	if o.Callback != nil {
		s, err := newCallback(&o)
		if err != nil {
			return nil, err
		}
		a.sinks = append(a.sinks, s)
	}
	for _, address := range o.Notify {
		s, err := newNotify(&o, address)
		if err != nil {
			return nil, err
		}
		if a.Has(s.name) {
			return nil, errors.New("notify_urls has the same address twice: give it once")
		}
		a.sinks = append(a.sinks, s)
	}
	a.redis = newRedisWatch(a)
	if o.PingURL != "" {
		p, err := newPinger(&o)
		if err != nil {
			return nil, err
		}
		a.ping = p
	}
	return a, nil
}

// lastWords is how long deliveries that are under way may take once holdd stops.
const lastWords = 3 * time.Second

// Run delivers until ctx ends. Each sink and partition has a goroutine of its own: none waits for another.
func (a *Alerts) Run(ctx context.Context) {
	// What is on its way when it ends is waited for a moment: cut off, nobody would know whether it was taken, and it would be sent twice.
	sends, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	stop := context.AfterFunc(ctx, func() {
		sleep(sends, lastWords)
		hangUp()
	})
	defer stop()
	var all sync.WaitGroup
	for _, s := range a.sinks {
		for p := range a.store.Partitions() {
			c := &courier{a: a, sink: s, partition: p, sends: sends, log: a.log.With(zap.String("sink", s.name))}
			all.Go(func() { c.run(ctx) })
		}
	}
	if a.ping != nil {
		all.Go(func() { a.ping.run(ctx) })
	}
	all.Go(func() { a.redis.run(ctx) })
	all.Wait()
}

// Reported takes in what the report job found. It never waits.
func (a *Alerts) Reported(checks []health.Check) {
	if a.ping != nil {
		a.ping.tell(checks)
	}
	a.redis.tell(checks)
}

// Statuses tells how each sink stands.
func (a *Alerts) Statuses(ctx context.Context) ([]event.SinkStatus, error) {
	var out []event.SinkStatus
	for _, s := range a.sinks {
		states, err := a.store.SinkStates(ctx, s.name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
		}
		t := event.SinkStatus{Sink: s.name}
		for _, raw := range states {
			var st state
			if json.Unmarshal(raw, &st) != nil {
				continue
			}
			t.Failing, t.Oldest = earlier(t.Failing, st.Failing), earlier(t.Oldest, st.Oldest)
			t.Disabled = t.Disabled || st.Gone == s.address
			t.Parked += st.Parked
			t.EventsLost += st.Lost
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

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// DeadLetters returns up to n events that a sink was not able to take for days, oldest first, and how many there are.
func (a *Alerts) DeadLetters(ctx context.Context, sink string, n int) ([]hold.DeadLetter, int64, error) {
	list, total, err := a.store.DeadLetters(ctx, sink, n)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
	}
	return list, total, nil
}

// Replay sends dead letters of a sink once more: those named, or all.
func (a *Alerts) Replay(ctx context.Context, sink string, ids []string) (int64, error) {
	n, err := a.store.RequeueDeadLetters(ctx, sink, ids)
	if err != nil {
		return n, fmt.Errorf("%w: %w", health.ErrUnavailable, err)
	}
	return n, nil
}

// Has says whether there is a sink of this name.
func (a *Alerts) Has(sink string) bool {
	for _, s := range a.sinks {
		if s.name == sink {
			return true
		}
	}
	return false
}

// Names are those of the sinks.
func (a *Alerts) Names() []string {
	names := make([]string, len(a.sinks))
	for i, s := range a.sinks {
		names[i] = s.name
	}
	return names
}

// now is this replica's clock. Deliveries are about minutes and days; nothing that is due to a hold depends on them.
func (a *Alerts) now() time.Time { return time.Now().UTC() }

// lease is how long a replica that died keeps others from going on.
func (a *Alerts) lease() time.Duration { return time.Minute + 4*a.o.Poll }

func (a *Alerts) standBy() time.Duration { return 10 * a.o.Poll }

func (a *Alerts) sent(s *sink, m *message, out outcome) {
	kind := "event"
	if m.alert != nil {
		kind = string(m.alert.Kind)
	}
	if a.o.Observer != nil {
		a.o.Observer.Sent(s.name, kind, verdictNames[out.verdict])
	}
	if out.verdict != taken {
		a.log.Debug("not taken", zap.String("sink", s.name), zap.String("id", m.id), zap.String("kind", kind), zap.String("reason", out.reason))
	}
}

// watch tells the observer how a sink stands.
func (a *Alerts) watch(s *sink, partition int, st state) {
	if a.o.Observer == nil {
		return
	}
	key := s.name + ":" + itoa(partition)
	a.mu.Lock()
	was, met := a.seen[key]
	a.seen[key] = st
	a.mu.Unlock()
	a.o.Observer.Waiting(s.name, partition, st.Oldest, st.Parked)
	if met && st.Cursor != "" && was.Cursor != "" {
		a.o.Observer.Dropped(s.name, max(0, st.Dead-was.Dead), max(0, st.Lost-was.Lost))
	}
}
