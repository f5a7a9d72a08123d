package reconcile

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// splitAfterPages is after how many pages of an account a comparison checks
	// whether to divide the rest of the list into ranges. Each page is requested
	// after the one before it, so a long list takes many times the latency of
	// Stripe.
	splitAfterPages = 10
	// minSplitSpan is the time of creation that these pages must span. Intents
	// that were created in one burst say nothing about the rest of the list.
	minSplitSpan = time.Minute
	// listRanges is the number of the ranges. It is a multiple of
	// maxConcurrentReads, because they differ in length.
	listRanges = 16
	// minPagesPerRange is how many pages a range must have, as estimated. The
	// last page of each is mostly one more than the whole list would take.
	minPagesPerRange = 4
)

// creationTimeRange is a part of an account's list: the intents created from
// From up to UpTo, both in whole seconds.
type creationTimeRange struct {
	From  time.Time `json:"from"`
	UpTo  time.Time `json:"up_to"`
	After string    `json:"after,omitempty"` // the last intent that was compared
	Done  bool      `json:"done,omitempty"`
}

// splitListIntoRanges divides the list after an intent into ranges. It returns
// nil if too few pages are left. pages is how many have been listed, from began
// on.
func splitListIntoRanges(
	last *hold.PaymentIntent, pages int, began, oldest time.Time,
) []creationTimeRange {
	newest := last.Created.Truncate(time.Second)
	listed, left := began.Sub(newest), newest.Sub(oldest)
	step := (left / listRanges).Truncate(time.Second)
	if listed < minSplitSpan || step <= 0 ||
		float64(pages)*float64(left)/float64(listed) < listRanges*minPagesPerRange {
		return nil
	}
	ranges := make([]creationTimeRange, listRanges)
	upTo := newest
	for i := range ranges {
		from := upTo.Add(-step)
		if i == len(ranges)-1 {
			from = oldest
		}
		ranges[i] = creationTimeRange{From: from, UpTo: upTo}
		upTo = from.Add(-time.Second)
	}
	ranges[0].After = last.ID
	return ranges
}

// listedPage is a page of a range. err ends the run, and refused the account.
type listedPage struct {
	index       int // of the range
	intents     []hold.PaymentIntent
	requestedAt time.Time
	after       string // the last intent of the page
	done        bool   // the range has no further page
	refused     *hold.Answer
	err         error
}

// rangeComparer compares an account whose list was divided into ranges.
type rangeComparer struct {
	run      *run
	reader   *pacedRetriever
	pages    *pageComparer
	findings *findingRecorder
	log      *zap.Logger
}

// compareRanges compares the ranges of an account that are not done. Several
// are listed at the same time, and this goroutine compares all pages.
func (c *rangeComparer) compareRanges(ctx context.Context, account string) error {
	open := 0
	for i := range c.run.state.Ranges {
		if !c.run.state.Ranges[i].Done {
			open++
		}
	}
	listing, stop := context.WithCancel(ctx)
	pages, lists := make(chan listedPage), c.queueUnfinishedRanges()
	var listers sync.WaitGroup
	defer listers.Wait()
	defer stop()
	for range min(open, maxConcurrentReads) {
		listers.Go(func() {
			for l := range lists {
				c.listRangePages(listing, account, l, pages)
			}
		})
	}
	for open > 0 {
		page, err := c.waitForPageAndRenewLock(ctx, pages)
		switch {
		case err != nil:
			return err
		case page.err != nil:
			return page.err
		case page.refused != nil:
			c.findings.recordRefusedList(ctx, account, page.refused)
			return nil
		}
		if err := c.pages.comparePage(ctx, account, page.intents, page.requestedAt); err != nil {
			return err
		}
		if err := c.savePageProgress(ctx, &page); err != nil {
			return err
		}
		if page.done {
			open--
		}
	}
	return nil
}

// indexedRange is a range to list.
type indexedRange struct {
	index int
	creationTimeRange
}

// queueUnfinishedRanges returns the ranges that are not done, newest first.
func (c *rangeComparer) queueUnfinishedRanges() <-chan indexedRange {
	lists := make(chan indexedRange, len(c.run.state.Ranges))
	defer close(lists)
	for i, r := range c.run.state.Ranges {
		if !r.Done {
			lists <- indexedRange{i, r}
		}
	}
	return lists
}

// waitForPageAndRenewLock waits for a page, and renews the lock meanwhile.
func (c *rangeComparer) waitForPageAndRenewLock(
	ctx context.Context, pages <-chan listedPage,
) (page listedPage, err error) {
	for {
		timer := time.NewTimer(runLease / 3)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case page = <-pages:
		case <-timer.C:
			if err = c.run.renewLockIfDue(ctx); err == nil {
				continue
			}
		}
		timer.Stop()
		return page, err
	}
}

// listRangePages lists a range page by page, until its end or the first page
// without an answer.
func (c *rangeComparer) listRangePages(
	ctx context.Context, account string, r indexedRange, pages chan<- listedPage,
) {
	for done := false; !done; {
		call := hold.Call{Op: hold.OpList, Account: account, After: r.After, CreatedUpTo: r.UpTo,
			Limit: listPageSize}
		p := listedPage{index: r.index}
		var page *hold.IntentListPage
		page, p.refused, p.requestedAt, p.err = c.reader.listPage(ctx, call, nil)
		if page != nil {
			p.intents = page.Intents
			for i := range page.Intents {
				if page.Intents[i].Created.Before(r.From) { // of the next range
					p.intents, p.done = page.Intents[:i], true
					break
				}
			}
			if n := len(page.Intents); n > 0 {
				r.After = page.Intents[n-1].ID
			}
			p.done = p.done || !page.More || len(page.Intents) == 0
		}
		p.after = r.After
		done = p.done || page == nil
		select {
		case pages <- p:
		case <-ctx.Done():
			return
		}
	}
}

// savePageProgress saves that a page of a range was compared.
func (c *rangeComparer) savePageProgress(ctx context.Context, p *listedPage) error {
	c.run.updateCheckpoint(func(s *runCheckpoint) {
		s.Pages++
		s.Ranges[p.index].After, s.Ranges[p.index].Done = p.after, p.done
		done := 0
		for i := range s.Ranges {
			if s.Ranges[i].Done {
				done++
			}
		}
		before := s.Percent // which counts the pages before the ranges
		s.updateProgressPercent(float64(done) / float64(len(s.Ranges)))
		s.Percent = max(s.Percent, before)
	})
	c.run.logProgressIfDue(c.log)
	return c.run.saveProgressAndRenewLock(ctx)
}
