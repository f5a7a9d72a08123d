package worker

import (
	"context"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/robfig/cron/v3"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

const (
	sweepBatch       = 256  // holds that a job takes on at once, in each partition
	maxSweepsPerTick = 1000 // times that one tick of a job goes on while there is more
)

// passDueMilestones is the job that watches the deadlines: it warns, lets the policy act, looks after what is past its deadline. It wakes the drain
// loop as well, so that what is ready and leases that ran out are seen to even while the capture job waits for its window.
func (w *Worker) passDueMilestones(ctx context.Context) {
	defer w.Wake()
	for range maxSweepsPerTick {
		found, now, err := w.store.DueMilestones(ctx, sweepBatch)
		if err != nil {
			w.reportStoreError(ctx, "look at the deadlines", err)
		}
		if len(found) == 0 {
			return
		}
		w.syncClock(now)
		if !w.passMilestones(ctx, found, now) || len(found) < sweepBatch {
			return
		}
	}
}

// passMilestones reports whether any of them is behind us now. Of several replicas that look at once, each milestone is passed by one.
func (w *Worker) passMilestones(ctx context.Context, found []hold.DueHold, now time.Time) bool {
	var touches []hold.MilestoneAdvance
	var writes []hold.RecordWrite
	var touched, written []hold.Decision
	for _, m := range found {
		if m.Hold.State == 0 { // a milestone without a hold
			touches, touched = append(touches, hold.MilestoneAdvance{ID: m.Hold.ID, From: m.DueAt}), append(touched, hold.Decision{})
			continue
		}
		c, next := m.Hold.PassMilestone(m.DueAt, now, w.o.Rules)
		if c.Unchanged {
			touches = append(touches, hold.MilestoneAdvance{ID: m.Hold.ID, Version: m.Hold.Version, From: m.DueAt, To: next, Events: w.encodeMilestoneEvents(&c, now)})
			touched = append(touched, c)
			continue
		}
		write := w.newWrite(&m.Hold, &c, now)
		write.Placement.KeepMilestone, write.Placement.KeepOverdueMilestone, write.Placement.NextMilestone = false, false, next
		writes, written = append(writes, write), append(written, c)
	}
	passed := false
	tell := func(ok []bool, err error, changes []hold.Decision) {
		if err != nil {
			w.reportStoreError(ctx, "pass milestones", err)
			return
		}
		for i := range ok {
			if ok[i] {
				passed = true
				w.recordEvents(&changes[i], hold.Call{}, hold.Answer{}, 0)
			}
		}
	}
	if len(touches) > 0 {
		ok, err := w.store.AdvanceMilestones(ctx, touches)
		tell(ok, err, touched)
	}
	if len(writes) > 0 {
		ok, err := w.store.Commit(ctx, writes)
		tell(ok, err, written)
	}
	return passed
}

// minHeartbeatTTL is how long a replica counts as alive after its last report: at least this long, and three turns of the report job.
const minHeartbeatTTL = 45 * time.Second

// heartbeatTTL is how long this replica's word counts.
func (w *Worker) heartbeatTTL() time.Duration {
	s, err := cron.ParseStandard(w.o.Schedules.Report)
	if err != nil {
		return minHeartbeatTTL // refused at the start
	}
	next := s.Next(time.Now())
	return max(minHeartbeatTTL, 3*s.Next(next).Sub(next))
}

// reportStatus is the job that tells how things are.
func (w *Worker) reportStatus(ctx context.Context) {
	if w.o.Observer != nil {
		w.o.Observer.ReadinessChecked(w.Ready(ctx))
	}
	alive, err := w.store.Heartbeat(ctx, w.o.Replica, w.heartbeatTTL())
	if err != nil {
		w.reportStoreError(ctx, "report", err)
		return
	}
	counts, err := w.store.Counts(ctx)
	if err != nil {
		w.reportStoreError(ctx, "report", err)
		return
	}
	nearest := time.Time{}
	if first, _, err := w.store.Page(ctx, hold.SetExpiring, hold.Position{}, 1); err == nil && len(first) > 0 {
		nearest = first[0].Hold.ExpiresAt
	}
	counts.Ready = max(0, counts.Open-counts.Scheduled-counts.Working-counts.Attention)
	w.log.Debug("report", zap.Int64("open", counts.Open), zap.Int64("scheduled", counts.Scheduled), zap.Int64("working", counts.Working),
		zap.Int64("attention", counts.Attention), zap.Int64("settled", counts.Settled), zap.Int64("unverified", counts.Unverified),
		zap.Int("replicas", len(alive)), zap.Time("nearest_deadline", nearest))
	if w.o.Observer != nil {
		w.o.Observer.HoldsCounted(counts, len(alive), nearest)
	}
	w.reportConditions(ctx, alive)
	w.detectDataLoss(ctx)
}

// purgeSettled is the job that forgets holds which ended long ago.
func (w *Worker) purgeSettled(ctx context.Context) {
	before := w.redisNow().Add(-w.o.Retention)
	gone := 0
	for range maxSweepsPerTick {
		found, err := w.store.SettledBefore(ctx, before, sweepBatch)
		if err != nil {
			w.reportStoreError(ctx, "look for what is to be purged", err)
		}
		writes := make([]hold.RecordWrite, 0, len(found))
		for _, m := range found {
			if m.Hold.State.Final() {
				writes = append(writes, hold.RecordWrite{Version: m.Hold.Version, Hold: m.Hold, PreviousReference: m.Hold.Reference, Drop: true})
			}
		}
		if len(writes) == 0 {
			break
		}
		ok, err := w.store.Commit(ctx, writes)
		if err != nil {
			w.reportStoreError(ctx, "purge", err)
			return
		}
		for _, done := range ok {
			if done {
				gone++
			}
		}
	}
	if err := w.store.PruneConsumers(ctx); err != nil {
		w.reportStoreError(ctx, "tidy the inbox", err)
	}
	if gone > 0 {
		w.log.Info("purged settled holds", zap.Int("holds", gone), zap.Duration("older_than", w.o.Retention))
	}
}

const (
	verifyBatch   = 100 // holds checked in one tick
	verifyByList  = 10  // from so many on, pages of the list are cheaper than single reads
	verifyPages   = 5   // pages of the list in one tick and account
	verifyPerPage = 100
	verifyAtOnce  = 8 // single reads under way at once
)

// verifyUnverified checks in the background what was accepted on the caller's word, those first whose time is nearest. Many of one account are looked up
// through the list, newest first, since most were placed just now; the rest one by one.
func (w *Worker) verifyUnverified(ctx context.Context) {
	if w.keyRejected.Load() || w.breaker.State() != gobreaker.StateClosed {
		w.probeStripe(ctx)
		return
	}
	found, now, err := w.store.Unverified(ctx, verifyBatch)
	if err != nil {
		w.reportStoreError(ctx, "look for unverified holds", err)
	}
	w.syncClock(now)
	accounts := map[string][]hold.Hold{}
	var order []string
	for _, m := range found[:min(len(found), verifyBatch)] {
		if m.Hold.State == 0 || m.Hold.State.Final() || m.Hold.State == hold.Working {
			continue
		}
		a := m.Hold.Account
		if accounts[a] == nil {
			order = append(order, a)
		}
		accounts[a] = append(accounts[a], m.Hold)
	}
	for _, a := range order {
		holds := accounts[a]
		if len(holds) > verifyByList {
			holds = w.verifyByList(ctx, a, holds)
		}
		w.verifyOneByOne(ctx, a, holds)
	}
}

// probeStripe asks Stripe something harmless, so that work resumes though nothing is due: whether it is back, whether it takes the key again.
func (w *Worker) probeStripe(ctx context.Context) {
	if w.keyRejected.Load() && time.Since(w.lastProbe) < keyProbeInterval {
		return // a key doesn't get better by asking every few seconds
	}
	w.lastProbe = time.Now()
	done, err := w.breaker.Allow()
	if err != nil {
		return
	}
	check, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	w.recordAnswer(done, w.stripe.Check(check))
	w.Wake()
}

// keyProbeInterval is how often a rejected key is tried again.
const keyProbeInterval = 30 * time.Second

// verifyByList returns the holds that the first pages of the list did not tell of.
func (w *Worker) verifyByList(ctx context.Context, account string, holds []hold.Hold) []hold.Hold {
	wanted := map[string]hold.Hold{}
	for _, h := range holds {
		wanted[h.PaymentIntent] = h
	}
	after := ""
	for range verifyPages {
		if granted, _, err := w.store.TryReserve(ctx, account, hold.OpRead, 1); err != nil || granted == 0 {
			break
		}
		page, more, a := w.listIntents(ctx, account, after)
		if a.Kind != hold.AnswerOK || len(page) == 0 {
			break
		}
		hits := 0
		for i := range page {
			if h, ok := wanted[page[i].ID]; ok {
				hits++
				delete(wanted, page[i].ID)
				w.applyIntent(ctx, &h, &page[i])
			}
		}
		after = page[len(page)-1].ID
		// A page that tells of fewer holds than it would cost single reads isn't worth another.
		if !more || hits < 2 || len(wanted) == 0 {
			break
		}
	}
	rest := holds[:0]
	for _, h := range holds {
		if _, ok := wanted[h.PaymentIntent]; ok {
			rest = append(rest, h)
		}
	}
	return rest
}

func (w *Worker) verifyOneByOne(ctx context.Context, account string, holds []hold.Hold) {
	if len(holds) == 0 {
		return
	}
	granted, _, err := w.store.TryReserve(ctx, account, hold.OpRead, len(holds))
	if err != nil {
		w.reportStoreError(ctx, "take from the budget", err)
		return
	}
	gate := make(chan struct{}, verifyAtOnce)
	var wg sync.WaitGroup
	for _, h := range holds[:granted] {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			a := w.retrieveHold(ctx, &h, w.o.CallTimeout)
			switch {
			case a.Kind == hold.AnswerOK && a.Intent != nil:
				w.applyIntent(ctx, &h, a.Intent)
			case a.Kind == hold.AnswerNotFound:
				c := h.ApplyNotFound(w.redisNow())
				w.commitDecision(ctx, &h, &c)
			}
		})
	}
	wg.Wait()
}

