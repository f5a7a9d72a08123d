// Package auditread reads the payments of an audit from Stripe, page by page.
//
// [ReadPayments] continues a [ReadProgress], which can be kept in a file between two runs.
// It sends list calls only: PaymentIntents, then charges, of which those without
// a PaymentIntent were made with the Charges API alone. It first asks for the
// balance transaction of each charge, which has the time of the capture. If the
// key may not read those, it reads the charges alone, and then the events of
// captures of the last 30 days.
package auditread

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

const (
	pageSize = 100
	// budgetWait is how long a page waits for its turn under the rate.
	budgetWait = 5 * time.Minute
	// maxTries is how often one page is requested while Stripe does not answer.
	// With firstRetry doubling up to maxRetry that is about four minutes.
	maxTries   = 12
	firstRetry = time.Second
	maxRetry   = 30 * time.Second
	// eventRetention is how long Stripe keeps events.
	eventRetention = 30 * 24 * time.Hour
)

// Errors of [ReadPayments], beside those of ctx.
var (
	// ErrKeyRejected says that Stripe does not accept the key.
	ErrKeyRejected = errors.New("this key is rejected by Stripe")
	// ErrForbidden says that the key may not list PaymentIntents with charges.
	ErrForbidden = errors.New("the key may not list PaymentIntents with their charges")
	// ErrUnavailable says that Stripe did not answer for minutes.
	ErrUnavailable = errors.New("no answer from Stripe")
)

// StripeCaller sends calls to Stripe. gateway.Caller implements it.
type StripeCaller interface {
	WaitForBudgetAndSend(ctx context.Context, call hold.Call, maxWait time.Duration) (hold.Answer,
		error)
}

// ReadObserver is told how a read goes.
type ReadObserver struct {
	PageRead func()              // after each page
	Waiting  func(reason string) // once for a page that Stripe has not answered twice
}

// ReadProgress is how far an audit has read. It contains no secret.
type ReadProgress struct {
	Account string    `json:"account,omitempty"` // connected account; empty is the key's own
	From    time.Time `json:"from"`              // of the oldest PaymentIntent to read
	Until   time.Time `json:"until"`

	Content     hold.StripeListKind  `json:"content"` // 0 until the first page
	After       string               `json:"after,omitempty"`
	IntentsRead int                  `json:"payment_intents_read"`
	IntentsDone bool                 `json:"payment_intents_done"`
	OldestRead  time.Time            `json:"oldest_read,omitzero"`
	Payments    []audit.Payment      `json:"payments"`
	AfterCharge string               `json:"after_charge,omitempty"`
	ChargesRead int                  `json:"charges_read,omitempty"`
	ChargesDone bool                 `json:"charges_done,omitempty"`
	OldestSeen  time.Time            `json:"oldest_charge_read,omitzero"`
	AfterEvent  string               `json:"after_event,omitempty"`
	EventsDone  bool                 `json:"events_done"`
	Captures    map[string]time.Time `json:"captures,omitempty"` // by charge, from events
}

// ShareDone is how much of the time from Until back to From has been read, from 0 to
// 1. PaymentIntents are one half of it, charges the other.
func (p *ReadProgress) ShareDone() float64 {
	return (p.shareReadBackTo(p.OldestRead, p.IntentsDone) +
		p.shareReadBackTo(p.OldestSeen, p.ChargesDone)) / 2
}

func (p *ReadProgress) shareReadBackTo(oldest time.Time, done bool) float64 {
	whole := p.Until.Sub(p.From)
	switch {
	case done || whole <= 0:
		return 1
	case oldest.IsZero():
		return 0
	}
	return min(1, float64(p.Until.Sub(oldest))/float64(whole))
}

