package intake

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// intentAdopter schedules intents with terms in their metadata.
// [IntentRefresher] uses it.
type intentAdopter struct {
	store     WebhookStore
	committer Committer
	rejector  RequestRejector
	clock     *clock.RedisClock
	health    *health.Reporter
}

// adoptFromMetadata creates the hold of an intent that has terms in its
// metadata. It rejects invalid terms. An intent without terms and one that no
// longer holds money are remembered until they are scheduled.
func (a *intentAdopter) adoptFromMetadata(
	ctx context.Context, in *hold.PaymentIntent, account string,
) error {
	if owner := hold.OwnerOfIntent(in); owner != in.ID {
		found, err := a.applyRenewalIntentToHold(ctx, in, owner)
		if err != nil || found {
			return err
		}
	}
	if in.Status != hold.StatusRequiresCapture {
		return queueIntentRefresh(ctx, a.store, a.health, in.ID, account, false)
	}
	existing, now, err := readHoldOrNil(ctx, a.store, a.health, in.ID)
	if err != nil {
		return err
	}
	a.clock.AdjustTo(now)
	d, err := hold.NewFromMetadata(in, account, sourceStripe, now)
	var problem *hold.Problem
	switch {
	case errors.Is(err, hold.ErrNoTerms), // a thin event does not show the metadata
		existing != nil: // another writer scheduled it meanwhile
		return queueIntentRefresh(ctx, a.store, a.health, in.ID, account, false)
	case errors.As(err, &problem):
		rejected := hold.RejectedRequest{Source: sourceStripe, ID: in.ID, Code: problem.Code,
			Field: problem.Field, Reason: problem.Detail, Text: marshalHolddMetadataOfIntent(in)}
		return a.rejector.Reject(ctx, rejected, account)
	case err != nil:
		return err
	}
	change := commit.Change{Before: &hold.Hold{}, Decision: d, At: now}
	written, err := commitChangeIfUnmodified(ctx, a.committer, a.health, &change)
	if err == nil && !written {
		return errHoldChanged
	}
	return err
}

// applyRenewalIntentToHold applies the intent of a renewal to the hold that it
// belongs to. found is false if there is no such hold: Redis has lost it.
func (a *intentAdopter) applyRenewalIntentToHold(
	ctx context.Context, in *hold.PaymentIntent, owner string,
) (found bool, err error) {
	h, now, err := readHoldOrNil(ctx, a.store, a.health, owner)
	if err != nil || h == nil {
		return false, err
	}
	d := h.ApplyPaymentIntent(in, now)
	if d.Unchanged {
		return true, nil
	}
	change := commit.Change{Before: h, Decision: d, At: now}
	written, err := commitChangeIfUnmodified(ctx, a.committer, a.health, &change)
	if err == nil && !written {
		err = errHoldChanged
	}
	return true, err
}

// marshalHolddMetadataOfIntent returns an intent's metadata pairs with the prefix
// holdd_, as JSON.
func marshalHolddMetadataOfIntent(in *hold.PaymentIntent) string {
	pairs := map[string]string{}
	for k, v := range in.Metadata {
		if strings.HasPrefix(k, "holdd_") {
			pairs[k] = v
		}
	}
	b, err := json.Marshal(pairs)
	if err != nil {
		panic(err) // a map of strings
	}
	return string(b)
}
