package daemon

import (
	"context"

	"github.com/holdd/holdd/worker/tracing"
)

// openTracer returns the tracer that the variables of OpenTelemetry ask for, nil
// without any. A platform sets these variables for all its services, so one that
// holdd cannot use does not keep it from starting.
func openTracer(ctx context.Context, o *Options, replica, stripeURL string) *tracing.Tracer {
	t, err := tracing.New(ctx, tracing.Options{Version: o.Version, Replica: replica,
		StripeURL: stripeURL, Logger: o.Logger})
	if err != nil {
		o.Logger.Warn("traces are off: " + err.Error())
	}
	return t
}
