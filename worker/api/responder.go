package api

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// responseBuilder builds the responses that handlers share.
type responseBuilder struct {
	livemode bool // shown with each hold
	rules    hold.DecisionRules
	log      *zap.Logger
}

// logAndConvertError converts an error to a problem for the caller, and logs
// what the caller must not see.
func (r responseBuilder) logAndConvertError(ctx context.Context, err error) *Problem {
	p, callerError := problemFromError(err)
	switch {
	case callerError:
	case errors.Is(ctx.Err(), context.Canceled): // the caller disconnected, or holdd stops
	case p.Code == Unavailable:
		r.log.Warn("request not served: unavailable",
			append(requestInfoFromContext(ctx).logFields(), zap.Error(err))...)
	default:
		r.log.Error("request failed: internal error",
			append(requestInfoFromContext(ctx).logFields(), zap.Error(err))...)
	}
	return p
}

func (r responseBuilder) newHoldView(h *hold.Hold, now time.Time, history bool) hold.View {
	v := hold.NewView(h, now, history)
	v.Livemode, v.Warnings = r.livemode, hold.TermsWarnings(h, now, r.rules)
	return v
}

func (r responseBuilder) newHoldResponse(
	h *hold.Hold, now time.Time, status int, history bool,
) *holdOutput {
	return &holdOutput{Status: status, ETag: formatETag(h.Revision),
		Body: r.newHoldView(h, now, history)}
}

func nilIfZeroTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
