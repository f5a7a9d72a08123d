package event

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Store publishes an event unless one about the same was published before, over
// all replicas.
type Store interface {
	PublishOnce(ctx context.Context, about string, event []byte) (first bool, err error)
}

// Publisher publishes system events.
type Publisher struct {
	store Store
	now   func() time.Time
}

// NewPublisher returns a publisher that dates events by now.
func NewPublisher(store Store, now func() time.Time) *Publisher {
	return &Publisher{store: store, now: now}
}

// PublishOnce publishes a system event about something, such as a
// PaymentIntent. A repetition, by whichever replica, changes nothing; first is
// false for it.
func (p *Publisher) PublishOnce(
	ctx context.Context, t hold.EventType, about string, data Data,
) (first bool, err error) {
	return p.store.PublishOnce(ctx, string(t)+":"+about, EncodeSystem(t, p.now(), data))
}
