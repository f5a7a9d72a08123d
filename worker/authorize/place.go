package authorize

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// maxPlaceTries bounds how often createOrLoadHold tries because another writer
// was first.
const maxPlaceTries = 5

// readHoldOrNil returns a hold, or nil if it does not exist.
func readHoldOrNil(ctx context.Context, o *Options, id string) (*hold.Hold, error) {
	holds, now, err := o.Holds.ReadHolds(ctx, id)
	if err != nil {
		return nil, o.Health.ReportAndWrapUnavailable(ctx, "read a hold", err)
	}
	o.Clock.AdjustTo(now)
	return holds[0], nil
}

// createOrLoadHold creates the hold of an authorized intent by the terms in its
// metadata, or returns the existing one.
func createOrLoadHold(
	ctx context.Context, o *Options, in *hold.PaymentIntent, account, by string,
) (h *hold.Hold, created bool, err error) {
	valid := validRequestFromMetadataOrUntimed(o, in, account)
	for range maxPlaceTries {
		found, err := readHoldOrNil(ctx, o, in.ID)
		if err != nil || found != nil {
			return found, false, err
		}
		now := o.Clock.Now()
		d, err := hold.NewFromAuthorizedIntent(valid, in, by, now)
		if err != nil {
			return nil, false, err
		}
		// The attempt was written when there was room, and the money is held now.
		changes := []commit.Change{{Before: &hold.Hold{}, Decision: d, At: now,
			DespiteMaxmemory: true}}
		written, err := o.Committer.CommitWithRetry(ctx, changes)
		if err != nil {
			err = o.Health.ReportAndWrapUnavailable(ctx, "place a hold", err)
			if errors.Is(err, health.ErrMemoryLimit) { // the money is held: not nothing was done
				err = fmt.Errorf("%w (place a hold)", health.ErrUnavailable)
			}
			return nil, false, err
		}
		if written[0] {
			// The committer may have handed the hold over to the operator.
			placed := &changes[0].Decision.Hold
			placed.Version = 1
			return placed, true, nil
		}
	}
	return nil, false, fmt.Errorf("concurrent changes to hold %s: %w", in.ID, health.ErrUnavailable)
}

// validRequestFromMetadataOrUntimed returns the terms in an intent's metadata.
// If they are invalid, it returns terms without a time: the hold waits for the
// operator, and on_expiry releases the money.
func validRequestFromMetadataOrUntimed(
	o *Options, in *hold.PaymentIntent, account string,
) *hold.ValidRequest {
	req, paused, _, err := hold.RequestFromMetadata(in, account)
	if err == nil {
		var valid *hold.ValidRequest
		if valid, err = req.ValidateRecoveredTerms(paused, o.Clock.Now()); err == nil {
			return valid
		}
	}
	o.Logger.Error("invalid terms in the metadata of an authorized intent; its hold has no time: "+
		"set one with PATCH /v1/holds/"+in.ID,
		zap.String("payment_intent", in.ID), zap.String("account", account), zap.Error(err))
	return &hold.ValidRequest{ID: in.ID, Account: account, OnExpiry: hold.PolicyCancel}
}

// publishAuthorizationAbandoned publishes an abandoned authorization, once over all
// replicas.
func publishAuthorizationAbandoned(
	ctx context.Context, o *Options, in *hold.PaymentIntent, account string,
) error {
	data := event.EventData{Cause: string(in.Status),
		Intent: &event.IntentWithoutHold{PaymentIntent: in.ID,
			Account: account, Reference: in.Metadata[hold.MetaReference],
			Amount: in.Amount, Currency: in.Currency}}
	_, err := o.Publisher.PublishOnce(ctx, event.AuthorizationAbandoned, in.ID, data)
	if err != nil {
		o.Health.ReportError(ctx, "publish an abandoned authorization", err)
	}
	return err
}

// publishUnresolvedAttempt publishes that many runs of an attempt had no
// outcome, once for each number of runs.
func publishUnresolvedAttempt(
	ctx context.Context, o *Options, a *hold.AuthorizationAttempt,
) error {
	name, runs := event.AuthorizationUnresolved, int64(a.InconclusiveRuns)
	data := event.EventData{Detail: a.ID, Count: runs,
		Intent: &event.IntentWithoutHold{PaymentIntent: a.PaymentIntent, Account: a.Account}}
	first, err := o.Publisher.PublishOnce(ctx, name, a.ID+":"+strconv.FormatInt(runs, 10), data)
	if err != nil {
		o.Health.ReportError(ctx, "publish an unresolved authorization", err)
		return err
	}
	if first {
		o.Logger.Warn(string(name), zap.String("event", string(name)),
			zap.String("attempt", a.ID), zap.String("payment_intent", a.PaymentIntent),
			zap.String("account", a.Account), zap.Int64("runs", runs))
	}
	return nil
}

// logCanceledAbandonedIntent logs that holdd canceled an abandoned intent.
func logCanceledAbandonedIntent(o *Options, c *hold.CanceledAbandonedIntent, account string) {
	in := &c.Intent
	name := string(event.AuthorizationAbandoned)
	o.Logger.Warn(name, zap.String("event", name),
		zap.String("payment_intent", in.ID), zap.String("account", account),
		zap.String("reference", in.Metadata[hold.MetaReference]), zap.Int64("amount", in.Amount),
		zap.String("currency", in.Currency), zap.String("idempotency_key", c.IdempotencyKey),
		zap.String("request_id", c.RequestID), zap.Bool("declined", c.Declined),
		zap.String("cause", string(in.Status)))
}
