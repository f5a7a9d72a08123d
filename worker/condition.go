package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// EventPublisher is what the worker needs of the store to tell of what concerns no single hold.
type EventPublisher interface {
	PublishOnce(ctx context.Context, about string, event []byte) (first bool, err error)
	ReportConditions(ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.Condition) ([]hold.ConditionChange, error)
	DeadReplicas(ctx context.Context) ([]string, error)
	AcquireLock(ctx context.Context, what string, d time.Duration) (bool, error)
	PageLane(ctx context.Context, lane hold.Lane, after hold.Position, n int) ([]hold.ListedHold, error)
	DueHistogram(ctx context.Context, from time.Time, step time.Duration, n int) ([]int64, error)
	Partitions() int
}

// Types of events that are no hold's. They stand in the first partition's stream, each once over all replicas.
const (
	TypeInboxRejected          hold.EventType = "inbox.rejected"    // an entry of the inbox was not taken
	TypeMetadataRejected       hold.EventType = "metadata.rejected" // terms in an intent's metadata were not taken
	TypeOrphan                 hold.EventType = "reconcile.orphan"  // an intent holds money and nobody has scheduled it
	TypeAuthorizationAbandoned hold.EventType = "authorization.abandoned"
	TypeStripeUnavailable      hold.EventType = "stripe.away"
	TypeStripeRecovered        hold.EventType = "stripe.back"
	TypeKeyRejected            hold.EventType = "stripe.key_rejected"
	TypeKeyAccepted            hold.EventType = "stripe.key_accepted"
	TypeStripeRateLimited      hold.EventType = "stripe.limited" // Stripe refuses requests for their rate
	TypeStripeRateLimitCleared hold.EventType = "stripe.unlimited"
	TypeCapacityAtRisk         hold.EventType = "capacity.short" // holds will lapse before their turn
	TypeCapacityRecovered      hold.EventType = "capacity.enough"
	TypeReplicaStopped         hold.EventType = "replica.stopped" // without a word
	TypeRedisDataLost          hold.EventType = "redis.emptied"
	TypeSinkFailing            hold.EventType = "sink.down" // a way out takes nothing
	TypeSinkRecovered          hold.EventType = "sink.up"
	TypeSinkDisabled           hold.EventType = "sink.gone" // it asked not to be told any more
	TypeSinkEventsLost         hold.EventType = "sink.lost" // events were trimmed before it was back
	TypeSinkDeadLetters        hold.EventType = "sink.dead" // events were given up after days
)