// applyIntent brings a hold to what Stripe says of its intent, unless somebody else changes it meanwhile: then it is checked again.
func (w *Worker) applyIntent(ctx context.Context, h *hold.Hold, in *hold.Intent) {
	c := h.ApplyIntent(in, w.redisNow())
	w.commitDecision(ctx, h, &c)
}

func (w *Worker) commitDecision(ctx context.Context, before *hold.Hold, c *hold.Decision) {
	if c.Unchanged {
		return
	}
	ok, err := w.store.Commit(ctx, []hold.RecordWrite{w.newWrite(before, c, w.redisNow())})
	if err != nil {
		w.reportStoreError(ctx, "write what Stripe says", err)
		return
	}
	if ok[0] {
		w.recordEvents(c, hold.Call{}, hold.Answer{}, 0)
	}
}

// retrieveHold retrieves a hold's intent, outside of any claim. The caller has taken it from the budget.
func (w *Worker) retrieveHold(ctx context.Context, h *hold.Hold, timeout time.Duration) hold.Answer {
	return w.callRead(ctx, h.Account, timeout, func(ctx context.Context) hold.Answer {
		return w.stripe.Do(ctx, hold.Call{Op: hold.OpRead, PaymentIntent: h.PaymentIntent, Account: h.Account})
	})
}

