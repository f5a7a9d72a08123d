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

// Teller is what the worker needs of the store to tell of what concerns no single hold.
type Teller interface {
	Publish(ctx context.Context, about string, event []byte) (first bool, err error)
	Conditions(ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.Condition) ([]hold.News, error)
	Lapsed(ctx context.Context) ([]string, error)
	Turn(ctx context.Context, what string, d time.Duration) (bool, error)
	PageLane(ctx context.Context, lane hold.Lane, after hold.Mark, n int) ([]hold.Listed, error)
	Falling(ctx context.Context, from time.Time, step time.Duration, n int) ([]int64, error)
	Partitions() int
}

// Types of events that are no hold's. They stand in the first partition's stream, each once over all replicas.
const (
	TypeInboxRejected          hold.NoticeType = "inbox.rejected"    // an entry of the inbox was not taken
	TypeMetadataRejected       hold.NoticeType = "metadata.rejected" // terms in an intent's metadata were not taken
	TypeOrphan                 hold.NoticeType = "reconcile.orphan"  // an intent holds money and nobody has scheduled it
	TypeAuthorizationAbandoned hold.NoticeType = "authorization.abandoned"
	TypeStripeAway             hold.NoticeType = "stripe.away"
	TypeStripeBack             hold.NoticeType = "stripe.back"
	TypeKeyRejected            hold.NoticeType = "stripe.key_rejected"
	TypeKeyAccepted            hold.NoticeType = "stripe.key_accepted"
	TypeLimited                hold.NoticeType = "stripe.limited" // Stripe refuses requests for their rate
	TypeUnlimited              hold.NoticeType = "stripe.unlimited"
	TypeCapacityShort          hold.NoticeType = "capacity.short" // holds will lapse before their turn
	TypeCapacityEnough         hold.NoticeType = "capacity.enough"
	TypeReplicaStopped         hold.NoticeType = "replica.stopped" // without a word
	TypeRedisEmptied           hold.NoticeType = "redis.emptied"
	TypeSinkDown               hold.NoticeType = "sink.down" // a way out takes nothing
	TypeSinkUp                 hold.NoticeType = "sink.up"
	TypeSinkGone               hold.NoticeType = "sink.gone" // it asked not to be told any more
	TypeSinkLost               hold.NoticeType = "sink.lost" // events were trimmed before it was back
	TypeSinkDead               hold.NoticeType = "sink.dead" // events were given up after days
)

// Reject is a wish that was not taken and that nobody waits for.
type Reject struct {
	Source  string `json:"source"` // inbox or stripe
	ID      string `json:"id"`     // of the entry or the PaymentIntent
	Account string `json:"account,omitempty"`
	Code    string `json:"code,omitempty"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
}

const (
	tellTime = 3 * time.Second
	// conditionQuiet is how long a condition must be gone before people are told that it is over: one that flickers is one episode.
	conditionQuiet = time.Minute
	// limitedFrom is how many refusals for the rate between two reports are worth telling of. A few are how limits are met.
	limitedFrom = 3
)

// NewFact makes an event that is no hold's.
func NewFact(t hold.NoticeType, now time.Time, d EventData) []byte {
	b, err := json.Marshal(Event{ID: "evt_" + strings.ToLower(rand.Text()[:20]), Type: t, Timestamp: now, Data: d})
	if err != nil {
		panic(err) // strings, numbers and times
	}
	return b
}

// publish tells of something once, whatever replica, run or repetition tells of it again.
func (w *Worker) publish(ctx context.Context, t hold.NoticeType, about string, d EventData) error {
	_, err := w.store.Publish(ctx, string(t)+":"+about, NewFact(t, w.now(), d))
	return err
}

// conditions are what the report job remembers from one turn to the next.
type conditions struct {
	limited bool
}

// tellConditions says what this replica sees, and looks for replicas that have stopped.
func (w *Worker) tellConditions(ctx context.Context, alive []string) {
	refusals := w.limited.Swap(0)
	w.seeing.limited = refusals >= limitedFrom || w.seeing.limited && refusals > 0
	now := w.now()
	fact := func(t hold.NoticeType) []byte { return NewFact(t, now, EventData{Replica: w.o.Replica}) }
	list := []hold.Condition{
		{Name: "stripe_away", Active: w.breaker.State() != gobreaker.StateClosed, Raised: fact(TypeStripeAway), Cleared: fact(TypeStripeBack)},
		{Name: "key_rejected", Active: w.rejected.Load(), Raised: fact(TypeKeyRejected), Cleared: fact(TypeKeyAccepted)},
		{Name: "limited", Active: w.seeing.limited, Raised: fact(TypeLimited), Cleared: fact(TypeUnlimited)},
	}
	c, looked, err := w.capacity(ctx)
	if err != nil {
		w.storeFailed(ctx, "look whether everything can be served in time", err)
	} else if looked {
		list = append(list, hold.Condition{
			Name: "capacity", Active: c.Holds > 0, Level: c.level(),
			Raised:  NewFact(TypeCapacityShort, now, EventData{Replica: w.o.Replica, Capacity: &c}),
			Cleared: fact(TypeCapacityEnough),
		})
		if w.o.Observer != nil {
			w.o.Observer.AtRisk(c)
		}
	}
	news, err := w.store.Conditions(ctx, w.o.Replica, 2*w.beat(), conditionQuiet, list)
	if err != nil {
		w.storeFailed(ctx, "tell what this replica sees", err)
		return
	}
	for i, n := range news {
		switch {
		case n == hold.NewsEnds:
			w.log.Info("this is over", zap.String("event", "condition.over"), zap.String("condition", list[i].Name))
		case n != 0 && list[i].Name == "capacity":
			w.log.Error("holds will lapse before their turn at Stripe: more is due than its limits let through", zap.String("event", string(TypeCapacityShort)),
				zap.Int("holds", c.Holds), zap.Any("sums", c.Sums), zap.Time("first_at", c.First), zap.Bool("at_least", c.AtLeast))
		case n != 0 && list[i].Name == "limited":
			w.log.Warn("Stripe refuses requests for their rate: somebody else uses the same limits, or rate is set too high", zap.String("event", string(TypeLimited)))
		}
	}
	w.lookForStopped(ctx, alive)
}

// lookForStopped tells of replicas whose heartbeat ended without a word.
func (w *Worker) lookForStopped(ctx context.Context, alive []string) {
	lapsed, err := w.store.Lapsed(ctx)
	if err != nil {
		w.storeFailed(ctx, "look for replicas that have stopped", err)
		return
	}
	for _, name := range lapsed {
		d := EventData{Replica: name, Alive: alive[:min(len(alive), 10)]}
		first, err := w.store.Publish(ctx, string(TypeReplicaStopped)+":"+name, NewFact(TypeReplicaStopped, w.now(), d))
		if err == nil {
			err = w.store.Leave(ctx, name) // told: nobody needs to look at it again
		}
		if err != nil {
			w.storeFailed(ctx, "tell of a replica that has stopped", err)
			return
		}
		if first {
			w.log.Error("a replica stopped without a word; the others have taken over its work", zap.String("event", string(TypeReplicaStopped)),
				zap.String("stopped", name), zap.Int("alive", len(alive)))
		}
	}
}
