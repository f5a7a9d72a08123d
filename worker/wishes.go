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
	checkAtOnce   = 16              // reads at Stripe under way at once for one batch of wishes
	checkPatience = 3 * time.Second // for one of them: a booking system waits for the answer
	maxRounds     = 5               // times a wish is decided anew because somebody else changed the hold meanwhile
)

// Schedule grants wishes, each by itself; the results are in their order. It is checked with Stripe what can be while the budget allows, and
// accepted unchecked otherwise. by says who wishes, for the history.
func (w *Worker) Schedule(ctx context.Context, wishes []hold.Wish, by string) []Scheduled {
	out := make([]Scheduled, len(wishes))
	var todo []int
	for i := range wishes {
		todo = append(todo, i)
	}
	for round := 0; len(todo) > 0; round++ {
		// Of wishes that name the same intent one is granted; the later ones are compared with it.
		first := map[string]int{}
		var now, twins, later []int
		for _, i := range todo {
			if _, seen := first[wishes[i].PaymentIntent]; seen {
				twins = append(twins, i)
			} else {
				first[wishes[i].PaymentIntent] = i
				now = append(now, i)
			}
		}
		conflicts := w.scheduleRound(ctx, wishes, now, out, by)
		for _, i := range twins {
			granted := &out[first[wishes[i].PaymentIntent]]
			switch d, err := wishes[i].Draft(w.now()); {
			case err != nil:
				out[i] = Scheduled{Err: err}
			case granted.Err == nil && granted.Hold.ID != "":
				out[i] = same(d, &granted.Hold)
			default:
				later = append(later, i)
			}
		}
		if round >= len(wishes)+maxRounds {
			for _, i := range append(conflicts, later...) {
				out[i] = Scheduled{Err: fmt.Errorf("others keep changing hold %s: %w", wishes[i].PaymentIntent, ErrUnavailable)}
			}
			break
		}
		todo = append(conflicts, later...)
	}
	return out
}

