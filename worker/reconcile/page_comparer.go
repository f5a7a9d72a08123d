package reconcile

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// pageComparer compares pages of Stripe's lists with the schedule.
type pageComparer struct {
	run            *run
	schedule       *scheduleReader
	listed         *listedIntentIDs
	proposer       *changeProposer
	writer         *changeWriter
	contradictions *contradictionVerifier
}

// comparePage compares one page of a list with the schedule. A hold that
// changed after requestedAt may be newer than the list.
func (p *pageComparer) comparePage(
	ctx context.Context, account string, page []hold.PaymentIntent, requestedAt time.Time,
) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]string, len(page))
	for i := range page {
		ids[i] = hold.OwnerOfIntent(&page[i]) // a renewal's intent names its hold
	}
	holds, unreadable, err := p.schedule.readHoldsByID(ctx, ids)
	if err != nil {
		return err
	}
	var changes []proposedChange
	var contradicted []hold.Hold
	listed, compared := int64(0), int64(0)
	for i := range page {
		in, h := &page[i], holds[i]
		if in.Created.Before(p.run.state.CreatedSince) || unreadable[i] {
			continue
		}
		listed++
		if h != nil {
			compared++
			p.listed.add(in.ID)
			if mayContradict(h, in, requestedAt) {
				contradicted = append(contradicted, *h)
			}
		}
		if ch, ok := p.proposer.proposeForListedIntent(ctx, account, h, in, requestedAt); ok {
			changes = append(changes, ch)
		}
	}
	p.run.updateCheckpoint(func(s *runCheckpoint) {
		s.Listed += listed
		s.Compared += compared
	})
	if err := p.writer.commitChangesAndSendReleases(ctx, changes); err != nil {
		return err
	}
	return p.contradictions.verifyContradictions(ctx, contradicted)
}
