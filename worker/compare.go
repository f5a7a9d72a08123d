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
	// stripePatience is how many times in a row a list may go unanswered before the run is left for later.
	stripePatience = 6
	// budgetDry is how long the budget may give nothing before the run is left for later.
	budgetDry = 10 * time.Minute
	// missTwice is how long after Stripe didn't know an intent it is asked once more: rarely it doesn't see one for a moment.
	missTwice   = 2 * time.Second
	maxWalk     = 1 << 16 // pages of the schedule in one walk
	maxLoggedAs = 100     // lines about findings in one run
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
			if more, err := c.unlisted(ctx); err != nil {
				return err
			} else if !more {
				break
			}
		}
		if err := c.account(ctx, c.run.Order[c.run.At]); err != nil {
			return err
		}
		c.edit(func(r *checkpoint) { r.At, r.After = r.At+1, ""; r.estimate(0) })
		if err := c.save(ctx, reconcileLease, false); err != nil {
			return err
		}
	}
	if c.partial || c.more {
		// What the lists told of isn't known, or not all of it. Reading every open hold one by one would cost more than the next run does.
		c.w.log.Info("reconcile: holds that the lists did not tell of are left to the next run", zap.String("run", c.run.ID))
		return nil
	}
	return c.rest(ctx)
}

// estimate sets how much of the run is done: lists are nine tenths of it.
func (r *checkpoint) estimate(ofAccount float64) {
	if len(r.Order) > 0 {
		r.Percent = int(90 * (float64(r.At) + min(max(ofAccount, 0), 1)) / float64(len(r.Order)))
	}
}

