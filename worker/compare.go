package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	// clockSlack is by how much two replicas' notions of Redis' time may differ.
	clockSlack = 2 * time.Second
	// maxUnansweredLists is how many times in a row a list may go unanswered before the run is left for later.
	maxUnansweredLists = 6
	// maxBudgetDrought is how long the budget may give nothing before the run is left for later.
	maxBudgetDrought = 10 * time.Minute
	// notFoundRecheckAfter is how long after Stripe didn't know an intent it is asked once more: rarely it doesn't see one for a moment.
	notFoundRecheckAfter = 2 * time.Second
	maxPages             = 1 << 16 // pages of the schedule in one walk
	maxFindingLines      = 100     // lines about findings in one run
)

// compare goes from Stripe to the schedule, account by account, then back for what the lists did not tell of.
func (c *comparison) compare(ctx context.Context) error {
	if len(c.run.Order) == 0 {
		order, err := c.accounts(ctx)
		if err != nil {
			return err
		}
		c.edit(func(r *checkpoint) { r.Order, r.Accounts = order, len(order) })
		if err := c.save(ctx, reconcileLease, false); err != nil {
			return err
		}
	}
	for {
		if c.run.At >= len(c.run.Order) {
			// Another replica may have told of its accounts meanwhile.
			if more, err := c.addNewAccounts(ctx); err != nil {
				return err
			} else if !more {
				break
			}
		}
		if err := c.compareAccount(ctx, c.run.Order[c.run.At]); err != nil {
			return err
		}
		c.edit(func(r *checkpoint) { r.At, r.After = r.At+1, ""; r.estimate(0) })
		if err := c.save(ctx, reconcileLease, false); err != nil {
			return err
		}
	}
	if c.partial || c.seenTruncated {
		// What the lists told of isn't known, or not all of it. Reading every open hold one by one would cost more than the next run does.
		c.w.log.Info("reconcile: holds that the lists did not tell of are left to the next run", zap.String("run", c.run.ID))
		return nil
	}
	return c.compareUnlisted(ctx)
}

// estimate sets how much of the run is done: lists are nine tenths of it.
func (r *checkpoint) estimate(ofAccount float64) {
	if len(r.Order) > 0 {
		r.Percent = int(90 * (float64(r.At) + min(max(ofAccount, 0), 1)) / float64(len(r.Order)))
	}
}

