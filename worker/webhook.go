package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// WebhookStore is what the worker needs of the store about what Stripe tells by itself.
type WebhookStore interface {
	RequestRefresh(ctx context.Context, id, account string, adoptUnknown bool) error
	PendingRefreshes(ctx context.Context, n int) ([]hold.PendingRefresh, time.Time, error)
	FinishRefresh(ctx context.Context, l hold.PendingRefresh, again time.Time) error
}

// WrongMode is the code of an event of the other mode: test money's at a holdd for live money, or the other way round.
const WrongMode hold.Code = "wrong_mode"

// handledEvents are the events that can concern a hold. What the others tell is told by one of these as well, or is of no concern.
var handledEvents = map[string]bool{
	"payment_intent.amount_capturable_updated": true, "payment_intent.succeeded": true, "payment_intent.canceled": true,
	"payment_intent.payment_failed": true, "payment_intent.requires_action": true,
	"charge.captured": true, "charge.expired": true, "charge.updated": true, "review.opened": true, "review.closed": true,
}

// ApplyStripeEvent takes in what Stripe tells by a signed event. Once it returns without an error, what that means is in the store: the hold is settled or
// changed, or it is going to be looked at, or it is remembered for when the hold comes. The result says which, for people: settled, changed,
// noted, ignored. Errors are *hold.Problem, or wrap ErrUnavailable: then Stripe is to send it again.
func (w *Worker) ApplyStripeEvent(ctx context.Context, e hold.StripeEvent) (result string, err error) {
	switch {
	case e.Livemode != w.o.Livemode && e.Account != "":
		return "ignored", nil // an endpoint for connected accounts gets the events of both modes
	case e.Livemode != w.o.Livemode:
		return "", &hold.Problem{Code: WrongMode, Detail: "this event is of the other mode: compare the endpoint's secret and STRIPE_API_KEY, one is of test mode and one is live"}
	case !handledEvents[e.Type] || e.PaymentIntent == "" || e.AutomaticCapture:
		return "ignored", nil
	}
	for range maxConflictRetries {
		holds, now, err := w.store.Read(ctx, e.PaymentIntent)
		if err != nil {
			return "", w.unavailable(ctx, "read a hold", err)
		}
		w.syncClock(now)
		h := holds[0]
		if h == nil {
			return w.rememberUnknownIntent(ctx, &e)
		}
		c, hearing := h.ApplyStripeEvent(&e, now)
		if hearing == hold.EventRetryLater {
			return "", fmt.Errorf("hold %s is being worked on: %w", h.ID, ErrUnavailable)
		}
		if hearing == hold.EventNeedsRead {
			// Before the change: should that be all that gets done, the look finds the rest.
			if err := w.store.RequestRefresh(ctx, h.ID, h.Account, false); err != nil {
				return "", w.unavailable(ctx, "note an event", err)
			}
			result = "noted"
		}
		if c.Unchanged {
			if result == "" {
				result = "ignored"
			}
			return result, nil
		}
		ok, err := w.commitWithRetry(ctx, []hold.RecordWrite{w.newWrite(h, &c, now)})
		if err != nil {
			return "", w.unavailable(ctx, "write a hold", err)
		}
		if ok[0] {
			w.recordDecision(&c, now)
			if c.Hold.State.Final() {
				return "settled", nil
			}
			return "changed", nil
		}
	}
	return "", fmt.Errorf("others keep changing hold %s: %w", e.PaymentIntent, ErrUnavailable)
}

// rememberUnknownIntent keeps what is told of an intent that is no hold: one whose metadata has terms is looked at, any other is remembered.
func (w *Worker) rememberUnknownIntent(ctx context.Context, e *hold.StripeEvent) (string, error) {
	if e.Type == "charge.updated" {
		return "ignored", nil // comes with every payment there is, and tells nothing that the others don't
	}
	adoptUnknown := false
	if e.Intent != nil && e.Intent.Status == hold.StatusRequiresCapture {
		_, _, adoptUnknown, _ = hold.RequestFromMetadata(e.Intent, e.Account) // what is wrong with them is told by what stands at Stripe when it is read
	}
	if err := w.store.RequestRefresh(ctx, e.PaymentIntent, e.Account, adoptUnknown); err != nil {
		return "", w.unavailable(ctx, "note an event", err)
	}
	return "noted", nil
}

