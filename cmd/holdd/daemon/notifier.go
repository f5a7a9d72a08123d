package daemon

import (
	"context"
	"sync/atomic"

	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// currentNotifier is the notifier of the current settings. A sink that both the
// earlier and the new settings have continues where it was, because its progress
// is in Redis.
type currentNotifier struct {
	atomic.Pointer[alert.Notifier]
	replaced chan struct{}
}

func newCurrentNotifier(n *alert.Notifier) *currentNotifier {
	c := &currentNotifier{replaced: make(chan struct{}, 1)}
	c.Store(n)
	return c
}

// replace makes n the notifier. [currentNotifier.Run] ends the earlier one.
func (c *currentNotifier) replace(n *alert.Notifier) {
	c.Store(n)
	select {
	case c.replaced <- struct{}{}:
	default: // Run has not seen the one before yet
	}
}

// Run runs the current notifier until ctx ends.
func (c *currentNotifier) Run(ctx context.Context) {
	for ctx.Err() == nil {
		c.runOne(ctx)
	}
}

// runOne runs one notifier until ctx ends or it is replaced.
func (c *currentNotifier) runOne(ctx context.Context) {
	runCtx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func(n *alert.Notifier) {
		defer close(done)
		n.Run(runCtx)
	}(c.Load())
	select {
	case <-ctx.Done():
	case <-c.replaced:
	}
	cancel()
	<-done
}

// ReadinessChecked passes the checks on.
func (c *currentNotifier) ReadinessChecked(checks []health.ReadinessCheckResult) {
	c.Load().ReadinessChecked(checks)
}

// ListSinkStatuses implements api.DeliveryService.
func (c *currentNotifier) ListSinkStatuses(ctx context.Context) ([]event.SinkStatus, error) {
	return c.Load().ListSinkStatuses(ctx)
}

// ListDeadLetters implements api.DeliveryService.
func (c *currentNotifier) ListDeadLetters(
	ctx context.Context, sink string, n int,
) ([]hold.DeadLetter, int64, error) {
	return c.Load().ListDeadLetters(ctx, sink, n)
}

// RequeueDeadLetters implements api.DeliveryService.
func (c *currentNotifier) RequeueDeadLetters(
	ctx context.Context, sink string, ids []string,
) (int64, error) {
	return c.Load().RequeueDeadLetters(ctx, sink, ids)
}

// HasSink implements api.DeliveryService.
func (c *currentNotifier) HasSink(sink string) bool { return c.Load().HasSink(sink) }

// EarliestSinkCursor implements erase.Deliveries.
func (c *currentNotifier) EarliestSinkCursor(ctx context.Context, partition int) (string, error) {
	return c.Load().EarliestSinkCursor(ctx, partition)
}

// SinkNames implements erase.Deliveries.
func (c *currentNotifier) SinkNames() []string { return c.Load().SinkNames() }