// scheduleRound decides wishes of different intents and returns those that must be decided again.
func (w *Worker) scheduleRound(ctx context.Context, wishes []hold.Wish, todo []int, out []Scheduled, by string) (conflicts []int) {
	ids := make([]string, len(todo))
	for n, i := range todo {
		ids[n] = wishes[i].PaymentIntent
	}
	fail := func(err error, which []int) {
		for _, i := range which {
			out[i] = Scheduled{Err: err}
		}
	}
	existing, now, err := w.store.Read(ctx, ids...)
	if err != nil { // one that can't be read may be one of these: none is decided without knowing
		fail(w.unavailable(ctx, "read holds", err), todo)
		return nil
	}
	w.sync(now)
	drafts := make([]*hold.Draft, len(todo))
	var check []int // positions in todo
	for n, i := range todo {
		d, err := wishes[i].Draft(now)
		switch {
		case err != nil && existing[n] != nil && errors.Is(err, &hold.Problem{Code: hold.InThePast}):
			// The same wish sent again long after: its times are over by now, but it may be the one that was granted.
			out[i] = w.repeated(&wishes[i], existing[n], err)
		case err != nil:
			out[i] = Scheduled{Err: err}
		case existing[n] != nil:
			out[i] = same(d, existing[n])
		default:
			drafts[n] = d
			if !d.Complete() {
				check = append(check, n)
			}
		}
	}
	truth := w.check(ctx, drafts, check)
	var writes []hold.Write
	var changes []hold.Change
	var which []int
	soon := false
	for n, d := range drafts {
		if d == nil {
			continue
		}
		i := todo[n]
		a := truth[n]
		if a.Kind == hold.AnswerMissing {
			out[i] = Scheduled{Err: &hold.Problem{Code: hold.IntentNotFound, Field: "payment_intent",
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
			out[i] = Scheduled{Err: err}
			continue
		}
		out[i] = Scheduled{Hold: c.Hold, Created: true}
		out[i].Hold.Version = 1
		writes, changes, which = append(writes, w.write(&hold.Hold{}, &c, now)), append(changes, c), append(which, i)
		soon = soon || c.Hold.Next != 0 && c.Hold.NextAt.Before(now.Add(lookahead))
	}
	if len(writes) == 0 {
		return nil
	}
	ok, err := w.insist(ctx, writes)
	if err != nil {
		fail(w.unavailable(ctx, "write holds", err), which)
		return nil
	}
	for n, i := range which {
		if !ok[n] {
			conflicts = append(conflicts, i)
			continue
		}
		w.notice(&changes[n], hold.Call{}, hold.Answer{}, 0)
	}
	if soon {
		w.Nudge()
	}
	return conflicts
}

// insist commits, and if the reply is lost commits the very same once more: the store tells a repeated write from another one.
func (w *Worker) insist(ctx context.Context, writes []hold.Write) (ok []bool, err error) {
	for range 2 {
		if ok, err = w.store.Commit(ctx, writes); err == nil || ctx.Err() != nil {
			return ok, err
		}
	}
	return ok, err
}

func same(d *hold.Draft, h *hold.Hold) Scheduled {
	if h.SameTerms(d) {
		return Scheduled{Hold: *h}
	}
	return Scheduled{Hold: *h, Err: &hold.Problem{Code: hold.HoldExists, Field: "payment_intent",
		Detail: fmt.Sprintf("hold %s is scheduled already, with other terms: change it with PATCH /v1/holds/%s", h.ID, h.ID)}}
}

func (w *Worker) repeated(wish *hold.Wish, h *hold.Hold, past error) Scheduled {
	d, err := wish.Draft(h.CreatedAt)
	if err != nil || !h.SameTerms(d) {
		return Scheduled{Err: past}
	}
	return Scheduled{Hold: *h}
}

// check reads at Stripe what the budget allows, in the order of the wishes. Where it doesn't, and where Stripe doesn't answer, there is no truth.
func (w *Worker) check(ctx context.Context, drafts []*hold.Draft, which []int) map[int]hold.Answer {
	truth := make(map[int]hold.Answer, len(which))
	if len(which) == 0 || w.rejected.Load() {
		return truth
	}
	byAccount := map[string][]int{}
	for _, n := range which {
		byAccount[drafts[n].Account] = append(byAccount[drafts[n].Account], n)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{}, checkAtOnce)
	for _, account := range slices.Sorted(maps.Keys(byAccount)) {
		ns := byAccount[account]
		granted, _, err := w.store.Take(ctx, account, hold.OpRead, len(ns))
		if err != nil {
			w.storeFailed(ctx, "take from the budget", err)
			continue
		}
		for _, n := range ns[:granted] {
			gate <- struct{}{}
			wg.Go(func() {
				defer func() { <-gate }()
				a := w.read(ctx, &hold.Hold{PaymentIntent: drafts[n].ID, Account: account}, checkPatience)
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
	if err := hold.CheckID(id); err != nil {
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

// change decides about a hold and commits it, anew if somebody else was faster. Who was faster may have gone on from this very change, whose reply was lost:
// then it was granted, whatever the hold has come to since.
func (w *Worker) change(ctx context.Context, id string, revision uint64, decide func(h hold.Hold, now time.Time) (hold.Change, error)) (hold.Hold, time.Time, error) {
	var tried *hold.Change
	for range maxRounds {
		h, now, err := w.Get(ctx, id)
		if err != nil {
			return h, now, err
		}
		if tried != nil && h.Follows(&tried.Hold) {
			if !h.SameTermsAs(&tried.Hold) { // it was changed once more, or somebody else said something else in the same millisecond
				return h, now, fmt.Errorf("others keep changing hold %s: %w", id, ErrUnavailable)
			}
			w.notice(tried, hold.Call{}, hold.Answer{}, 0)
			return h, now, nil
		}
		if revision != 0 && revision != h.Revision {
			return h, now, &hold.Problem{Code: hold.RevisionMismatch, Detail: fmt.Sprintf("hold %s is at revision %d, not %d: read it again", id, h.Revision, revision)}
		}
		c, err := decide(h, now)
		if err != nil || c.Same {
			return h, now, err
		}
		ok, err := w.insist(ctx, []hold.Write{w.write(&h, &c, now)})
		if err != nil {
			return h, now, w.unavailable(ctx, "write a hold", err)
		}
		if ok[0] {
			c.Hold.Version = h.Version + 1
			w.notice(&c, hold.Call{}, hold.Answer{}, 0)
			if c.Now || c.Hold.Next != 0 && c.Hold.NextAt.Before(now.Add(lookahead)) {
				w.Nudge()
			}
			return c.Hold, now, nil
		}
		tried = &c
	}
	return hold.Hold{}, time.Time{}, fmt.Errorf("others keep changing hold %s: %w", id, ErrUnavailable)
}

// confirm is change for requests that may make the deadline's policy act at once.
func (w *Worker) confirm(ctx context.Context, id string, revision uint64, confirmed bool, decide func(h hold.Hold, now time.Time) (hold.Change, error)) (hold.Hold, time.Time, error) {
	return w.change(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Change, error) {
		c, err := decide(h, now)
		if err != nil {
			return c, err
		}
		return c.Confirm(&h, confirmed, now, w.o.Rules)
	})
}

// Patch changes a hold's terms; revision 0 means whatever it is. Errors are *hold.Problem or wrap ErrUnavailable, here and below.
func (w *Worker) Patch(ctx context.Context, id string, p hold.Patch, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.confirm(ctx, id, revision, p.Confirm, func(h hold.Hold, now time.Time) (hold.Change, error) { return h.Patched(&p, by, now) })
}

// Capture asks for the money now. It is taken by the worker: the hold tells when it is done. Amount 0 means what the terms say.
func (w *Worker) Capture(ctx context.Context, id string, amount int64, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.change(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Change, error) { return h.Capturing(amount, by, now) })
}

// Cancel asks to let the money go now. Once it is accepted nothing captures the hold any more.
func (w *Worker) Cancel(ctx context.Context, id string, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.change(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Change, error) { return h.Canceling(by, now) })
}

// Pause puts the hold's own time off until it is resumed.
func (w *Worker) Pause(ctx context.Context, id string, revision uint64, confirmed bool, by string) (hold.Hold, time.Time, error) {
	return w.confirm(ctx, id, revision, confirmed, func(h hold.Hold, now time.Time) (hold.Change, error) { return h.Pausing(0, by, now) })
}

// Resume takes a paused hold back to its terms.
func (w *Worker) Resume(ctx context.Context, id string, revision uint64, confirmed bool, by string) (hold.Hold, time.Time, error) {
	return w.confirm(ctx, id, revision, confirmed, func(h hold.Hold, now time.Time) (hold.Change, error) { return h.Resuming(by, now) })
}

// Acknowledge says that a person knows that the hold nears its end.
func (w *Worker) Acknowledge(ctx context.Context, id string, revision uint64, by string) (hold.Hold, time.Time, error) {
	return w.change(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Change, error) { return h.Acknowledging(by, now) })
}

// unavailable is what a caller is told when Redis failed; the cause is for the log.
func (w *Worker) unavailable(ctx context.Context, doing string, err error) error {
	if ctx.Err() == nil {
		w.storeFailed(ctx, doing, err)
		w.log.Debug("a wish could not be granted", zap.String("doing", doing), zap.Error(err))
	}
	return fmt.Errorf("%w (%s)", ErrUnavailable, doing)
}