// Rejection is a wish that was not taken and that nobody waits for.
type Rejection struct {
	Source  string `json:"source"` // inbox or stripe
	ID      string `json:"id"`     // of the entry or the PaymentIntent
	Account string `json:"account,omitempty"`
	Code    string `json:"code,omitempty"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
}

const (
	publishTimeout = 3 * time.Second
	// conditionClearAfter is how long a condition must be gone before people are told that it is over: one that flickers is one episode.
	conditionClearAfter = time.Minute
	// rateLimitedThreshold is how many refusals for the rate between two reports are worth telling of. A few are how limits are met.
	rateLimitedThreshold = 3
)

// EncodeSystemEvent makes an event that is no hold's.
func EncodeSystemEvent(t hold.EventType, now time.Time, d EventData) []byte {
	b, err := json.Marshal(EventEnvelope{ID: "evt_" + strings.ToLower(rand.Text()[:20]), Type: t, Timestamp: now, Data: d})
	if err != nil {
		panic(err) // strings, numbers and times
	}
	return b
}

// publishOnce tells of something once, whatever replica, run or repetition tells of it again.
func (w *Worker) publishOnce(ctx context.Context, t hold.EventType, about string, d EventData) error {
	_, err := w.store.PublishOnce(ctx, string(t)+":"+about, EncodeSystemEvent(t, w.redisNow(), d))
	return err
}

// conditionState are what the report job remembers from one turn to the next.
type conditionState struct {
	limited bool
}

// reportConditions says what this replica sees, and looks for replicas that have stopped.
func (w *Worker) reportConditions(ctx context.Context, alive []string) {
	refusals := w.rateLimitedCalls.Swap(0)
	w.conditionState.limited = refusals >= rateLimitedThreshold || w.conditionState.limited && refusals > 0
	now := w.redisNow()
	fact := func(t hold.EventType) []byte { return EncodeSystemEvent(t, now, EventData{Replica: w.o.Replica}) }
	list := []hold.Condition{
		{Name: "stripe_away", Active: w.breaker.State() != gobreaker.StateClosed, RaisedEvent: fact(TypeStripeUnavailable), ClearedEvent: fact(TypeStripeRecovered)},
		{Name: "key_rejected", Active: w.keyRejected.Load(), RaisedEvent: fact(TypeKeyRejected), ClearedEvent: fact(TypeKeyAccepted)},
		{Name: "limited", Active: w.conditionState.limited, RaisedEvent: fact(TypeStripeRateLimited), ClearedEvent: fact(TypeStripeRateLimitCleared)},
	}
	c, looked, err := w.capacity(ctx)
	if err != nil {
		w.reportStoreError(ctx, "look whether everything can be served in time", err)
	} else if looked {
		list = append(list, hold.Condition{
			Name: "capacity", Active: c.Holds > 0, Severity: c.level(),
			RaisedEvent:  EncodeSystemEvent(TypeCapacityAtRisk, now, EventData{Replica: w.o.Replica, Capacity: &c}),
			ClearedEvent: fact(TypeCapacityRecovered),
		})
		if w.o.Observer != nil {
			w.o.Observer.CapacityChecked(c)
		}
	}
	changes, err := w.store.ReportConditions(ctx, w.o.Replica, 2*w.heartbeatTTL(), conditionClearAfter, list)
	if err != nil {
		w.reportStoreError(ctx, "tell what this replica sees", err)
		return
	}
	for i, n := range changes {
		switch {
		case n == hold.ConditionEnded:
			w.log.Info("this is over", zap.String("event", "condition.over"), zap.String("condition", list[i].Name))
		case n != 0 && list[i].Name == "capacity":
			w.log.Error("holds will lapse before their turn at Stripe: more is due than its limits let through", zap.String("event", string(TypeCapacityAtRisk)),
				zap.Int("holds", c.Holds), zap.Any("sums", c.Sums), zap.Time("first_at", c.First), zap.Bool("at_least", c.AtLeast))
		case n != 0 && list[i].Name == "limited":
			w.log.Warn("Stripe refuses requests for their rate: somebody else uses the same limits, or rate is set too high", zap.String("event", string(TypeStripeRateLimited)))
		}
	}
	w.reportDeadReplicas(ctx, alive)
}

// reportDeadReplicas tells of replicas whose heartbeat ended without a word.
func (w *Worker) reportDeadReplicas(ctx context.Context, alive []string) {
	lapsed, err := w.store.DeadReplicas(ctx)
	if err != nil {
		w.reportStoreError(ctx, "look for replicas that have stopped", err)
		return
	}
	for _, name := range lapsed {
		d := EventData{Replica: name, Alive: alive[:min(len(alive), 10)]}
		first, err := w.store.PublishOnce(ctx, string(TypeReplicaStopped)+":"+name, EncodeSystemEvent(TypeReplicaStopped, w.redisNow(), d))
		if err == nil {
			err = w.store.Deregister(ctx, name) // told: nobody needs to look at it again
		}
		if err != nil {
			w.reportStoreError(ctx, "tell of a replica that has stopped", err)
			return
		}
		if first {
			w.log.Error("a replica stopped without a word; the others have taken over its work", zap.String("event", string(TypeReplicaStopped)),
				zap.String("stopped", name), zap.Int("alive", len(alive)))
		}
	}
}