// recordDecision logs a change that was committed outside of any claim, and wakes the drain loop if there is something to do.
func (w *Worker) recordDecision(c *hold.Decision, now time.Time) {
	w.recordEvents(c, hold.Call{}, hold.Answer{}, 0)
	if c.Again || c.Hold.NextOp != 0 && c.Hold.NextAt.Before(now.Add(lookahead)) {
		w.Wake()
	}
}

const (
	refreshBatch      = 100             // looks that one sweep takes on in each partition
	refreshTimeBudget = 5 * time.Second // that one tick goes on while there is more
	refreshRetryAfter = 5 * time.Second // until a look that came to nothing is tried again
)

// refreshPending is the job that reads at Stripe what events have told of. However many events there were, each intent is read once.
func (w *Worker) refreshPending(ctx context.Context) {
	for end := time.Now().Add(refreshTimeBudget); ctx.Err() == nil && time.Now().Before(end); {
		if w.keyRejected.Load() || w.breaker.State() != gobreaker.StateClosed {
			return // the verify job asks whether Stripe is back
		}
		refreshes, now, err := w.store.PendingRefreshes(ctx, refreshBatch)
		if err != nil {
			w.reportStoreError(ctx, "look for what Stripe told of", err)
		}
		w.syncClock(now)
		if len(refreshes) == 0 || !w.refreshIntents(ctx, refreshes, end) {
			return
		}
	}
}

