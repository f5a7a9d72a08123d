package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	maxConcurrentRetrieves = 16              // reads at Stripe under way at once for one batch of wishes
	interactiveTimeout     = 3 * time.Second // for one of them: a booking system waits for the answer
	maxConflictRetries     = 5               // times a wish is decided anew because somebody else changed the hold meanwhile
)

// Schedule grants wishes, each by itself; the results are in their order. It is checked with Stripe what can be while the budget allows, and
// accepted unchecked otherwise. by says who wishes, for the history.
func (w *Worker) Schedule(ctx context.Context, reqs []hold.ScheduleRequest, by string) []ScheduleResult {
	out := make([]ScheduleResult, len(reqs))
	var todo []int
	for i := range reqs {
		todo = append(todo, i)
	}
	for round := 0; len(todo) > 0; round++ {
		// Of wishes that name the same intent one is granted; the later ones are compared with it.
		first := map[string]int{}
		var now, twins, later []int
		for _, i := range todo {
			if _, seen := first[reqs[i].PaymentIntent]; seen {
				twins = append(twins, i)
			} else {
				first[reqs[i].PaymentIntent] = i
				now = append(now, i)
			}
		}
		conflicts := w.scheduleOnce(ctx, reqs, now, out, by)
		for _, i := range twins {
			granted := &out[first[reqs[i].PaymentIntent]]
			switch d, err := reqs[i].Validate(w.redisNow()); {
			case err != nil:
				out[i] = ScheduleResult{Err: err}
			case granted.Err == nil && granted.Hold.ID != "":
				out[i] = compareTerms(d, &granted.Hold)
			default:
				later = append(later, i)
			}
		}
		if round >= len(reqs)+maxConflictRetries {
			for _, i := range append(conflicts, later...) {
				out[i] = ScheduleResult{Err: fmt.Errorf("others keep changing hold %s: %w", reqs[i].PaymentIntent, ErrUnavailable)}
			}
			break
		}
		todo = append(conflicts, later...)
	}
	return out
}

// scheduleOnce decides wishes of different intents and returns those that must be decided again.
func (w *Worker) scheduleOnce(ctx context.Context, reqs []hold.ScheduleRequest, todo []int, out []ScheduleResult, by string) (conflicts []int) {
	ids := make([]string, len(todo))
	for n, i := range todo {
		ids[n] = reqs[i].PaymentIntent
	}
	fail := func(err error, which []int) {
		for _, i := range which {
			out[i] = ScheduleResult{Err: err}
		}
	}
	existing, now, err := w.store.Read(ctx, ids...)
	if err != nil { // one that can't be read may be one of these: none is decided without knowing
		fail(w.unavailable(ctx, "read holds", err), todo)
		return nil
	}
	w.syncClock(now)
	drafts := make([]*hold.Draft, len(todo))
	var check []int // positions in todo
	for n, i := range todo {
		d, err := reqs[i].Validate(now)
		switch {
		case err != nil && existing[n] != nil && errors.Is(err, &hold.Problem{Code: hold.InThePast}):
			// The same wish sent again long after: its times are over by now, but it may be the one that was granted.
			out[i] = w.repeatedRequest(&reqs[i], existing[n], err)
		case err != nil:
			out[i] = ScheduleResult{Err: err}
		case existing[n] != nil:
			out[i] = compareTerms(d, existing[n])
		default:
			drafts[n] = d
			if !d.NeedsNoRead() {
				check = append(check, n)
			}
		}
	}
	truth := w.retrieveIntents(ctx, drafts, check)
	var writes []hold.RecordWrite
	var changes []hold.Decision
	var which []int
	soon := false
	for n, d := range drafts {
		if d == nil {
			continue
		}
		i := todo[n]
		a := truth[n]
		if a.Kind == hold.AnswerNotFound {
			out[i] = ScheduleResult{Err: &hold.Problem{Code: hold.IntentNotFound, Field: "payment_intent",
				Detail: fmt.Sprintf("Stripe doesn't know %s under this key and account: check the id, the account, and test or live mode", d.ID)}}
			continue
		}
		var in *hold.Intent
		if a.Kind == hold.AnswerOK {
			in = a.Intent
		}
		c, err := hold.New(d, in, by, now)
		if err == nil {
			c, err = c.Confirm(&hold.Hold{}, d.Confirm, now, w.o.Rules)
		}
		if err != nil {
			out[i] = ScheduleResult{Err: err}
			continue
		}
		out[i] = ScheduleResult{Hold: c.Hold, Created: true}
		out[i].Hold.Version = 1
		writes, changes, which = append(writes, w.newWrite(&hold.Hold{}, &c, now)), append(changes, c), append(which, i)
		soon = soon || c.Hold.NextOp != 0 && c.Hold.NextAt.Before(now.Add(lookahead))
	}
	if len(writes) == 0 {
		return nil
	}
	ok, err := w.commitWithRetry(ctx, writes)
	if err != nil {
		fail(w.unavailable(ctx, "write holds", err), which)
		return nil
	}
	for n, i := range which {
		if !ok[n] {
			conflicts = append(conflicts, i)
			continue
		}
		w.recordEvents(&changes[n], hold.Call{}, hold.Answer{}, 0)
	}
	if soon {
		w.Wake()
	}
	return conflicts
}