// accounts are one's own and those that have an open hold, or had one while this replica ran.
func (c *comparison) accounts(ctx context.Context) ([]string, error) {
	err := c.eachOpenHold(ctx, func(found []hold.ListedHold) error {
		for i := range found {
			c.w.recon.addAccount(found[i].Hold.Account)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append([]string{""}, c.w.recon.knownAccounts()...), nil
}

// addNewAccounts adds the accounts that became known since the run began, and reports whether there are any.
func (c *comparison) addNewAccounts(ctx context.Context) (bool, error) {
	all, err := c.w.store.ShareAccounts(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("the accounts that were met can't be read: %w", err)
	}
	for _, a := range all {
		c.w.recon.addAccount(a)
	}
	before := len(c.run.Order)
	for _, a := range c.w.recon.knownAccounts() {
		if !slices.Contains(c.run.Order, a) {
			c.edit(func(r *checkpoint) { r.Order = append(r.Order, a) })
		}
	}
	c.edit(func(r *checkpoint) { r.Accounts = len(r.Order) })
	return len(c.run.Order) > before, nil
}

// eachOpenHold goes through all open holds.
func (c *comparison) eachOpenHold(ctx context.Context, visit func([]hold.ListedHold) error) error {
	mark := hold.Position{}
	for range maxPages {
		found, now, err := c.w.store.Page(ctx, hold.SetExpiring, mark, sweepBatch)
		if err != nil {
			return fmt.Errorf("the schedule can't be read: %w", err)
		}
		c.w.syncClock(now)
		if err := visit(found); err != nil {
			return err
		}
		if len(found) < sweepBatch {
			return nil
		}
		mark = found[len(found)-1].Position
		if err := c.renew(ctx); err != nil {
			return err
		}
	}
	return nil
}

// compareAccount pages through the intents of one account, newest first, from where the run stands.
func (c *comparison) compareAccount(ctx context.Context, account string) error {
	for silent := 0; ; {
		if err := c.waitForRead(ctx, account); err != nil {
			return err
		}
		asked := c.w.redisNow()
		page, more, a := c.w.listIntents(ctx, account, c.run.After)
		switch a.Kind {
		case hold.AnswerOK:
			silent = 0
		case hold.AnswerUnauthorized:
			return fmt.Errorf("%w: it rejects the key", errStripe)
		case hold.AnswerUnknown, hold.AnswerUnreachable, hold.AnswerRateLimited, hold.AnswerLockTimeout, hold.AnswerReplayedError, hold.AnswerKeyInUse:
			if silent++; silent >= maxUnansweredLists {
				return fmt.Errorf("%w (%s)", errStripe, a.Kind)
			}
			if err := c.pause(ctx, min(time.Second<<silent, 20*time.Second)); err != nil {
				return err
			}
			continue
		default:
			// This account is lost to the run, the others are not.
			c.edit(func(r *checkpoint) { r.Unreadable[account] = true })
			c.recordFinding(Finding{Kind: FoundUnreadable, Account: account, Detail: fmt.Sprintf("Stripe refuses to list its intents (%s): check the key's permissions and the account", cmp.Or(a.Code, a.Kind.String()))})
			return nil
		}
		if err := c.comparePage(ctx, account, page, asked); err != nil {
			return err
		}
		c.edit(func(r *checkpoint) { r.Pages++ })
		if !more || len(page) == 0 {
			return nil
		}
		last := &page[len(page)-1]
		if last.Created.Before(c.run.Bound) {
			return nil
		}
		c.edit(func(r *checkpoint) {
			r.After = last.ID
			r.estimate(float64(r.StartedAt.Sub(last.Created)) / float64(listWindow))
		})
		if err := c.save(ctx, reconcileLease, false); err != nil {
			return err
		}
		if c.run.Pages%progressEvery == 0 {
			c.w.log.Info("reconcile.progress", append([]zap.Field{zap.String("run", c.run.ID), zap.Bool("dry_run", c.dry)}, c.fields()...)...)
		}
	}
}

// waitForRead waits until another read may go out. It takes every other one of the budget's at the most, so that whoever schedules, checks or acts is not
// kept waiting by a comparison.
func (c *comparison) waitForRead(ctx context.Context, account string) error {
	began := time.Now()
	for {
		if err := c.renew(ctx); err != nil {
			return err
		}
		wait := c.w.recon.reserveReadSlot(2 * time.Second / time.Duration(c.w.o.ReadRate))
		if wait <= 0 {
			granted, retry, err := c.w.store.TryReserve(ctx, account, hold.OpRead, 1)
			if err != nil {
				return fmt.Errorf("the budget can't be drawn on: %w", err)
			}
			if granted > 0 {
				return nil
			}
			if time.Since(began) > maxBudgetDrought {
				return fmt.Errorf("%w: the budget for reads has given nothing for %s", errStripe, maxBudgetDrought)
			}
			wait = min(max(retry, 10*time.Millisecond), 5*time.Second)
		}
		if err := c.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// reserveReadSlot is how long to wait until a read may go out; 0 means now, and that the next is a step later.
func (r *reconciler) reserveReadSlot(step time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if wait := r.nextReadAt.Sub(now); wait > 0 {
		return wait
	}
	r.nextReadAt = now.Add(step)
	return 0
}

func (c *comparison) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// comparedHold is a change that a comparison found necessary.
type comparedHold struct {
	before  hold.Hold
	change  hold.Decision
	finding Finding // without a kind: nothing to tell
}

// comparePage compares one page of the list with the schedule. asked is when the list was asked for: what it says may be older than
// what the schedule says of a hold that changed since.
func (c *comparison) comparePage(ctx context.Context, account string, page []hold.Intent, asked time.Time) error {
	ids := make([]string, len(page))
	for i := range page {
		ids[i] = page[i].ID
	}
	if len(ids) == 0 {
		return nil
	}
	holds, unreadable, err := c.readAll(ctx, ids)
	if err != nil {
		return err
	}
	now := c.w.redisNow()
	var steps []comparedHold
	listed, compared := int64(0), int64(0)
	for i := range page {
		in, h := &page[i], holds[i]
		if in.Created.Before(c.run.Bound) || unreadable[i] {
			continue
		}
		listed++
		if h == nil {
			if in.Status == hold.StatusRequiresCapture {
				if s, ok := c.adoptUnknown(account, in, now); ok {
					steps = append(steps, s)
				}
			}
			continue
		}
		compared++
		c.markSeen(in.ID)
		// What has ended at Stripe stays so. What is still held may have been seen by somebody else after this page was made.
		if in.Status == hold.StatusRequiresCapture && !h.State.Final() && !lastChange(h).Before(asked.Add(-clockSlack)) {
			continue
		}
		if s, ok := applyIntent(h, in, now, c.w.o.Rules); ok {
			steps = append(steps, s)
		}
	}
	c.edit(func(r *checkpoint) { r.Listed, r.Compared = r.Listed+listed, r.Compared+compared })
	return c.commit(ctx, steps)
}

// readAll reads holds, and tells which there are that can't be read: they are not unknown.
func (c *comparison) readAll(ctx context.Context, ids []string) (holds []*hold.Hold, unreadable map[int]bool, err error) {
	holds, now, err := c.w.store.Read(ctx, ids...)
	if err == nil {
		c.w.syncClock(now)
		return holds, nil, nil
	}
	if !errors.Is(err, hold.ErrUnreadableRecord) {
		return nil, nil, fmt.Errorf("holds can't be read: %w", err)
	}
	c.w.reportStoreError(ctx, "compare with Stripe", err)
	unreadable = map[int]bool{}
	for i, h := range holds {
		if h != nil {
			continue
		}
		if _, _, err := c.w.store.Read(ctx, ids[i]); errors.Is(err, hold.ErrUnreadableRecord) {
			unreadable[i] = true
		} else if err != nil {
			return nil, nil, fmt.Errorf("holds can't be read: %w", err)
		}
	}
	return holds, unreadable, nil
}

// lastChange is when a hold's terms or what is known of it were last written.
func lastChange(h *hold.Hold) time.Time {
	if n := len(h.History); n > 0 {
		return h.History[n-1].At
	}
	return h.CreatedAt
}

// applyIntent brings a known hold to what Stripe says.
func applyIntent(h *hold.Hold, in *hold.Intent, now time.Time, r hold.Rules) (comparedHold, bool) {
	ch := h.ApplyIntent(in, now)
	if ch.Unchanged {
		return comparedHold{}, false
	}
	ch.HandOver(h, now, r)
	after := &ch.Hold
	s := comparedHold{before: *h, change: ch, finding: Finding{PaymentIntent: h.PaymentIntent, Account: h.Account, Reference: h.Reference, Amount: after.Amount, Currency: after.Currency}}
	switch {
	case after.State == hold.Captured:
		s.finding.Kind, s.finding.Amount, s.finding.Detail = FoundCaptured, after.CapturedAmount, "captured by somebody else"
	case after.State == hold.Canceled:
		s.finding.Kind, s.finding.Detail = FoundCanceled, "released by somebody else"
	case after.State == hold.Expired:
		s.finding.Kind, s.finding.Detail = FoundExpired, "the card network let it go"
	case after.State == hold.Attention && h.State != hold.Attention:
		s.finding.Kind, s.finding.Detail = FoundAttention, after.Reason.String()+": "+after.History[len(after.History)-1].Note
	case after.CapturedElsewhere != h.CapturedElsewhere:
		s.finding.Kind, s.finding.Detail = FoundChanged, hold.FormatAmount(after.CapturedElsewhere, after.Currency)+" captured by another system, "+hold.FormatAmount(after.Amount, after.Currency)+" left"
	case h.Verified && h.Amount != after.Amount:
		s.finding.Kind, s.finding.Detail = FoundChanged, "the amount was "+hold.FormatAmount(h.Amount, h.Currency)
	case h.Verified && !h.ExpiresAt.Equal(after.ExpiresAt):
		s.finding.Kind, s.finding.Detail = FoundChanged, "ends at "+after.ExpiresAt.Format(time.RFC3339)+", not at "+h.ExpiresAt.Format(time.RFC3339)
	}
	return s, true
}

// adoptUnknown decides about an intent that holds money and that the schedule doesn't know.
func (c *comparison) adoptUnknown(account string, in *hold.Intent, now time.Time) (comparedHold, bool) {
	tell := Finding{PaymentIntent: in.ID, Account: account, Amount: in.AmountCapturable, Currency: in.Currency}
	req, paused, ours, err := hold.RequestFromMetadata(in, account)
	if !ours {
		if now.Sub(in.Created) > orphanAge {
			tell.Kind, tell.Detail = FoundOrphan, "nobody has scheduled it; it is left alone"
			c.recordFinding(tell)
		}
		return comparedHold{}, false
	}
	tell.Reference = req.Reference
	var d *hold.Draft
	var ch hold.Decision
	if err == nil {
		d, err = req.ValidateRecovered(paused, now)
	}
	if err == nil {
		ch, err = hold.New(d, in, "reconcile", now)
	}
	if err != nil {
		tell.Kind, tell.Reference, tell.Detail = FoundRejected, "", err.Error()
		c.recordFinding(tell)
		return comparedHold{}, false
	}
	ch.HandOver(&hold.Hold{}, now, c.w.o.Rules)
	tell.Kind, tell.Detail = FoundScheduled, scheduledAs(&ch.Hold)
	if ch.Hold.State == hold.Attention {
		tell.Kind, tell.Detail = FoundAttention, ch.Hold.Reason.String()+": "+ch.Hold.History[len(ch.Hold.History)-1].Note
	}
	return comparedHold{change: ch, finding: tell}, true
}

func scheduledAs(h *hold.Hold) string {
	switch {
	case h.State == hold.Paused:
		return "paused"
	case h.NextOp != 0:
		return h.NextOp.String() + " at " + h.NextAt.Format(time.RFC3339)
	}
	return h.State.String()
}

// commit writes changes, each if its hold is still what was compared. What somebody else changed meanwhile is left to the next run.
func (c *comparison) commit(ctx context.Context, steps []comparedHold) error {
	if c.dry {
		for i := range steps {
			c.recordFinding(steps[i].finding)
		}
		return nil
	}
	if len(steps) == 0 {
		return nil
	}
	w := c.w
	now := w.redisNow()
	writes := make([]hold.RecordWrite, len(steps))
	for i := range steps {
		writes[i] = w.newWrite(&steps[i].before, &steps[i].change, now)
	}
	ok, err := w.commitWithRetry(ctx, writes)
	if err != nil {
		return fmt.Errorf("what Stripe says can't be written: %w", err)
	}
	soon := false
	for i := range steps {
		s := &steps[i]
		if !ok[i] {
			continue
		}
		w.recordEvents(&s.change, hold.Call{}, hold.Answer{}, 0)
		soon = soon || s.change.Again || s.change.Hold.NextOp != 0 && s.change.Hold.NextAt.Before(now.Add(lookahead))
		if s.before.Version == 0 {
			c.markSeen(s.change.Hold.ID)
		}
		c.recordFinding(s.finding)
	}
	if soon {
		w.Wake()
	}
	return nil
}

func (c *comparison) markSeen(intent string) {
	if len(c.seen) >= maxSeen {
		c.seenTruncated = true
		return
	}
	c.seen[intent] = struct{}{}
}

// compareUnlisted goes through the open holds that no list told of: placed longer ago than lists reach, or gone.
func (c *comparison) compareUnlisted(ctx context.Context) error {
	counts, err := c.w.store.Counts(ctx)
	if err != nil {
		return fmt.Errorf("holds can't be counted: %w", err)
	}
	passed := int64(0)
	silent := 0
	return c.eachOpenHold(ctx, func(found []hold.ListedHold) error {
		var ask []hold.Hold
		for i := range found {
			h := &found[i].Hold
			_, seen := c.seen[h.PaymentIntent]
			// One that was scheduled or changed since the run began has met Stripe's truth meanwhile, or the next run meets it.
			if seen || h.State == 0 || h.State.Final() || h.State == hold.Working || !lastChange(h).Before(c.run.StartedAt) || c.run.Unreadable[h.Account] {
				continue
			}
			ask = append(ask, *h)
		}
		if err := c.retrieveHolds(ctx, ask, &silent); err != nil {
			return err
		}
		passed += int64(len(found))
		c.edit(func(r *checkpoint) { r.Percent = 90 + int(10*min(1, float64(passed)/float64(max(1, counts.Open)))) })
		return nil
	})
}

// retrieveHolds reads holds' intents one by one, some at a time. Each hold was read before its intent is, so what is written is never older than what it replaces.
func (c *comparison) retrieveHolds(ctx context.Context, holds []hold.Hold, silent *int) error {
	for part := range slices.Chunk(holds, verifyAtOnce) {
		answers := make([]hold.Answer, len(part))
		ask := func(which func(i int) bool) error {
			var wg sync.WaitGroup
			defer wg.Wait()
			for i := range part {
				if !which(i) {
					continue
				}
				if err := c.waitForRead(ctx, part[i].Account); err != nil {
					return err
				}
				wg.Go(func() { answers[i] = c.w.retrieveHold(ctx, &part[i], c.w.o.CallTimeout) })
			}
			return nil
		}
		if err := ask(func(int) bool { return true }); err != nil {
			return err
		}
		missing := func(i int) bool { return answers[i].Kind == hold.AnswerNotFound }
		for i := range part {
			if missing(i) {
				if err := c.pause(ctx, notFoundRecheckAfter); err != nil {
					return err
				}
				break
			}
		}
		if err := ask(missing); err != nil {
			return err
		}
		now := c.w.redisNow()
		var steps []comparedHold
		unread := int64(0)
		for i := range part {
			h, a := &part[i], &answers[i]
			switch {
			case a.Kind == hold.AnswerOK && a.Intent != nil:
				*silent = 0
				if s, ok := applyIntent(h, a.Intent, now, c.w.o.Rules); ok {
					steps = append(steps, s)
				}
			case a.Kind == hold.AnswerNotFound:
				*silent = 0
				if ch := h.ApplyNotFound(now); !ch.Unchanged {
					steps = append(steps, comparedHold{before: *h, change: ch, finding: Finding{Kind: FoundAttention, PaymentIntent: h.PaymentIntent, Account: h.Account,
						Reference: h.Reference, Amount: h.Amount, Currency: h.Currency, Detail: "Stripe doesn't know this intent under this account and mode"}})
				}
			case a.Kind == hold.AnswerUnauthorized:
				return fmt.Errorf("%w: it rejects the key", errStripe)
			case a.Kind == hold.AnswerForbidden: // the account's, and told in the log by whoever asked
				unread++
			default:
				*silent++
				unread++
			}
		}
		c.edit(func(r *checkpoint) { r.Read, r.Unread = r.Read+int64(len(part))-unread, r.Unread+unread })
		if err := c.commit(ctx, steps); err != nil {
			return err
		}
		if *silent >= 2*verifyAtOnce {
			return errStripe
		}
		if err := c.save(ctx, reconcileLease, false); err != nil {
			return err
		}
	}
	return nil
}

// recordFinding counts a finding, keeps it while there is room, and tells the log of what a person should see.
func (c *comparison) recordFinding(f Finding) {
	if f.Kind == "" {
		return
	}
	c.edit(func(r *checkpoint) {
		r.Counts[f.Kind]++
		kept := 0
		for _, n := range r.Kept {
			kept += n
		}
		if kept < maxFindings && r.Kept[f.Kind] < maxOfOneKind {
			r.Kept[f.Kind]++
			c.fresh = append(c.fresh, f)
		}
	})
	if c.dry {
		return
	}
	if f.Kind != FoundOrphan && f.Kind != FoundRejected && f.Kind != FoundUnreadable || c.logged >= maxFindingLines || !c.w.recon.shouldLog(f) {
		return
	}
	c.logged++
	c.publishFinding(f)
	fields := []zap.Field{zap.String("payment_intent", f.PaymentIntent), zap.String("account", f.Account),
		zap.Int64("amount", f.Amount), zap.String("currency", f.Currency), zap.String("reason", f.Detail)}
	switch f.Kind {
	case FoundOrphan:
		c.w.log.Warn("reconcile.orphan", append(fields, zap.String("event", "reconcile.orphan"))...)
	case FoundRejected:
		c.w.log.Error("metadata.rejected", append(fields, zap.String("event", "metadata.rejected"))...)
	default:
		c.w.log.Error("reconcile.unreadable", append(fields, zap.String("event", "reconcile.unreadable"))...)
	}
}

// publishFinding puts a finding on the stream of events, once: what was told by another run, or by an event of Stripe's, isn't told again.
func (c *comparison) publishFinding(f Finding) {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	var err error
	switch f.Kind {
	case FoundOrphan:
		err = c.w.publishOnce(ctx, TypeOrphan, f.PaymentIntent, EventData{Intent: &f})
	case FoundRejected:
		err = c.w.publishOnce(ctx, TypeMetadataRejected, f.PaymentIntent, EventData{Reject: &Rejection{Source: "stripe", ID: f.PaymentIntent, Account: f.Account, Reason: f.Detail}})
	}
	if err != nil {
		c.w.reportStoreError(ctx, "tell of a finding", err)
	}
}

// shouldLog says whether the log has not been told of this lately: a run every quarter of an hour meets the same orphans.
func (r *reconciler) shouldLog(f Finding) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(f.Kind) + " " + f.Account + " " + f.PaymentIntent + " " + f.Detail
	now := time.Now()
	if at, there := r.loggedFindings[key]; there && now.Sub(at) < findingLogInterval {
		return false
	}
	if r.loggedFindings == nil || len(r.loggedFindings) >= maxLoggedFindings {
		r.loggedFindings = map[string]time.Time{}
	}
	r.loggedFindings[key] = now
	return true
}