func (w *Worker) listIntents(ctx context.Context, account, after string) (page []hold.Intent, more bool, a hold.Answer) {
	a = w.callRead(ctx, account, w.o.CallTimeout, func(ctx context.Context) (a hold.Answer) {
		page, more, a = w.stripe.List(ctx, account, after, verifyPerPage)
		return a
	})
	return page, more, a
}

// callRead sends a request that reads only, through the breaker.
func (w *Worker) callRead(ctx context.Context, account string, timeout time.Duration, f func(context.Context) hold.Answer) hold.Answer {
	return w.callOutsideClaim(ctx, account, hold.OpRead, timeout, f)
}

// callOutsideClaim sends a request that is outside of any claim and can be repeated without harm, through the breaker.
func (w *Worker) callOutsideClaim(ctx context.Context, account string, op hold.Op, timeout time.Duration, f func(context.Context) hold.Answer) hold.Answer {
	done, err := w.breaker.Allow()
	if err != nil {
		return hold.Answer{Kind: hold.AnswerUnreachable}
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	a := f(bounded)
	if ctx.Err() != nil {
		done(nil) // the caller went away: that says nothing about Stripe
		return hold.Answer{Kind: hold.AnswerUnknown}
	}
	w.recordAnswer(done, a)
	if w.o.Observer != nil {
		w.o.Observer.CallFinished(op, a.Kind, time.Since(began))
	}
	w.pauseIfLimited(ctx, account, op, a)
	return a
}
