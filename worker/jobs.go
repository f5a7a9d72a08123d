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
	sweepSize = 256  // holds that a job takes on at once, in each partition
	maxSweeps = 1000 // times that one tick of a job goes on while there is more
)

// expiry is the job that watches the deadlines: it warns, lets the policy act, looks after what is past its deadline. It wakes the drain
// loop as well, so that what is ready and leases that ran out are seen to even while the capture job waits for its window.
func (w *Worker) expiry(ctx context.Context) {
	defer w.Nudge()
	for range maxSweeps {
		found, now, err := w.store.Milestones(ctx, sweepSize)
		if err != nil {
			w.storeFailed(ctx, "look at the deadlines", err)
		}
		if len(found) == 0 {
			return
		}
		w.sync(now)
		if !w.passMilestones(ctx, found, now) || len(found) < sweepSize {
			return
		}
	}
}

// passMilestones reports whether any of them is behind us now. Of several replicas that look at once, each milestone is passed by one.
func (w *Worker) passMilestones(ctx context.Context, found []hold.Milestone, now time.Time) bool {
	var touches []hold.Touch
	var writes []hold.Write
	var touched, written []hold.Change
	for _, m := range found {
		if m.Hold.State == 0 { // a milestone without a hold
			touches, touched = append(touches, hold.Touch{ID: m.Hold.ID, Was: m.Due}), append(touched, hold.Change{})
			continue
		}
		c, next := m.Hold.Milestone(m.Due, now, w.o.Rules)
		if c.Same {
			touches = append(touches, hold.Touch{ID: m.Hold.ID, Version: m.Hold.Version, Was: m.Due, New: next, Events: w.passing(&c, now)})
			touched = append(touched, c)
			continue
		}
		write := w.write(&m.Hold, &c, now)
		write.Place.Keep, write.Place.Overdue, write.Place.Milestone = false, false, next
		writes, written = append(writes, write), append(written, c)
	}
	passed := false
	tell := func(ok []bool, err error, changes []hold.Change) {
		if err != nil {
			w.storeFailed(ctx, "pass milestones", err)
			return
		}
		for i := range ok {
			if ok[i] {
				passed = true
				w.notice(&changes[i], hold.Call{}, hold.Answer{}, 0)
			}
		}
	}
	if len(touches) > 0 {
		ok, err := w.store.Touch(ctx, touches)
		tell(ok, err, touched)
	}
	if len(writes) > 0 {
		ok, err := w.store.Commit(ctx, writes)
		tell(ok, err, written)
	}
	return passed
}

// heartbeat is how long a replica counts as alive after its last report: at least this long, and three turns of the report job.
const heartbeat = 45 * time.Second

// beat is how long this replica's word counts.
func (w *Worker) beat() time.Duration {
	s, err := cron.ParseStandard(w.o.Schedules.Report)
	if err != nil {
		return heartbeat // refused at the start
	}
	next := s.Next(time.Now())
	return max(heartbeat, 3*s.Next(next).Sub(next))
}

// report is the job that tells how things are.
func (w *Worker) report(ctx context.Context) {
	if w.o.Observer != nil {
		w.o.Observer.Reported(w.Ready(ctx))
	}
	alive, err := w.store.Beat(ctx, w.o.Replica, w.beat())
	if err != nil {
		w.storeFailed(ctx, "report", err)
		return
	}
	counts, err := w.store.Counts(ctx)
	if err != nil {
		w.storeFailed(ctx, "report", err)
		return
	}
	nearest := time.Time{}
	if first, _, err := w.store.Page(ctx, hold.SetExpiring, hold.Mark{}, 1); err == nil && len(first) > 0 {
		nearest = first[0].Hold.ExpiresAt
	}
	counts.Ready = max(0, counts.Open-counts.Scheduled-counts.Working-counts.Attention)
	w.log.Debug("report", zap.Int64("open", counts.Open), zap.Int64("scheduled", counts.Scheduled), zap.Int64("working", counts.Working),
		zap.Int64("attention", counts.Attention), zap.Int64("settled", counts.Settled), zap.Int64("unverified", counts.Unverified),
		zap.Int("replicas", len(alive)), zap.Time("nearest_deadline", nearest))
	if w.o.Observer != nil {
		w.o.Observer.Counted(counts, len(alive), nearest)
	}
	w.tellConditions(ctx, alive)
	w.watch(ctx)
}