// ReadPayments reads on until everything is read, ctx ends, or Stripe does not
// answer. p is complete up to the last page that o was told of, also if
// ReadPayments returns an error.
func ReadPayments(ctx context.Context, c StripeCaller, p *ReadProgress, o ReadObserver) error {
	if p.Content == hold.ContentIntents {
		p.Content = hold.ContentHistories
	}
	for !p.IntentsDone {
		a, err := retrievePageWithRetry(ctx, c, o.Waiting, hold.Call{Op: hold.OpList, Account: p.Account,
			Limit: pageSize,
			After: p.After, CreatedFrom: p.From, CreatedUpTo: p.Until, Content: p.Content})
		switch {
		case errors.Is(err, ErrForbidden) && p.Content == hold.ContentHistories:
			p.Content = hold.ContentCharges
			continue
		case err != nil:
			return err
		}
		p.addIntentPage(a.Page)
		o.PageRead()
	}
	if err := p.readPlainCharges(ctx, c, o); err != nil {
		return err
	}
	for p.Content == hold.ContentCharges && !p.EventsDone {
		a, err := retrievePageWithRetry(ctx, c, o.Waiting, hold.Call{Op: hold.OpList, Account: p.Account,
			After: p.AfterEvent, CreatedFrom: p.Until.Add(-eventRetention), CreatedUpTo: p.Until,
			Content: hold.ContentCaptures})
		switch {
		case errors.Is(err, ErrForbidden):
			p.EventsDone = true // the report says that the times are not known
			return nil
		case err != nil:
			return err
		}
		p.addCaptureEventPage(a.Page)
		o.PageRead()
	}
	return nil
}

// readPlainCharges reads the payments that have a charge and no PaymentIntent.
func (p *ReadProgress) readPlainCharges(
	ctx context.Context, c StripeCaller, o ReadObserver,
) error {
	content := hold.ContentPlainHistories
	if p.Content == hold.ContentCharges { // the key may not read balance transactions
		content = hold.ContentPlainCharges
	}
	for !p.ChargesDone {
		a, err := retrievePageWithRetry(ctx, c, o.Waiting, hold.Call{Op: hold.OpList, Account: p.Account,
			After: p.AfterCharge, CreatedFrom: p.From, CreatedUpTo: p.Until, Content: content})
		if err != nil {
			return err
		}
		p.appendPagePayments(a.Page)
		if a.Page.Last != "" {
			p.AfterCharge, p.OldestSeen = a.Page.Last, a.Page.OldestAt
		}
		p.ChargesRead += len(a.Page.Intents)
		p.ChargesDone = !a.Page.More
		o.PageRead()
	}
	return nil
}

func (p *ReadProgress) appendPagePayments(page *hold.IntentListPage) {
	for i := range page.Intents {
		if payment, ok := audit.NewPayment(&page.Intents[i], &page.Histories[i]); ok {
			p.Payments = append(p.Payments, payment)
		}
	}
}

func (p *ReadProgress) addIntentPage(page *hold.IntentListPage) {
	p.appendPagePayments(page)
	if n := len(page.Intents); n > 0 {
		p.After, p.OldestRead = page.Intents[n-1].ID, page.Intents[n-1].Created
	}
	p.IntentsRead += len(page.Intents)
	p.IntentsDone = !page.More
}

func (p *ReadProgress) addCaptureEventPage(page *hold.IntentListPage) {
	if p.Captures == nil {
		p.Captures = map[string]time.Time{}
	}
	for _, e := range page.Captures {
		p.Captures[e.Charge] = e.At // the first of several captures comes last
		p.AfterEvent = e.ID
	}
	p.EventsDone = !page.More
}

// retrievePageWithRetry requests one page, again and again while Stripe does
// not answer. It calls waiting before the second repetition.
func retrievePageWithRetry(
	ctx context.Context, c StripeCaller, waiting func(reason string), call hold.Call,
) (hold.Answer, error) {
	wait, reason := firstRetry, ""
	for try := range maxTries {
		a, err := c.WaitForBudgetAndSend(ctx, call, budgetWait)
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		switch {
		case err != nil:
			reason = err.Error()
		case a.Kind == hold.AnswerOK && a.Page != nil:
			return a, nil
		case a.Kind == hold.AnswerUnauthorized:
			return a, ErrKeyRejected
		case a.Kind == hold.AnswerForbidden:
			return a, fmt.Errorf("%w: %s", ErrForbidden, a.Message)
		case isFinalAnswer(a.Kind):
			return a, fmt.Errorf("cannot list payments (%s): %s", a.Kind, a.Message)
		default:
			reason = a.Message
		}
		if try == 1 {
			waiting(reason)
		}
		if !execute.SleepUnlessCanceled(ctx, wait) {
			return a, ctx.Err()
		}
		wait = min(2*wait, maxRetry)
	}
	return hold.Answer{}, fmt.Errorf("%w: %s", ErrUnavailable, reason)
}

// isFinalAnswer reports whether the same request would get the same answer.
func isFinalAnswer(k hold.AnswerKind) bool {
	switch k {
	case hold.AnswerUnknown, hold.AnswerUnreachable, hold.AnswerRateLimited,
		hold.AnswerLockTimeout, hold.AnswerReplayedError:
		return false
	}
	return true
}
