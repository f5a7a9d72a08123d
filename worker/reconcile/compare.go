package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	// clockSlack is the maximum difference between two replicas' readings of
	// Redis' time.
	clockSlack = 2 * time.Second
	// maxUnansweredLists is after how many unanswered list calls in a row the
	// run is interrupted.
	maxUnansweredLists = 6
	// listRetryBase and listRetryLimit bound the back-off of an unanswered list
	// call.
	listRetryBase  = 2 * time.Second
	listRetryLimit = 20 * time.Second
	// orphanAge is how long after its creation an unscheduled intent counts as
	// an orphan.
	orphanAge = 10 * time.Minute

	listPageSize        = 100     // intents in a page of Stripe's list
	openHoldsPageSize   = 256     // holds in a page of the schedule
	maxOpenHoldsPages   = 1 << 16 // pages of the schedule in one pass
	maxListedHolds      = 1 << 20 // listed intents that one run remembers
	pagesPerProgressLog = 50      // pages between two log lines
)

// comparison performs one run in this replica.
type comparison struct {
	run      *run
	stores   Stores
	o        Options
	reader   *pacedRetriever
	reporter *findingReporter
	done     chan struct{} // closed at the end

	partial        bool        // another replica read some lists, so listed is incomplete
	listed         listedHolds // PaymentIntents that have a hold
	findingsLogged int
	unanswered     int // reads in a row without an answer
}

// continueRunOfReplica takes over the run of another replica.
func (c *comparison) continueRunOfReplica(left runCheckpoint, replica string) {
	left.Replica, left.State, left.Error = replica, RunRunning, ""
	left.Takeovers++
	left.initMaps()
	c.run.state = left
	c.partial = len(left.AccountOrder) > 0
}

// runAndLog runs the comparison to its end, saves the end, and logs both.
func (c *comparison) runAndLog(ctx context.Context) {
	defer close(c.done)
	s := &c.run.state
	fields := []zap.Field{
		zap.String("run", s.ID), zap.Bool("dry_run", c.run.dryRun), zap.String("by", s.By),
	}
	if s.Takeovers > 0 {
		fields = append(fields, zap.Int("position", s.AccountIndex+1),
			zap.Int("accounts", len(s.AccountOrder)), zap.String("after", s.AfterIntent))
		c.o.Logger.Info("reconcile.resumed", fields...)
	} else {
		c.o.Logger.Info("reconcile.started", fields...)
	}
	err := c.compareBothWays(ctx)
	c.saveRunEnd(ctx, err)
	fields = c.run.logFields()
	switch {
	case err == nil:
		c.o.Logger.Info("reconcile.finished", fields...)
		if c.o.Observer != nil && !c.run.dryRun {
			c.o.Observer.ReconcileFinished(c.run.currentReport())
		}
	case ctx.Err() != nil, errors.Is(err, errTokenOutdated):
		c.o.Logger.Info("reconcile.left", append(fields, zap.Error(err))...)
	default:
		c.o.Logger.Warn("reconcile.interrupted", append(fields, zap.Error(err))...)
	}
}

// saveRunEnd saves the end of the run; cause is nil if the run finished.
func (c *comparison) saveRunEnd(ctx context.Context, cause error) {
	if err := c.run.saveEndAndReleaseLock(ctx, cause); err != nil {
		c.o.Health.ReportError(ctx, "save the end of a comparison", err)
	}
}

// compareBothWays compares each account's list with the schedule, then each
// unlisted hold with Stripe.
func (c *comparison) compareBothWays(ctx context.Context) error {
	if err := c.compareLists(ctx); err != nil {
		return err
	}
	if c.partial || c.listed.truncated {
		// Reading every open hold one by one would cost more than the next run.
		c.o.Logger.Info("reconcile: unlisted holds are left to the next run",
			zap.String("run", c.run.state.ID))
		return nil
	}
	return c.compareUnlistedHolds(ctx)
}

