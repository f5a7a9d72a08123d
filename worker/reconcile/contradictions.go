package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/hold"
)

// mayContradict reports whether a listed intent contradicts a settled hold. A
// list that was requested before the hold settled says nothing.
func mayContradict(h *hold.Hold, in *hold.PaymentIntent, requestedAt time.Time) bool {
	return in.ContradictsSettledHold(h) && lastChangeTime(h).Before(requestedAt.Add(-clockSlack))
}

// contradictionVerifier reads the intents of settled holds that a list
// contradicts.
type contradictionVerifier struct {
	run    *run
	reader *pacedRetriever
	writer *changeWriter
	clock  *clock.RedisClock
}

// verifyContradictions reads the intents of settled holds that a list
// contradicts. A hold that the read contradicts as well requires attention.
func (v *contradictionVerifier) verifyContradictions(ctx context.Context, holds []hold.Hold) error {
	for batch := range slices.Chunk(holds, maxConcurrentReads) {
		answers, err := v.reader.retrieveIntentBatch(ctx, batch)
		if err != nil {
			return err
		}
		var changes []proposedChange
		failed := int64(0)
		for i := range batch {
			a := &answers[i]
			switch {
			case a.Kind == hold.AnswerUnauthorized:
				return errKeyRejected
			case a.Kind != hold.AnswerOK || a.Intent == nil: // the next run reads it again
				failed++
			case a.Intent.ContradictsSettledHold(&batch[i]):
				ch := proposeReopeningSettledHold(&batch[i], a.Intent, v.clock.Now())
				changes = append(changes, ch)
			}
		}
		v.run.updateCheckpoint(func(s *runCheckpoint) {
			s.Retrieved += int64(len(batch)) - failed
			s.RetrieveFailed += failed
		})
		if err := v.writer.commitChangesAndSendReleases(ctx, changes); err != nil {
			return err
		}
	}
	return nil
}

// proposeReopeningSettledHold makes a settled hold require attention because Stripe
// shows another state.
func proposeReopeningSettledHold(
	h *hold.Hold, in *hold.PaymentIntent, now time.Time,
) proposedChange {
	d := h.ReopenContradictedHold(in, now)
	return proposedChange{before: *h, decision: d, finding: Finding{
		Kind: FoundContradiction, PaymentIntent: h.PaymentIntent, Account: h.Account,
		Reference: h.Reference, Amount: d.Hold.Amount, Currency: d.Hold.Currency,
		Detail: describeAttention(&d.Hold),
	}}
}
