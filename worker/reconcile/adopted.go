package reconcile

import (
	"context"
	"errors"
	"slices"

	"github.com/holdd/holdd/worker/hold"
)

// dropAdoptedIntents removes the findings about intents without a hold that have one by now. An
// earlier intent of a hold stays: it holds money beside the hold.
func (r *Reconciler) dropAdoptedIntents(ctx context.Context, run *Reconciliation) error {
	var ids []string
	for i := range run.Findings {
		if f := &run.Findings[i]; f.isOfIntentWithoutHold() {
			ids = append(ids, f.PaymentIntent)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	holds, _, err := r.stores.Holds.ReadHolds(ctx, ids...)
	if err != nil && !errors.Is(err, hold.ErrUnreadableRecord) {
		return r.o.Health.ReportAndWrapUnavailable(ctx, "read the holds of findings", err)
	}
	adopted := map[string]bool{}
	for _, h := range holds {
		if h != nil && h.PaymentIntent == h.ID {
			adopted[h.ID] = true
		}
	}
	run.Findings = slices.DeleteFunc(run.Findings, func(f Finding) bool {
		if !f.isOfIntentWithoutHold() || !adopted[f.PaymentIntent] {
			return false
		}
		if run.Counts[f.Kind]--; run.Counts[f.Kind] == 0 {
			delete(run.Counts, f.Kind)
		}
		return true
	})
	return nil
}