// compareLists compares the lists of the accounts, from the run's position.
func (c *comparison) compareLists(ctx context.Context) error {
	s := &c.run.state
	if len(s.AccountOrder) == 0 {
		order, err := c.collectAccounts(ctx)
		if err != nil {
			return err
		}
		c.run.updateCheckpoint(func(s *runCheckpoint) {
			s.AccountOrder = order
			s.Accounts = len(order)
		})
		if err := c.run.saveProgressAndRenewLock(ctx); err != nil {
			return err
		}
	}
	for {
		if s.AccountIndex >= len(s.AccountOrder) {
			// Other replicas may have shared more accounts meanwhile.
			if more, err := c.addNewAccounts(ctx); err != nil || !more {
				return err
			}
		}
		if err := c.compareAccount(ctx, s.AccountOrder[s.AccountIndex]); err != nil {
			return err
		}
		c.run.updateCheckpoint(func(s *runCheckpoint) {
			s.AccountIndex, s.AfterIntent, s.Ranges = s.AccountIndex+1, "", nil
			s.updateProgressPercent(0)
		})
		if err := c.run.saveProgressAndRenewLock(ctx); err != nil {
			return err
		}
	}
}

// collectAccounts returns the platform's own account, the accounts of open
// holds, and the [KnownAccounts].
func (c *comparison) collectAccounts(ctx context.Context) ([]string, error) {
	err := c.eachOpenHoldPage(ctx, func(page []hold.ListedHold) error {
		for i := range page {
			c.o.Accounts.Add(page[i].Hold.Account)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append([]string{""}, c.o.Accounts.List()...), nil
}

// addNewAccounts adds the accounts that became known since the run began. It
// reports whether there are any.
func (c *comparison) addNewAccounts(ctx context.Context) (bool, error) {
	all, err := c.stores.Accounts.ShareKnownAccounts(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("read the known accounts: %w", err)
	}
	for _, a := range all {
		c.o.Accounts.Add(a)
	}
	before := len(c.run.state.AccountOrder)
	for _, a := range c.o.Accounts.List() {
		if !slices.Contains(c.run.state.AccountOrder, a) {
			c.run.updateCheckpoint(func(s *runCheckpoint) {
				s.AccountOrder = append(s.AccountOrder, a)
			})
		}
	}
	c.run.updateCheckpoint(func(s *runCheckpoint) { s.Accounts = len(s.AccountOrder) })
	return len(c.run.state.AccountOrder) > before, nil
}

// eachOpenHoldPage calls visit with each page of the open holds.
func (c *comparison) eachOpenHoldPage(
	ctx context.Context, visit func(page []hold.ListedHold) error,
) error {
	after := hold.SortedSetPosition{}
	for range maxOpenHoldsPages {
		page, now, err := c.stores.Holds.ReadPage(ctx, hold.SetExpiring,
			after, openHoldsPageSize)
		if err != nil {
			return fmt.Errorf("read the schedule: %w", err)
		}
		c.o.Clock.AdjustTo(now)
		if err := visit(page); err != nil {
			return err
		}
		if len(page) < openHoldsPageSize {
			return nil
		}
		after = page[len(page)-1].Position
		if err := c.run.renewLock(ctx); err != nil {
			return err
		}
	}
	return nil
}

// compareAccount compares the intents of one account page by page, newest
// first, from the run's position. It divides a long list into ranges.
func (c *comparison) compareAccount(ctx context.Context, account string) error {
	for pages := 1; len(c.run.state.Ranges) == 0; pages++ {
		page, requestedAt, err := c.listIntentPage(ctx, account)
		if err != nil || page == nil {
			return err
		}
		if err := c.comparePage(ctx, account, page.Intents, requestedAt); err != nil {
			return err
		}
		c.run.updateCheckpoint(func(s *runCheckpoint) { s.Pages++ })
		if !page.More || len(page.Intents) == 0 {
			return nil
		}
		last := &page.Intents[len(page.Intents)-1]
		if last.Created.Before(c.run.state.CreatedSince) {
			return nil
		}
		c.run.updateCheckpoint(func(s *runCheckpoint) {
			s.AfterIntent = last.ID
			s.updateProgressPercent(float64(s.StartedAt.Sub(last.Created)) / float64(listWindow))
			if pages%splitAfterPages == 0 {
				s.Ranges = splitListIntoRanges(last, pages, s.StartedAt, s.CreatedSince)
			}
		})
		if err := c.run.saveProgressAndRenewLock(ctx); err != nil {
			return err
		}
		c.logProgress()
	}
	return c.compareRanges(ctx, account)
}

// logProgress logs the run after every pagesPerProgressLog pages.
func (c *comparison) logProgress() {
	if c.run.state.Pages%pagesPerProgressLog == 0 {
		c.o.Logger.Info("reconcile.progress", c.run.logFields()...)
	}
}

// listIntentPage lists the next page of an account's intents. The page is nil
// if Stripe refuses to list the account; the run continues with the next one.
func (c *comparison) listIntentPage(
	ctx context.Context, account string,
) (page *hold.IntentPage, requestedAt time.Time, err error) {
	call := hold.Call{Op: hold.OpList, Account: account, After: c.run.state.AfterIntent,
		Limit: listPageSize}
	page, refused, requestedAt, err := c.reader.listPage(ctx, call, c.run.renewLock)
	if refused != nil {
		c.recordRefusedList(ctx, account, refused)
	}
	return page, requestedAt, err
}

// recordRefusedList records that Stripe refuses to list an account.
func (c *comparison) recordRefusedList(ctx context.Context, account string, a *hold.Answer) {
	c.run.updateCheckpoint(func(s *runCheckpoint) { s.Unreadable[account] = true })
	c.recordAndReportFinding(ctx, Finding{
		Kind: FoundUnreadable, Account: account,
		Detail: fmt.Sprintf("Stripe refuses to list its intents (%s): "+
			"check the key's permissions and the account", cmp.Or(a.Code, a.Kind.String())),
	})
}

// comparePage compares one page of a list with the schedule. A hold that
// changed after requestedAt may be newer than the list.
func (c *comparison) comparePage(
	ctx context.Context, account string, page []hold.PaymentIntent, requestedAt time.Time,
) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]string, len(page))
	for i := range page {
		ids[i] = hold.OwnerOfIntent(&page[i]) // a renewal's intent names its hold
	}
	holds, unreadable, err := c.readHolds(ctx, ids)
	if err != nil {
		return err
	}
	var changes []proposedChange
	var contradicted []hold.Hold
	listed, compared := int64(0), int64(0)
	for i := range page {
		in, h := &page[i], holds[i]
		if in.Created.Before(c.run.state.CreatedSince) || unreadable[i] {
			continue
		}
		listed++
		if h != nil {
			compared++
			c.listed.add(in.ID)
			if mayContradict(h, in, requestedAt) {
				contradicted = append(contradicted, *h)
			}
		}
		if ch, ok := c.proposeForListedIntent(ctx, account, h, in, requestedAt); ok {
			changes = append(changes, ch)
		}
	}
	c.run.updateCheckpoint(func(s *runCheckpoint) {
		s.Listed += listed
		s.Compared += compared
	})
	if err := c.commitChanges(ctx, changes); err != nil {
		return err
	}
	return c.verifyContradictions(ctx, contradicted)
}

