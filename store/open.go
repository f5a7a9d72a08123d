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
	"sync"
	"time"
)

// Options configure a [Store]. Only URL is required.
type Options struct {
	// URL has the scheme redis, rediss or unix, or the form
	// redis+sentinel://host,…?master_name=… or redis+cluster://host,… With TLS,
	// the last two begin with rediss.
	URL string
	// Partitions is the number of partitions, which a Cluster spreads over its
	// masters. [Open] records it in Redis at the first start, and only
	// [Repartition] changes it. 0 means 1.
	Partitions int
	// Livemode says that the holds are of Stripe's live mode. [Open] records it
	// in Redis at the first start.
	Livemode bool
	// AllowUnsafe turns the error about a Redis that can lose holds into a
	// warning.
	AllowUnsafe bool
	// Rates limit the requests of all replicas together.
	Rates RateLimitOptions
	// MaxEventBytes is the size to which a partition's stream of events is
	// trimmed. 0 means 32 MiB.
	MaxEventBytes int
	// AuditEntries is about how many entries the audit stream keeps. 0 writes
	// none.
	AuditEntries int
	// PoolSize is the maximum number of connections to each Redis server. 0
	// means 16.
	PoolSize int
	// Dialer replaces the network dialer, for a Redis in the same process.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
}

const defaultMaxEventBytes = 32 << 20

// Store keeps all state of holdd in one Redis. Each embedded part can be used
// by itself.
type Store struct {
	*Holds
	*Queue
	*Budget
	*RequestInbox
	*RefreshQueue
	*Outbox
	*Locks
	*Replicas
	*ReconcileRuns
	*AuthorizationAttempts
	*KeyedRequests
	*Changes
	*Erasure
	*AuditLog

	conn               *redisConn
	allowUnsafe        bool
	mu                 sync.Mutex        // guards recordedProperties
	recordedProperties map[string]string // key -> value, see recordOrCheckProperty
}

func newStoreFromConn(c *redisConn, rates RateLimitOptions) *Store {
	return &Store{
		Holds:                 &Holds{c},
		Queue:                 &Queue{c},
		Budget:                &Budget{c, rates},
		RequestInbox:          &RequestInbox{c},
		RefreshQueue:          &RefreshQueue{c},
		Outbox:                &Outbox{c},
		Locks:                 &Locks{c},
		Replicas:              &Replicas{c},
		ReconcileRuns:         &ReconcileRuns{c},
		AuthorizationAttempts: &AuthorizationAttempts{c},
		KeyedRequests:         &KeyedRequests{c},
		Changes:               &Changes{c},
		Erasure:               &Erasure{c},
		AuditLog:              &AuditLog{conn: c},
		conn:                  c,
		recordedProperties:    map[string]string{},
	}
}

// Open connects to Redis. It fails if Redis can lose holds, or has another
// number of partitions or another mode than o. The warnings are for the log.
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
	if o.MaxEventBytes == 0 {
		o.MaxEventBytes = defaultMaxEventBytes
	}
	c := &redisConn{client: client, maxEventBytes: o.MaxEventBytes}
	for p := range o.Partitions {
		c.partitions = append(c.partitions, newPartitionKeys(p))
	}
	s = newStoreFromConn(c, o.Rates)
	s.allowUnsafe, s.keep = o.AllowUnsafe, o.AuditEntries
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, nil, unreachableError(o.URL, err)
	}
	faults, warnings := c.listServerFaultsAndWarnings(ctx)
	if len(faults) > 0 && !o.AllowUnsafe {
		return nil, nil, fmt.Errorf(
			"this Redis can lose holds: %s (or set allow_unsafe_redis to accept that)",
			strings.Join(faults, "; "))
	}
	for _, f := range faults {
		warnings = append(warnings, "unsafe Redis allowed: "+f)
	}
	partitions, mode := strconv.Itoa(o.Partitions), "test"
	if o.Livemode {
		mode = "live"
	}
	if err := s.recordOrCheckProperty(ctx, keyPartitions, partitions,
		partitionsMismatch); err != nil {
		return nil, nil, err
	}
	if err := s.recordOrCheckProperty(ctx, keyMode, mode, modeMismatch); err != nil {
		return nil, nil, err
	}
	return s, warnings, nil
}