// accounts are one's own and those that have an open hold, or had one while this replica ran.
func (c *comparison) accounts(ctx context.Context) ([]string, error) {
	err := c.walk(ctx, func(found []hold.Listed) error {
		for i := range found {
			c.w.recon.met(found[i].Hold.Account)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append([]string{""}, c.w.recon.list()...), nil
}

// unlisted adds the accounts that became known since the run began, and reports whether there are any.
func (c *comparison) unlisted(ctx context.Context) (bool, error) {
	all, err := c.w.store.Accounts(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("the accounts that were met can't be read: %w", err)
	}
	for _, a := range all {
		c.w.recon.met(a)
	}
	before := len(c.run.Order)
	for _, a := range c.w.recon.list() {
		if !slices.Contains(c.run.Order, a) {
			c.edit(func(r *checkpoint) { r.Order = append(r.Order, a) })
		}
	}
	c.edit(func(r *checkpoint) { r.Accounts = len(r.Order) })
	return len(c.run.Order) > before, nil
}

// walk goes through all open holds.
func (c *comparison) walk(ctx context.Context, visit func([]hold.Listed) error) error {
	mark := hold.Mark{}
	for range maxWalk {
		found, now, err := c.w.store.Page(ctx, hold.SetExpiring, mark, sweepSize)
		if err != nil {
			return fmt.Errorf("the schedule can't be read: %w", err)
		}
		c.w.sync(now)
		if err := visit(found); err != nil {
			return err
		}
		if len(found) < sweepSize {
			return nil
		}
		mark = found[len(found)-1].Mark
		if err := c.renew(ctx); err != nil {
			return err
		}
	}
	return nil
}

// account pages through the intents of one account, newest first, from where the run stands.
func (c *comparison) account(ctx context.Context, account string) error {
	for silent := 0; ; {
		if err := c.turn(ctx, account); err != nil {
			return err
		}
		asked := c.w.now()
		page, more, a := c.w.list(ctx, account, c.run.After)
		switch a.Kind {
		case hold.AnswerOK:
			silent = 0
		case hold.AnswerUnauthorized:
			return fmt.Errorf("%w: it rejects the key", errStripe)
		case hold.AnswerUnknown, hold.AnswerUnreachable, hold.AnswerRateLimited, hold.AnswerLockTimeout, hold.AnswerReplayedError, hold.AnswerKeyInUse:
			if silent++; silent >= stripePatience {
				return fmt.Errorf("%w (%s)", errStripe, a.Kind)
			}
			if err := c.pause(ctx, min(time.Second<<silent, 20*time.Second)); err != nil {
				return err
			}
			continue
		default:
			// This account is lost to the run, the others are not.
			c.edit(func(r *checkpoint) { r.Unreadable[account] = true })
			c.found(Finding{Kind: FoundUnlisted, Account: account, Detail: fmt.Sprintf("Stripe refuses to list its intents (%s): check the key's permissions and the account", cmp.Or(a.Code, a.Kind.String()))})
			return nil
		}
		if err := c.page(ctx, account, page, asked); err != nil {
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
			r.estimate(float64(r.StartedAt.Sub(last.Created)) / float64(reach))
		})
		if err := c.save(ctx, reconcileLease, false); err != nil {
			return err
		}
		if c.run.Pages%progressEvery == 0 {
			c.w.log.Info("reconcile.progress", append([]zap.Field{zap.String("run", c.run.ID), zap.Bool("dry_run", c.dry)}, c.fields()...)...)
		}
	}
}

// turn waits until another read may go out. It takes every other one of the budget's at the most, so that whoever schedules, checks or acts is not
// kept waiting by a comparison.
func (c *comparison) turn(ctx context.Context, account string) error {
	began := time.Now()
	for {
		if err := c.renew(ctx); err != nil {
			return err
		}
		wait := c.w.recon.slot(2 * time.Second / time.Duration(c.w.o.ReadRate))
		if wait <= 0 {
			granted, retry, err := c.w.store.Take(ctx, account, hold.OpRead, 1)
			if err != nil {
				return fmt.Errorf("the budget can't be drawn on: %w", err)
			}
			if granted > 0 {
				return nil
			}
			if time.Since(began) > budgetDry {
				return fmt.Errorf("%w: the budget for reads has given nothing for %s", errStripe, budgetDry)
			}
			wait = min(max(retry, 10*time.Millisecond), 5*time.Second)
		}
		if err := c.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// slot is how long to wait until a read may go out; 0 means now, and that the next is a step later.
func (r *reconciler) slot(step time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if wait := r.next.Sub(now); wait > 0 {
		return wait
	}
	r.next = now.Add(step)
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

// step is a change that a comparison found necessary.
type step struct {
	before hold.Hold
	change hold.Change
	tell   Finding // without a kind: nothing to tell
}

// page compares one page of the list with the schedule. asked is when the list was asked for: what it says may be older than
// what the schedule says of a hold that changed since.
func (c *comparison) page(ctx context.Context, account string, page []hold.Intent, asked time.Time) error {
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
	now := c.w.now()
	var steps []step
	listed, compared := int64(0), int64(0)
	for i := range page {
		in, h := &page[i], holds[i]
		if in.Created.Before(c.run.Bound) || unreadable[i] {
			continue
		}
		listed++
		if h == nil {
			if in.Status == hold.StatusRequiresCapture {
				if s, ok := c.unknown(account, in, now); ok {
					steps = append(steps, s)
				}
			}
			continue
		}
		compared++
		c.saw(in.ID)
		// What has ended at Stripe stays so. What is still held may have been seen by somebody else after this page was made.
		if in.Status == hold.StatusRequiresCapture && !h.State.Final() && !lastChange(h).Before(asked.Add(-clockSlack)) {
			continue
		}
		if s, ok := observe(h, in, now, c.w.o.Rules); ok {
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
		c.w.sync(now)
		return holds, nil, nil
	}
	if !errors.Is(err, hold.ErrRecord) {
		return nil, nil, fmt.Errorf("holds can't be read: %w", err)
	}
	c.w.storeFailed(ctx, "compare with Stripe", err)
	unreadable = map[int]bool{}
	for i, h := range holds {
		if h != nil {
			continue
		}
		if _, _, err := c.w.store.Read(ctx, ids[i]); errors.Is(err, hold.ErrRecord) {
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

// observe brings a known hold to what Stripe says.
func observe(h *hold.Hold, in *hold.Intent, now time.Time, r hold.Rules) (step, bool) {
	ch := h.Observed(in, now)
	if ch.Same {
		return step{}, false
	}
	ch.HandOver(h, now, r)
	after := &ch.Hold
	s := step{before: *h, change: ch, tell: Finding{PaymentIntent: h.PaymentIntent, Account: h.Account, Reference: h.Reference, Amount: after.Amount, Currency: after.Currency}}
	switch {
	case after.State == hold.Captured:
		s.tell.Kind, s.tell.Amount, s.tell.Detail = FoundCaptured, after.CapturedTotal, "captured by somebody else"
	case after.State == hold.Canceled:
		s.tell.Kind, s.tell.Detail = FoundCanceled, "released by somebody else"
	case after.State == hold.Expired:
		s.tell.Kind, s.tell.Detail = FoundExpired, "the card network let it go"
	case after.State == hold.Attention && h.State != hold.Attention:
		s.tell.Kind, s.tell.Detail = FoundAttention, after.Why.String()+": "+after.History[len(after.History)-1].Note
	case after.CapturedElsewhere != h.CapturedElsewhere:
		s.tell.Kind, s.tell.Detail = FoundChanged, hold.Money(after.CapturedElsewhere, after.Currency)+" captured by another system, "+hold.Money(after.Amount, after.Currency)+" left"
	case h.Verified && h.Amount != after.Amount:
		s.tell.Kind, s.tell.Detail = FoundChanged, "the amount was "+hold.Money(h.Amount, h.Currency)
	case h.Verified && !h.ExpiresAt.Equal(after.ExpiresAt):
		s.tell.Kind, s.tell.Detail = FoundChanged, "ends at "+after.ExpiresAt.Format(time.RFC3339)+", not at "+h.ExpiresAt.Format(time.RFC3339)
	}
	return s, true
}

// unknown decides about an intent that holds money and that the schedule doesn't know.
func (c *comparison) unknown(account string, in *hold.Intent, now time.Time) (step, bool) {
	tell := Finding{PaymentIntent: in.ID, Account: account, Amount: in.Capturable, Currency: in.Currency}
	wish, paused, ours, err := hold.WishOf(in, account)
	if !ours {
		if now.Sub(in.Created) > orphanAge {
			tell.Kind, tell.Detail = FoundOrphan, "nobody has scheduled it; it is left alone"
			c.found(tell)
		}
		return step{}, false
	}
	tell.Reference = wish.Reference
	var d *hold.Draft
	var ch hold.Change
	if err == nil {
		d, err = wish.Recovered(paused, now)
	}
	if err == nil {
		ch, err = hold.New(d, in, "reconcile", now)
	}
	if err != nil {
		tell.Kind, tell.Reference, tell.Detail = FoundRejected, "", err.Error()
		c.found(tell)
		return step{}, false
	}
	ch.HandOver(&hold.Hold{}, now, c.w.o.Rules)
	tell.Kind, tell.Detail = FoundScheduled, scheduledAs(&ch.Hold)
	if ch.Hold.State == hold.Attention {
		tell.Kind, tell.Detail = FoundAttention, ch.Hold.Why.String()+": "+ch.Hold.History[len(ch.Hold.History)-1].Note
	}
	return step{change: ch, tell: tell}, true
}

func scheduledAs(h *hold.Hold) string {
	switch {
	case h.State == hold.Paused:
		return "paused"
	case h.Next != 0:
		return h.Next.String() + " at " + h.NextAt.Format(time.RFC3339)
	}
	return h.State.String()
}

// commit writes changes, each if its hold is still what was compared. What somebody else changed meanwhile is left to the next run.
func (c *comparison) commit(ctx context.Context, steps []step) error {
	if c.dry {
		for i := range steps {
			c.found(steps[i].tell)
		}
		return nil
	}
	if len(steps) == 0 {
		return nil
	}
	w := c.w
	now := w.now()
	writes := make([]hold.Write, len(steps))
	for i := range steps {
		writes[i] = w.write(&steps[i].before, &steps[i].change, now)
	}
	ok, err := w.insist(ctx, writes)
	if err != nil {
		return fmt.Errorf("what Stripe says can't be written: %w", err)
	}
	soon := false
	for i := range steps {
		s := &steps[i]
		if !ok[i] {
			continue
		}
		w.notice(&s.change, hold.Call{}, hold.Answer{}, 0)
		soon = soon || s.change.Now || s.change.Hold.Next != 0 && s.change.Hold.NextAt.Before(now.Add(lookahead))
		if s.before.Version == 0 {
			c.saw(s.change.Hold.ID)
		}
		c.found(s.tell)
	}
	if soon {
		w.Nudge()
	}
	return nil
}

func (c *comparison) saw(intent string) {
	if len(c.seen) >= maxSeen {
		c.more = true
		return
	}
	c.seen[intent] = struct{}{}
}

// rest goes through the open holds that no list told of: placed longer ago than lists reach, or gone.
func (c *comparison) rest(ctx context.Context) error {
	counts, err := c.w.store.Counts(ctx)
	if err != nil {
		return fmt.Errorf("holds can't be counted: %w", err)
	}
	passed := int64(0)
	silent := 0
	return c.walk(ctx, func(found []hold.Listed) error {
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
		if err := c.check(ctx, ask, &silent); err != nil {
			return err
		}
		passed += int64(len(found))
		c.edit(func(r *checkpoint) { r.Percent = 90 + int(10*min(1, float64(passed)/float64(max(1, counts.Open)))) })
		return nil
	})
}

// check reads holds' intents one by one, some at a time. Each hold was read before its intent is, so what is written is never older than what it replaces.
func (c *comparison) check(ctx context.Context, holds []hold.Hold, silent *int) error {
	for part := range slices.Chunk(holds, verifyAtOnce) {
		answers := make([]hold.Answer, len(part))
		ask := func(which func(i int) bool) error {
			var wg sync.WaitGroup
			defer wg.Wait()
			for i := range part {
				if !which(i) {
					continue
				}
				if err := c.turn(ctx, part[i].Account); err != nil {
					return err
				}
				wg.Go(func() { answers[i] = c.w.read(ctx, &part[i], c.w.o.CallTimeout) })
			}
			return nil
		}
		if err := ask(func(int) bool { return true }); err != nil {
			return err
		}
		missing := func(i int) bool { return answers[i].Kind == hold.AnswerMissing }
		for i := range part {
			if missing(i) {
				if err := c.pause(ctx, missTwice); err != nil {
					return err
				}
				break
			}
		}
		if err := ask(missing); err != nil {
			return err
		}
		now := c.w.now()
		var steps []step
		unread := int64(0)
		for i := range part {
			h, a := &part[i], &answers[i]
			switch {
			case a.Kind == hold.AnswerOK && a.Intent != nil:
				*silent = 0
				if s, ok := observe(h, a.Intent, now, c.w.o.Rules); ok {
					steps = append(steps, s)
				}
			case a.Kind == hold.AnswerMissing:
				*silent = 0
				if ch := h.NotFound(now); !ch.Same {
					steps = append(steps, step{before: *h, change: ch, tell: Finding{Kind: FoundAttention, PaymentIntent: h.PaymentIntent, Account: h.Account,
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

// found counts a finding, keeps it while there is room, and tells the log of what a person should see.
func (c *comparison) found(f Finding) {
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
	if f.Kind != FoundOrphan && f.Kind != FoundRejected && f.Kind != FoundUnlisted || c.logged >= maxLoggedAs || !c.w.recon.news(f) {
		return
	}
	c.logged++
	c.tell(f)
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

// tell puts a finding on the stream of events, once: what was told by another run, or by an event of Stripe's, isn't told again.
func (c *comparison) tell(f Finding) {
	ctx, cancel := context.WithTimeout(context.Background(), tellTime)
	defer cancel()
	var err error
	switch f.Kind {
	case FoundOrphan:
		err = c.w.publish(ctx, TypeOrphan, f.PaymentIntent, EventData{Intent: &f})
	case FoundRejected:
		err = c.w.publish(ctx, TypeMetadataRejected, f.PaymentIntent, EventData{Reject: &Reject{Source: "stripe", ID: f.PaymentIntent, Account: f.Account, Reason: f.Detail}})
	}
	if err != nil {
		c.w.storeFailed(ctx, "tell of a finding", err)
	}
}

// news says whether the log has not been told of this lately: a run every quarter of an hour meets the same orphans.
func (r *reconciler) news(f Finding) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(f.Kind) + " " + f.Account + " " + f.PaymentIntent + " " + f.Detail
	now := time.Now()
	if at, there := r.told[key]; there && now.Sub(at) < toldAgain {
		return false
	}
	if r.told == nil || len(r.told) >= maxTold {
		r.told = map[string]time.Time{}
	}
	r.told[key] = now
	return true
}
