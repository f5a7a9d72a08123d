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

// adopter schedules intents by the terms in their metadata.
type adopter struct {
	store     WebhookStore
	committer Committer
	rejector  RequestRejector
	clock     *clock.Redis
	health    *health.Redis
}

// adoptFromMetadata makes a hold of an intent whose metadata has terms. It rejects invalid
// terms. An intent without terms, or one that holds no money any more, is left
// alone.
func (a *adopter) adoptFromMetadata(ctx context.Context, in *hold.Intent, account string) error {
	if in.Status != hold.StatusRequiresCapture {
		return nil
	}
	existing, now, err := readHold(ctx, a.store, a.health, in.ID)
	if err != nil {
		return err
	}
	a.clock.Sync(now)
	d, err := hold.Adopt(in, account, sourceStripe, now)
	var problem *hold.Problem
	switch {
	case errors.Is(err, hold.ErrNoTerms):
		return nil
	case existing != nil: // it was scheduled meanwhile
		return a.queueRefresh(ctx, in.ID, account)
	case errors.As(err, &problem):
		rejected := hold.RejectedRequest{Source: sourceStripe, ID: in.ID, Code: problem.Code,
			Field: problem.Field, Reason: problem.Detail, Text: holddMetadataJSON(in)}
		return a.rejector.Reject(ctx, rejected, account)
	case err != nil:
		return err
	}
	change := commit.Change{Before: &hold.Hold{}, Decision: d, At: now}
	written, err := commitChange(ctx, a.committer, a.health, &change)
	if err == nil && !written {
		return errHoldChanged
	}
	return err
}

func (a *adopter) queueRefresh(ctx context.Context, id, account string) error {
	if err := a.store.RequestRefresh(ctx, id, account, false); err != nil {
		return a.health.Unavailable(ctx, "queue a refresh", err)
	}
	return nil
}

// holddMetadataJSON are an intent's metadata pairs for holdd, as JSON.
func holddMetadataJSON(in *hold.Intent) string {
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