// commitWithRetry commits, and if the reply is lost commits the very same once more: the store tells a repeated write from another one.
func (w *Worker) commitWithRetry(ctx context.Context, writes []hold.RecordWrite) (ok []bool, err error) {
	for range 2 {
		if ok, err = w.store.Commit(ctx, writes); err == nil || ctx.Err() != nil {
			return ok, err
		}
	}
	return ok, err
}

func compareTerms(d *hold.Draft, h *hold.Hold) ScheduleResult {
	if h.SameTerms(d) {
		return ScheduleResult{Hold: *h}
	}
	return ScheduleResult{Hold: *h, Err: &hold.Problem{Code: hold.HoldExists, Field: "payment_intent",
		Detail: fmt.Sprintf("hold %s is scheduled already, with other terms: change it with PATCH /v1/holds/%s", h.ID, h.ID)}}
}

func (w *Worker) repeatedRequest(req *hold.ScheduleRequest, h *hold.Hold, past error) ScheduleResult {
	d, err := req.Validate(h.CreatedAt)
	if err != nil || !h.SameTerms(d) {
		return ScheduleResult{Err: past}
	}
	return ScheduleResult{Hold: *h}
}

// retrieveIntents reads at Stripe what the budget allows, in the order of the wishes. Where it doesn't, and where Stripe doesn't answer, there is no truth.
func (w *Worker) retrieveIntents(ctx context.Context, drafts []*hold.Draft, which []int) map[int]hold.Answer {
	truth := make(map[int]hold.Answer, len(which))
	if len(which) == 0 || w.keyRejected.Load() {
		return truth
	}
	byAccount := map[string][]int{}
	for _, n := range which {
		byAccount[drafts[n].Account] = append(byAccount[drafts[n].Account], n)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{}, maxConcurrentRetrieves)
	for _, account := range slices.Sorted(maps.Keys(byAccount)) {
		ns := byAccount[account]
		granted, _, err := w.store.TryReserve(ctx, account, hold.OpRead, len(ns))
		if err != nil {
			w.reportStoreError(ctx, "take from the budget", err)
			continue
		}
		for _, n := range ns[:granted] {
			gate <- struct{}{}
			wg.Go(func() {
				defer func() { <-gate }()
				a := w.retrieveHold(ctx, &hold.Hold{PaymentIntent: drafts[n].ID, Account: account}, interactiveTimeout)
				mu.Lock()
				defer mu.Unlock()
				truth[n] = a
			})
		}
	}
	wg.Wait()
	return truth
}

// Get returns a hold and Redis' time. Errors are *hold.Problem or wrap ErrUnavailable.
func (w *Worker) Get(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if err := hold.CheckPaymentIntentID(id); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	holds, now, err := w.store.Read(ctx, id)
	if err != nil {
		return hold.Hold{}, now, w.unavailable(ctx, "read a hold", err)
	}
	if holds[0] == nil {
		return hold.Hold{}, now, &hold.Problem{Code: hold.HoldNotFound, Detail: fmt.Sprintf("there is no hold %s: schedule it first", id)}
	}
	return *holds[0], now, nil
}

