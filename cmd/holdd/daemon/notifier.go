package daemon

import (
	"context"
	"sync/atomic"

	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// swappableNotifier is the notifier of the current settings. A sink that both the
// earlier and the new settings have continues where it was, because its progress
// is in Redis.
type swappableNotifier struct {
	atomic.Pointer[alert.Notifier]
	replaced chan struct{}
}

func newSwappableNotifier(n *alert.Notifier) *swappableNotifier {
	c := &swappableNotifier{replaced: make(chan struct{}, 1)}
	c.Store(n)
	return c
}

// swapNotifier makes n the notifier. [swappableNotifier.Run] ends the earlier
// one.
func (c *swappableNotifier) swapNotifier(n *alert.Notifier) {
	c.Store(n)
	select {
	case c.replaced <- struct{}{}:
	default: // Run has not seen the one before yet
	}
}

// Run runs the current notifier until ctx ends.
func (c *swappableNotifier) Run(ctx context.Context) {
	for ctx.Err() == nil {
		c.runUntilSwapped(ctx)
	}
}

// runUntilSwapped runs one notifier until ctx ends or it is replaced.
func (c *swappableNotifier) runUntilSwapped(ctx context.Context) {
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
func (c *swappableNotifier) ReadinessChecked(checks []health.ReadinessCheckResult) {
	c.Load().ReadinessChecked(checks)
}

// ListSinkStatuses implements api.DeliveryService.
func (c *swappableNotifier) ListSinkStatuses(ctx context.Context) ([]event.SinkStatus, error) {
	return c.Load().ListSinkStatuses(ctx)
}

// ListDeadLetters implements api.DeliveryService.
func (c *swappableNotifier) ListDeadLetters(
	ctx context.Context, sink string, n int,
) ([]hold.DeadLetter, int64, error) {
	return c.Load().ListDeadLetters(ctx, sink, n)
}

// RequeueDeadLetters implements api.DeliveryService.
func (c *swappableNotifier) RequeueDeadLetters(
	ctx context.Context, sink string, ids []string,
) (int64, error) {
	return c.Load().RequeueDeadLetters(ctx, sink, ids)
}

// HasSink implements api.DeliveryService.
func (c *swappableNotifier) HasSink(sink string) bool { return c.Load().HasSink(sink) }

// EarliestSinkCursor implements erase.Deliveries.
func (c *swappableNotifier) EarliestSinkCursor(ctx context.Context, partition int) (string, error) {
	return c.Load().EarliestSinkCursor(ctx, partition)
}

// SinkNames implements erase.Deliveries.
func (c *swappableNotifier) SinkNames() []string { return c.Load().SinkNames() }
