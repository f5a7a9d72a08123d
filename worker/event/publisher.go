package event

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Store publishes an event unless an event with the same subject was published
// before, by any replica. store.Outbox implements it.
type Store interface {
	PublishOnce(ctx context.Context, subject string, event []byte) (first bool, err error)
}

// SystemEventPublisher publishes system events.
type SystemEventPublisher struct {
	store Store
	now   func() time.Time
}

// NewSystemEventPublisher returns a publisher that dates events by now.
func NewSystemEventPublisher(store Store, now func() time.Time) *SystemEventPublisher {
	return &SystemEventPublisher{store: store, now: now}
}

// PublishOnce publishes a system event about a subject, such as a
// PaymentIntent. first is false if a replica published it before.
func (p *SystemEventPublisher) PublishOnce(
	ctx context.Context, t hold.EventType, subject string, data EventData,
) (first bool, err error) {
	return p.store.PublishOnce(ctx, string(t)+":"+subject, EncodeSystemEvent(t, p.now(), data))
}