// refreshIntents reads what the budget allows until the time is over. It reports whether all were seen to.
func (w *Worker) refreshIntents(ctx context.Context, refreshes []hold.PendingRefresh, end time.Time) bool {
	queues := map[string][]hold.PendingRefresh{}
	var accounts []string
	for _, l := range refreshes {
		switch {
		case l.Hold.State == hold.Working: // its worker meets the same truth, or gives it back
			w.finishRefresh(ctx, l, w.redisNow().Add(refreshRetryAfter))
			continue
		case l.Hold.State == 0 && !l.AdoptUnknown, l.Hold.State.Final():
			w.finishRefresh(ctx, l, time.Time{})
			continue
		}
		a := l.Hold.Account
		if queues[a] == nil {
			accounts = append(accounts, a)
		}
		queues[a] = append(queues[a], l)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	gate := make(chan struct{}, verifyAtOnce)
	for len(accounts) > 0 {
		pause, left := time.Duration(0), accounts[:0]
		for _, a := range accounts {
			granted, wait, err := w.store.TryReserve(ctx, a, hold.OpRead, len(queues[a]))
			if err != nil {
				w.reportStoreError(ctx, "take from the budget", err)
				return false
			}
			for _, l := range queues[a][:granted] {
				gate <- struct{}{}
				wg.Go(func() {
					defer func() { <-gate }()
					w.refreshIntent(ctx, l)
				})
			}
			if queues[a] = queues[a][granted:]; len(queues[a]) > 0 {
				left = append(left, a)
			}
			if granted == 0 && (pause == 0 || wait < pause) {
				pause = wait
			}
		}
		accounts = left
		if len(accounts) == 0 {
			return true
		}
		if time.Now().Add(pause).After(end) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
	return true
}

func (w *Worker) finishRefresh(ctx context.Context, l hold.PendingRefresh, again time.Time) {
	if err := w.store.FinishRefresh(ctx, l, again); err != nil {
		w.reportStoreError(ctx, "take off a look", err)
	}
}

// refreshIntent brings one hold to what Stripe says, or makes a hold of the terms that stand at Stripe.
func (w *Worker) refreshIntent(ctx context.Context, l hold.PendingRefresh) {
	a := w.retrieveHold(ctx, &l.Hold, w.o.CallTimeout)
	var err error
	switch {
	case a.Kind == hold.AnswerOK && a.Intent != nil && l.AdoptUnknown:
		err = w.adoptFromMetadata(ctx, a.Intent, l.Hold.Account)
	case a.Kind == hold.AnswerOK && a.Intent != nil:
		err = w.commitObserved(ctx, &l.Hold, l.Hold.ApplyIntent(a.Intent, w.redisNow()))
	case a.Kind == hold.AnswerNotFound && l.AdoptUnknown:
		err = w.rejectRequest(ctx, hold.RejectedRequest{Source: "stripe", ID: l.Hold.ID, Code: hold.IntentNotFound, Field: "payment_intent",
			Reason: "an event told of it and this key doesn't see it: compare the endpoint's account and mode with the key's"}, l.Hold.Account)
	case a.Kind == hold.AnswerNotFound:
		err = w.commitObserved(ctx, &l.Hold, l.Hold.ApplyNotFound(w.redisNow()))
	default:
		w.finishRefresh(ctx, l, w.redisNow().Add(refreshRetryAfter))
		return
	}
	if err != nil {
		w.log.Debug("a look is made again", zap.String("hold", l.Hold.ID), zap.Error(err))
		w.finishRefresh(ctx, l, w.redisNow().Add(refreshRetryAfter))
		return
	}
	w.finishRefresh(ctx, l, time.Time{})
}

// errChanged says that somebody else changed the hold meanwhile.
var errChanged = errors.New("somebody else changed the hold")

// commitObserved commits what was observed of a hold that nobody has claimed.
func (w *Worker) commitObserved(ctx context.Context, h *hold.Hold, c hold.Decision) error {
	if c.Unchanged {
		return nil
	}
	now := w.redisNow()
	ok, err := w.commitWithRetry(ctx, []hold.RecordWrite{w.newWrite(h, &c, now)})
	if err != nil {
		return w.unavailable(ctx, "write what Stripe says", err)
	}
	if !ok[0] {
		return errChanged
	}
	w.recordDecision(&c, now)
	return nil
}

// adoptFromMetadata makes a hold of an intent whose metadata has terms. What is wrong with them is rejected, and told.
func (w *Worker) adoptFromMetadata(ctx context.Context, in *hold.Intent, account string) error {
	req, paused, ours, err := hold.RequestFromMetadata(in, account)
	if !ours || in.Status != hold.StatusRequiresCapture {
		return nil // over by now
	}
	holds, now, e := w.store.Read(ctx, in.ID)
	if e != nil {
		return w.unavailable(ctx, "read a hold", e)
	}
	if holds[0] != nil {
		return w.store.RequestRefresh(ctx, in.ID, account, false) // somebody has scheduled it meanwhile
	}
	w.syncClock(now)
	var d *hold.Draft
	var c hold.Decision
	if err == nil {
		d, err = req.ValidateRecovered(paused, now)
	}
	if err == nil {
		c, err = hold.New(d, in, "stripe", now)
	}
	var p *hold.Problem
	if errors.As(err, &p) {
		return w.rejectRequest(ctx, hold.RejectedRequest{Source: "stripe", ID: in.ID, Code: p.Code, Field: p.Field, Reason: p.Detail, Text: holddMetadataJSON(in)}, account)
	}
	if err != nil {
		return err
	}
	return w.commitObserved(ctx, &hold.Hold{}, c)
}

// holddMetadataJSON are the pairs of an intent's metadata that speak to holdd, as JSON.
func holddMetadataJSON(in *hold.Intent) string {
	terms := map[string]string{}
	for k, v := range in.Metadata {
		if strings.HasPrefix(k, "holdd_") {
			terms[k] = v
		}
	}
	b, err := json.Marshal(terms)
	if err != nil {
		return "" // a map of strings
	}
	return string(b)
}

// rejectRequest puts a wish that nobody waits for where people find it, and says so loudly.
func (w *Worker) rejectRequest(ctx context.Context, r hold.RejectedRequest, account string) error {
	if err := w.store.RecordRejection(ctx, r); err != nil {
		return w.unavailable(ctx, "write down a reject", err)
	}
	event := TypeInboxRejected
	if r.Source == "stripe" {
		event = TypeMetadataRejected
	}
	if err := w.publishOnce(ctx, event, r.ID, EventData{Reject: &Rejection{Source: r.Source, ID: r.ID, Account: account, Code: string(r.Code), Field: r.Field, Reason: r.Reason}}); err != nil {
		return w.unavailable(ctx, "tell of a reject", err)
	}
	w.log.Error(string(event), zap.String("event", string(event)), zap.String("id", r.ID), zap.String("account", account), zap.String("code", string(r.Code)),
		zap.String("field", r.Field), zap.String("reason", r.Reason))
	if w.o.Observer != nil {
		w.o.Observer.RequestRejected(r.Source, r.Code)
	}
	return nil
}