// purge is the job that forgets holds which ended long ago.
func (w *Worker) purge(ctx context.Context) {
	before := w.now().Add(-w.o.Retention)
	gone := 0
	for range maxSweeps {
		found, err := w.store.Settled(ctx, before, sweepSize)
		if err != nil {
			w.storeFailed(ctx, "look for what is to be purged", err)
		}
		writes := make([]hold.Write, 0, len(found))
		for _, m := range found {
			if m.Hold.State.Final() {
				writes = append(writes, hold.Write{Version: m.Hold.Version, Hold: m.Hold, Was: m.Hold.Reference, Drop: true})
			}
		}
		if len(writes) == 0 {
			break
		}
		ok, err := w.store.Commit(ctx, writes)
		if err != nil {
			w.storeFailed(ctx, "purge", err)
			return
		}
		for _, done := range ok {
			if done {
				gone++
			}
		}
	}
	if err := w.store.Tidy(ctx); err != nil {
		w.storeFailed(ctx, "tidy the inbox", err)
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

// verify checks in the background what was accepted on the caller's word, those first whose time is nearest. Many of one account are looked up
// through the list, newest first, since most were placed just now; the rest one by one.
func (w *Worker) verify(ctx context.Context) {
	if w.rejected.Load() || w.breaker.State() != gobreaker.StateClosed {
		w.probe(ctx)
		return
	}
	found, now, err := w.store.Unverified(ctx, verifyBatch)
	if err != nil {
		w.storeFailed(ctx, "look for unverified holds", err)
	}
	w.sync(now)
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

// probe asks Stripe something harmless, so that work resumes though nothing is due: whether it is back, whether it takes the key again.
func (w *Worker) probe(ctx context.Context) {
	if w.rejected.Load() && time.Since(w.probed) < keyProbe {
		return // a key doesn't get better by asking every few seconds
	}
	w.probed = time.Now()
	done, err := w.breaker.Allow()
	if err != nil {
		return
	}
	check, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	w.judge(done, w.stripe.Check(check))
	w.Nudge()
}

// keyProbe is how often a rejected key is tried again.
const keyProbe = 30 * time.Second

// verifyByList returns the holds that the first pages of the list did not tell of.
func (w *Worker) verifyByList(ctx context.Context, account string, holds []hold.Hold) []hold.Hold {
	wanted := map[string]hold.Hold{}
	for _, h := range holds {
		wanted[h.PaymentIntent] = h
	}
	after := ""
	for range verifyPages {
		if granted, _, err := w.store.Take(ctx, account, hold.OpRead, 1); err != nil || granted == 0 {
			break
		}
		page, more, a := w.list(ctx, account, after)
		if a.Kind != hold.AnswerOK || len(page) == 0 {
			break
		}
		hits := 0
		for i := range page {
			if h, ok := wanted[page[i].ID]; ok {
				hits++
				delete(wanted, page[i].ID)
				w.observed(ctx, &h, &page[i])
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
	granted, _, err := w.store.Take(ctx, account, hold.OpRead, len(holds))
	if err != nil {
		w.storeFailed(ctx, "take from the budget", err)
		return
	}
	gate := make(chan struct{}, verifyAtOnce)
	var wg sync.WaitGroup
	for _, h := range holds[:granted] {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			a := w.read(ctx, &h, w.o.CallTimeout)
			switch {
			case a.Kind == hold.AnswerOK && a.Intent != nil:
				w.observed(ctx, &h, a.Intent)
			case a.Kind == hold.AnswerMissing:
				c := h.NotFound(w.now())
				w.save(ctx, &h, &c)
			}
		})
	}
	wg.Wait()
}

// observed brings a hold to what Stripe says of its intent, unless somebody else changes it meanwhile: then it is checked again.
func (w *Worker) observed(ctx context.Context, h *hold.Hold, in *hold.Intent) {
	c := h.Observed(in, w.now())
	w.save(ctx, h, &c)
}

func (w *Worker) save(ctx context.Context, before *hold.Hold, c *hold.Change) {
	if c.Same {
		return
	}
	ok, err := w.store.Commit(ctx, []hold.Write{w.write(before, c, w.now())})
	if err != nil {
		w.storeFailed(ctx, "write what Stripe says", err)
		return
	}
	if ok[0] {
		w.notice(c, hold.Call{}, hold.Answer{}, 0)
	}
}

// read retrieves a hold's intent, outside of any claim. The caller has taken it from the budget.
func (w *Worker) read(ctx context.Context, h *hold.Hold, timeout time.Duration) hold.Answer {
	return w.ask(ctx, h.Account, timeout, func(ctx context.Context) hold.Answer {
		return w.stripe.Do(ctx, hold.Call{Op: hold.OpRead, PaymentIntent: h.PaymentIntent, Account: h.Account})
	})
}

func (w *Worker) list(ctx context.Context, account, after string) (page []hold.Intent, more bool, a hold.Answer) {
	a = w.ask(ctx, account, w.o.CallTimeout, func(ctx context.Context) (a hold.Answer) {
		page, more, a = w.stripe.List(ctx, account, after, verifyPerPage)
		return a
	})
	return page, more, a
}

// ask sends a request that reads only, through the breaker.
func (w *Worker) ask(ctx context.Context, account string, timeout time.Duration, f func(context.Context) hold.Answer) hold.Answer {
	return w.request(ctx, account, hold.OpRead, timeout, f)
}

// request sends a request that is outside of any claim and can be repeated without harm, through the breaker.
func (w *Worker) request(ctx context.Context, account string, op hold.Op, timeout time.Duration, f func(context.Context) hold.Answer) hold.Answer {
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
	w.judge(done, a)
	if w.o.Observer != nil {
		w.o.Observer.Called(op, a.Kind, time.Since(began))
	}
	w.throttle(ctx, account, op, a)
	return a
}