// changeHold decides about a hold and commits it, anew if somebody else was faster. Who was faster may have gone on from this very change, whose reply was lost:
// then it was granted, whatever the hold has come to since.
func (w *Worker) changeHold(ctx context.Context, id string, revision uint64, decide func(h hold.Hold, now time.Time) (hold.Decision, error)) (hold.Hold, time.Time, error) {
	var tried *hold.Decision
	for range maxConflictRetries {
		h, now, err := w.Get(ctx, id)
		if err != nil {
			return h, now, err
		}
		if tried != nil && h.HistoryIncludes(&tried.Hold) {
			if !h.SameTermsAs(&tried.Hold) { // it was changed once more, or somebody else said something else in the same millisecond
				return h, now, fmt.Errorf("others keep changing hold %s: %w", id, ErrUnavailable)
			}
			w.recordEvents(tried, hold.Call{}, hold.Answer{}, 0)
			return h, now, nil
		}
		if revision != 0 && revision != h.Revision {
			return h, now, &hold.Problem{Code: hold.RevisionMismatch, Detail: fmt.Sprintf("hold %s is at revision %d, not %d: read it again", id, h.Revision, revision)}
		}
		c, err := decide(h, now)
		if err != nil || c.Unchanged {
			return h, now, err
		}
		ok, err := w.commitWithRetry(ctx, []hold.RecordWrite{w.newWrite(&h, &c, now)})
		if err != nil {
			return h, now, w.unavailable(ctx, "write a hold", err)
		}
		if ok[0] {
			c.Hold.Version = h.Version + 1
			w.recordEvents(&c, hold.Call{}, hold.Answer{}, 0)
			if c.Again || c.Hold.NextOp != 0 && c.Hold.NextAt.Before(now.Add(lookahead)) {
				w.Wake()
			}
			return c.Hold, now, nil
		}
		tried = &c
	}
	return hold.Hold{}, time.Time{}, fmt.Errorf("others keep changing hold %s: %w", id, ErrUnavailable)
}

// confirm is change for requests that may make the deadline's policy act at once.
func (w *Worker) confirm(ctx context.Context, id string, revision uint64, confirmed bool, decide func(h hold.Hold, now time.Time) (hold.Decision, error)) (hold.Hold, time.Time, error) {
	return w.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		c, err := decide(h, now)
		if err != nil {
			return c, err
		}
		return c.Confirm(&h, confirmed, now, w.o.Rules)
	})
}

// Patch changes a hold's terms; revision 0 means whatever it is. Errors are *hold.Problem or wrap ErrUnavailable, here and below.
func (w *Worker) Patch(ctx context.Context, id string, p hold.Patch, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.confirm(ctx, id, revision, p.Confirm, func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.ApplyPatch(&p, by, now) })
}

// Capture asks for the money now. It is taken by the worker: the hold tells when it is done. Amount 0 means what the terms say.
func (w *Worker) Capture(ctx context.Context, id string, amount int64, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.RequestCapture(amount, by, now) })
}

// Cancel asks to let the money go now. Once it is accepted nothing captures the hold any more.
func (w *Worker) Cancel(ctx context.Context, id string, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.RequestCancel(by, now) })
}

// Pause puts the hold's own time off until it is resumed.
func (w *Worker) Pause(ctx context.Context, id string, revision uint64, confirmed bool, by string) (hold.Hold, time.Time, error) {
	return w.confirm(ctx, id, revision, confirmed, func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Pause(0, by, now) })
}

// Resume takes a paused hold back to its terms.
func (w *Worker) Resume(ctx context.Context, id string, revision uint64, confirmed bool, by string) (hold.Hold, time.Time, error) {
	return w.confirm(ctx, id, revision, confirmed, func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Resume(by, now) })
}

// Acknowledge says that a person knows that the hold nears its end.
func (w *Worker) Acknowledge(ctx context.Context, id string, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Acknowledge(by, now) })
}

// unavailable is what a caller is told when Redis failed; the cause is for the log.
func (w *Worker) unavailable(ctx context.Context, doing string, err error) error {
	if ctx.Err() == nil {
		w.reportStoreError(ctx, doing, err)
		w.log.Debug("a wish could not be granted", zap.String("doing", doing), zap.Error(err))
	}
	return fmt.Errorf("%w (%s)", ErrUnavailable, doing)
}
