package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options say which Redis to use and how. Only URL is required.
type Options struct {
	// URL is redis://, rediss://, unix://,
	// redis+sentinel://host,…?master_name=… or redis+cluster://host,… (rediss+…
	// with TLS).
	URL string
	// Partitions spreads the holds over a Cluster. Redis records it at the
	// first start; only [Repartition] changes it. 0 means 1.
	Partitions int
	// Livemode says that the holds are of Stripe's live mode. Redis records it
	// at the first start.
	Livemode bool
	// AllowUnsafe turns the error about a Redis that may evict or forget holds
	// into a warning.
	AllowUnsafe bool
	// Rates are shared by all replicas.
	Rates Rates
	// MaxEvents is the length to which a partition's stream of events is
	// trimmed. 0 means 50,000.
	MaxEvents int
	// PoolSize bounds the connections to each Redis server. 0 means 16.
	PoolSize int
	// Dialer replaces the network, for a Redis in the same process.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
}

const defaultMaxEvents = 50_000

// Store keeps everything that holdd keeps, in one Redis. Each part is one
// concern, and can be passed on by itself.
type Store struct {
	*Holds
	*Queue
	*Budget
	*Inbox
	*Webhooks
	*Outbox
	*Locks
	*Replicas
	*ReconcileRuns
	*AuthorizationAttempts

	conn               *conn
	recordedProperties map[string]string // key -> what Redis records about itself
}

func newStore(c *conn, rates Rates) *Store {
	return &Store{
		Holds: &Holds{c}, Queue: &Queue{c}, Budget: &Budget{c, rates},
		Inbox: &Inbox{c}, Webhooks: &Webhooks{c},
		Outbox: &Outbox{c}, Locks: &Locks{c}, Replicas: &Replicas{c},
		ReconcileRuns:         &ReconcileRuns{c},
		AuthorizationAttempts: &AuthorizationAttempts{c},
		conn:                  c, recordedProperties: map[string]string{},
	}
}

// Open connects to Redis. It refuses a Redis that can lose holds, or that has
// another number of partitions or another mode. The warnings are for the log.
func Open(ctx context.Context, o Options) (s *Store, warnings []string, err error) {
	client, err := newClient(o)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, client.Close())
			s = nil
		}
	}()
	if o.Partitions == 0 {
		o.Partitions = 1
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = defaultMaxEvents
	}
	c := &conn{client: client, maxEvents: o.MaxEvents}
	for p := range o.Partitions {
		c.partitions = append(c.partitions, newPartitionKeys(p))
	}
	s = newStore(c, o.Rates)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, nil, unreachableError(o.URL, err)
	}
	faults, warnings := c.inspectServers(ctx)
	if len(faults) > 0 && !o.AllowUnsafe {
		return nil, nil,
			fmt.Errorf("this Redis can lose holds: %s (or set allow_unsafe_redis to accept that)",
				strings.Join(faults, "; "))
	}
	for _, f := range faults {
		warnings = append(warnings, "unsafe Redis allowed: "+f)
	}
	mode := "test"
	if o.Livemode {
		mode = "live"
	}
	for _, property := range []struct{ key, value, mismatch string }{
		{keyPartitions, strconv.Itoa(o.Partitions), partitionsMismatch},
		{keyMode, mode, modeMismatch},
	} {
		if err := s.recordProperty(ctx, property.key, property.value,
			property.mismatch); err != nil {
			return nil, nil, err
		}
	}
	return s, warnings, nil
}

// What Redis records, then what the settings say.
const (
	partitionsMismatch = "this Redis is divided into %s partitions, the setting says %s: " +
		"set partitions to the recorded number, or run holdd repartition"
	modeMismatch = "this Redis keeps holds of %s mode, the Stripe key is for %s mode: " +
		"set redis_url to another Redis, or stripe_api_key to a key of that mode"
)

// recordProperty records a property of this Redis at the first start, and
// refuses another value later.
func (s *Store) recordProperty(ctx context.Context, key, value, mismatch string) error {
	s.recordedProperties[key] = value
	if err := s.conn.client.SetNX(ctx, key, value, 0).Err(); err != nil {
		return fmt.Errorf("cannot write to Redis: %w", err)
	}
	recorded, err := s.conn.client.Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("cannot read from Redis: %w", err)
	}
	from, to, repartitioning := strings.Cut(recorded, repartitionSeparator)
	if repartitioning && key == keyPartitions {
		return settingErrorf("a change from %s to %s partitions is not finished: "+
			"run holdd repartition --to %s, then set partitions to %s", from, to, to, to)
	}
	if recorded != value {
		return settingErrorf(mismatch, recorded, value)
	}
	return nil
}

// DetectDataLoss reports whether Redis has lost its data since [Open], and
// records its properties again. Of several replicas that call it, one is told.
func (s *Store) DetectDataLoss(ctx context.Context) (lost bool, err error) {
	for _, key := range slices.Sorted(maps.Keys(s.recordedProperties)) {
		wrote, err := s.conn.client.SetNX(ctx, key, s.recordedProperties[key], 0).Result()
		if err != nil {
			return lost, err
		}
		if key == keyPartitions { // one key decides, or two replicas could each be told
			lost = wrote
		}
	}
	return lost, nil
}

// Ping reports whether Redis answers and takes writes. A Redis that is full,
// read-only or cannot reach its disk is of no use.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.conn.client.Set(ctx, keyPing, 1, time.Minute).Err(); err != nil {
		return fmt.Errorf("cannot write to Redis: %w", err)
	}
	return nil
}

// Close closes the connections.
func (s *Store) Close() error { return s.conn.client.Close() }

// ErrInvalidSetting is wrapped by errors that only a change of the settings can fix.
// Its text is empty, because the wrapping error says everything.
var ErrInvalidSetting = errors.New("")

func settingErrorf(format string, args ...any) error {
	return settingError{fmt.Errorf(format, args...)}
}

type settingError struct{ error }

func (e settingError) Unwrap() []error { return []error{e.error, ErrInvalidSetting} }