// Formats of mismatch errors, for the recorded value and the setting.
const (
	partitionsMismatch = "this Redis is divided into %s partitions, the setting says %s: " +
		"set partitions to the recorded number, or run holdd repartition"
	modeMismatch = "this Redis keeps holds of %s mode, the Stripe key is for %s mode: " +
		"set redis_url to another Redis, or stripe_api_key to a key of that mode"
	accountMismatch = "this Redis keeps holds of the Stripe account %s, " +
		"the Stripe key is of the account %s: " +
		"set redis_url to another Redis, or stripe_api_key to a key of that account"
)

// RecordOrCheckAccount records the id of the Stripe account at the first start.
// Later it fails for another account.
func (s *Store) RecordOrCheckAccount(ctx context.Context, id string) error {
	return s.recordOrCheckProperty(ctx, keyAccount, id, accountMismatch)
}

// recordOrCheckProperty records a property of this Redis at the first start. At
// a later start it fails if Redis has another value.
func (s *Store) recordOrCheckProperty(ctx context.Context, key, value, mismatch string) error {
	if _, err := s.conn.setNXEvenIfFull(ctx, key, value, 0); err != nil {
		return fmt.Errorf("cannot write to Redis: %w", err)
	}
	recorded, err := s.conn.client.Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("cannot read from Redis: %w", err)
	}
	from, to, repartitioning := strings.Cut(recorded, repartitionSeparator)
	if repartitioning && key == keyPartitions {
		return invalidSettingErrorf("a change from %s to %s partitions is not finished: "+
			"run holdd repartition --to %s, then set partitions to %s", from, to, to, to)
	}
	if recorded != value {
		return invalidSettingErrorf(mismatch, recorded, value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordedProperties[key] = value
	return nil
}

// DetectDataLossAndRestoreProperties reports whether Redis has lost its data since [Open], and
// records the properties of this Redis again. If several replicas call it, it
// reports the loss to one of them.
func (s *Store) DetectDataLossAndRestoreProperties(ctx context.Context) (lost bool, err error) {
	s.mu.Lock()
	properties := maps.Clone(s.recordedProperties)
	s.mu.Unlock()
	// A single key tells the loss, or two replicas could each get true. It is
	// written last: a call that fails before it finds the loss again.
	partitions := properties[keyPartitions]
	n, err := s.conn.client.Exists(ctx, keyPartitions).Result()
	if err != nil || n == 1 {
		return false, err
	}
	delete(properties, keyPartitions)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if _, err := s.conn.setNXEvenIfFull(ctx, key, properties[key], 0); err != nil {
			return false, err
		}
	}
	return s.conn.setNXEvenIfFull(ctx, keyPartitions, partitions, 0)
}

// CheckWritable returns an error if Redis does not accept writes, as when it is
// down, full, read-only or cannot write to its disk.
func (s *Store) CheckWritable(ctx context.Context) error {
	if err := s.conn.client.Set(ctx, keyPing, 1, time.Minute).Err(); err != nil {
		return fmt.Errorf("cannot write to Redis: %w", err)
	}
	return nil
}

// Close closes the connections.
func (s *Store) Close() error { return s.conn.client.Close() }

// ErrInvalidSetting is in the chain of each error that only a change of the
// settings can fix. It has no text of its own.
var ErrInvalidSetting = errors.New("")

// IsInvalidSetting reports whether only a change of the settings can fix err.
func IsInvalidSetting(err error) bool { return errors.Is(err, ErrInvalidSetting) }

func invalidSettingErrorf(format string, args ...any) error {
	return invalidSettingError{fmt.Errorf(format, args...)}
}

type invalidSettingError struct{ error }

func (e invalidSettingError) Unwrap() []error { return []error{e.error, ErrInvalidSetting} }