// proposeForListedIntent decides what a listed intent changes. h is its hold, nil if
// there is none. ok is false if it changes nothing.
func (c *comparison) proposeForListedIntent(
	ctx context.Context, account string, h *hold.Hold, in *hold.PaymentIntent,
	requestedAt time.Time,
) (ch proposedChange, ok bool) {
	stillHeld := in.Status == hold.StatusRequiresCapture
	now := c.o.Clock.Now()
	switch {
	case h == nil && stillHeld:
		return c.proposeAdoption(ctx, account, in, now)
	case h != nil && in.IsLeftoverIntent(h):
		return c.proposeForLeftoverIntent(ctx, h, in, requestedAt)
	case h == nil || h.State.IsFinal():
		return proposedChange{}, false
	case stillHeld && !lastChangeTime(h).Before(requestedAt.Add(-clockSlack)):
		// The list may be older than the hold. A final status never changes.
		return proposedChange{}, false
	}
	return c.proposeUpdate(h, in, now)
}

// readHolds reads holds; a hold that does not exist is nil. unreadable has the
// positions of holds that exist but cannot be decoded.
func (c *comparison) readHolds(
	ctx context.Context, ids []string,
) (holds []*hold.Hold, unreadable map[int]bool, err error) {
	holds, now, err := c.stores.Holds.ReadHolds(ctx, ids...)
	if err == nil {
		c.o.Clock.AdjustTo(now)
		return holds, nil, nil
	}
	if !errors.Is(err, hold.ErrUnreadableRecord) {
		return nil, nil, fmt.Errorf("read holds: %w", err)
	}
	c.o.Health.ReportError(ctx, "compare with Stripe", err)
	unreadable = map[int]bool{}
	for i, h := range holds {
		if h != nil {
			continue
		}
		_, _, err := c.stores.Holds.ReadHolds(ctx, ids[i])
		switch {
		case errors.Is(err, hold.ErrUnreadableRecord):
			unreadable[i] = true
		case err != nil:
			return nil, nil, fmt.Errorf("read holds: %w", err)
		}
	}
	return holds, unreadable, nil
}
