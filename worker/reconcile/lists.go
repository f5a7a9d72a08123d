package reconcile

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

const listPageSize = 100 // intents in a page of Stripe's list

// listComparer compares the lists of whole accounts.
type listComparer struct {
	run      *run
	reader   *pacedRetriever
	pages    *pageComparer
	ranges   *rangeComparer
	findings *findingRecorder
	log      *zap.Logger
}

// compareAccount compares the intents of one account page by page, newest
// first, from the run's position. It divides a long list into ranges.
func (l *listComparer) compareAccount(ctx context.Context, account string) error {
	for pages := 1; len(l.run.state.Ranges) == 0; pages++ {
		page, requestedAt, err := l.listIntentPage(ctx, account)
		if err != nil || page == nil {
			return err
		}
		if err := l.pages.comparePage(ctx, account, page.Intents, requestedAt); err != nil {
			return err
		}
		l.run.updateCheckpoint(func(s *runCheckpoint) { s.Pages++ })
		if !page.More || len(page.Intents) == 0 {
			return nil
		}
		last := &page.Intents[len(page.Intents)-1]
		if last.Created.Before(l.run.state.CreatedSince) {
			return nil
		}
		l.run.updateCheckpoint(func(s *runCheckpoint) {
			s.AfterIntent = last.ID
			s.updateProgressPercent(float64(s.StartedAt.Sub(last.Created)) / float64(listWindow))
			if pages%splitAfterPages == 0 {
				s.Ranges = splitListIntoRanges(last, pages, s.StartedAt, s.CreatedSince)
			}
		})
		if err := l.run.saveProgressAndRenewLock(ctx); err != nil {
			return err
		}
		l.run.logProgressIfDue(l.log)
	}
	return l.ranges.compareRanges(ctx, account)
}

// listIntentPage lists the next page of an account's intents. The page is nil
// if Stripe refuses to list the account; the run continues with the next one.
func (l *listComparer) listIntentPage(
	ctx context.Context, account string,
) (page *hold.IntentListPage, requestedAt time.Time, err error) {
	call := hold.Call{Op: hold.OpList, Account: account, After: l.run.state.AfterIntent,
		Limit: listPageSize}
	page, refused, requestedAt, err := l.reader.listPage(ctx, call, l.run.renewLockIfDue)
	if refused != nil {
		l.findings.recordRefusedList(ctx, account, refused)
	}
	return page, requestedAt, err
}
