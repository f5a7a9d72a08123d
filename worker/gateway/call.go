package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxKey is Stripe's limit for an idempotency key, in characters.
	maxKey = 255
	// MaxPage is the most that one page of a list can hold.
	MaxPage = 100
)

// Do sends one request and says what became of it. It makes one attempt, within the gateway's timeout and ctx, and never panics.
//
// A capture is final: what it leaves is released. A call that can't be right (no idempotency key for a mutation, an id that is none) is
// answered with [hold.AnswerInvalid] and HTTPStatus 0, and nothing is sent.
func (g *Gateway) Do(ctx context.Context, c hold.Call) hold.Answer {
	switch c.Op {
	case hold.OpCapture:
		p := CaptureParams{PaymentIntent: c.PaymentIntent, Account: c.Account, Key: c.Key}
		switch {
		case c.ReleaseRest && c.Amount != 0:
			return notSent("a capture that releases the rest takes no amount")
		case c.ReleaseRest:
			p.Amount, p.Final = &c.Amount, stripe.Bool(true)
		case c.Amount != 0:
			p.Amount = &c.Amount
		}
		return g.Capture(ctx, p)
	case hold.OpCancel:
		return g.cancel(ctx, c)
	case hold.OpRead:
		return g.read(ctx, c)
	}
	return notSent(fmt.Sprintf("operation %d is none of capture, cancel and read", c.Op))
}

// CaptureParams say what to capture.
type CaptureParams struct {
	PaymentIntent string
	Account       string // connected account, empty for one's own
	Key           string // idempotency key
	Amount        *int64 // in minor units; nil: everything that is capturable. 0 needs Final true: it releases what is left after earlier captures
	// Final false keeps the rest for later captures (multicapture, only where the charge allows it). A new key for such a capture is
	// never safe, not even after a read: a late twin would capture again. nil leaves it to Stripe, which takes it for true,
	// and is what works everywhere: the parameter itself is only for charges that allow multicapture.
	Final *bool
}

// Capture takes money. See [Gateway.Do].
func (g *Gateway) Capture(ctx context.Context, c CaptureParams) hold.Answer {
	if why := wrong(c.PaymentIntent, c.Account, c.Key, true); why != "" {
		return notSent(why)
	}
	if n := c.Amount; n != nil && (*n < 0 || *n == 0 && (c.Final == nil || !*c.Final)) {
		return notSent(fmt.Sprintf("a capture of %d minor units would mean nothing", *n))
	}
	p := &stripe.PaymentIntentCaptureParams{AmountToCapture: c.Amount, FinalCapture: c.Final}
	return g.settle(ctx, c.PaymentIntent, "capture", func(ctx context.Context) stripe.ParamsContainer {
		p.Params = params(ctx, c.Account, c.Key)
		return p
	})
}

func (g *Gateway) cancel(ctx context.Context, c hold.Call) hold.Answer {
	if why := wrong(c.PaymentIntent, c.Account, c.Key, true); why != "" {
		return notSent(why)
	}
	p := &stripe.PaymentIntentCancelParams{CancellationReason: stripe.String(string(stripe.PaymentIntentCancellationReasonAbandoned))}
	return g.settle(ctx, c.PaymentIntent, "cancel", func(ctx context.Context) stripe.ParamsContainer {
		p.Params = params(ctx, c.Account, c.Key)
		return p
	})
}

func (g *Gateway) read(ctx context.Context, c hold.Call) hold.Answer {
	if why := wrong(c.PaymentIntent, c.Account, "", false); why != "" {
		return notSent(why)
	}
	p := &stripe.PaymentIntentParams{Expand: latestCharge()}
	return g.one(ctx, c.PaymentIntent, false, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = params(ctx, c.Account, "")
		return g.intents.Get(c.PaymentIntent, p)
	})
}

// one sends a request whose answer is one PaymentIntent.
func (g *Gateway) one(ctx context.Context, id string, mutation bool, send func(context.Context) (*stripe.PaymentIntent, error)) hold.Answer {
	var in *hold.Intent
	a := g.send(ctx, maxBody, id, mutation, func(ctx context.Context) (bool, error) {
		pi, err := send(ctx)
		if err == nil {
			in = g.intent(pi, id)
		}
		return in != nil, err
	})
	if a.Kind == hold.AnswerOK {
		a.Intent = in
	}
	return a
}

// send runs one call within the timeout and classifies its end. ok says whether the body was what had been asked for.
func (g *Gateway) send(ctx context.Context, limit int64, id string, mutation bool, call func(context.Context) (ok bool, err error)) (a hold.Answer) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	ctx, f := begin(ctx, limit)
	defer func() { a.Retransmitted = f.repeated() }()
	defer func() {
		// A panic here would take the daemon down with every other call under way. What came of this one isn't known, and that is an
		// answer. The panic's value is not quoted: it may hold what the body held.
		if p := recover(); p != nil {
			a = hold.Answer{Kind: hold.AnswerUnknown, HTTPStatus: f.status, RequestID: f.requestID, Replayed: f.replayed,
				Message: fmt.Sprintf("a bug: the client panicked with a %T", p)}
			if !f.sent() {
				a.Kind = hold.AnswerUnreachable
			}
		}
	}()
	if err := ctx.Err(); err != nil {
		return g.failed(f, err, id, mutation)
	}
	ok, err := call(ctx)
	if err != nil || !ok || f.status != http.StatusOK {
		return g.failed(f, err, id, mutation)
	}
	return hold.Answer{Kind: hold.AnswerOK, HTTPStatus: f.status, RequestID: f.requestID, Replayed: f.replayed}
}

// ListQuery selects PaymentIntents. Zero values select everything.
type ListQuery struct {
	Account       string    // connected account, empty for one's own
	CreatedFrom   time.Time // included; Stripe counts in seconds
	CreatedTo     time.Time // not included
	StartingAfter string    // the last id of the page before
	Limit         int       // 1 to [MaxPage]; 0 means MaxPage
}

// List reads one page, newest first, and says whether there is more. Each call costs one read. The page is nil unless the answer
// is [hold.AnswerOK]: a page with one unreadable intent is [hold.AnswerUnknown], because whoever pages on would miss it.
func (g *Gateway) List(ctx context.Context, q ListQuery) (page []hold.Intent, more bool, a hold.Answer) {
	switch {
	case q.Limit < 0 || q.Limit > MaxPage:
		return nil, false, notSent(fmt.Sprintf("a page of %d: ask for 1 to %d", q.Limit, MaxPage))
	case hold.CheckAccountID(q.Account) != nil:
		return nil, false, notSent("the account is no account's id")
	case q.StartingAfter != "" && hold.CheckPaymentIntentID(q.StartingAfter) != nil:
		return nil, false, notSent("starting_after is no PaymentIntent's id")
	case q.Limit == 0:
		q.Limit = MaxPage
	}
	p := &stripe.PaymentIntentListParams{Expand: []*string{stripe.String("data.latest_charge"), stripe.String("data.review")}}
	p.Limit = stripe.Int64(int64(q.Limit))
	if q.Account != "" {
		p.StripeAccount = &q.Account
	}
	if q.StartingAfter != "" {
		p.StartingAfter = &q.StartingAfter
	}
	if !q.CreatedFrom.IsZero() || !q.CreatedTo.IsZero() {
		p.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: seconds(q.CreatedFrom), LesserThan: seconds(q.CreatedTo)}
	}
	return g.list(ctx, p)
}

func (g *Gateway) list(ctx context.Context, p *stripe.PaymentIntentListParams) (page []hold.Intent, more bool, a hold.Answer) {
	p.Single = true // or the iterator would read on by itself, beyond the caller's budget
	a = g.send(ctx, maxListBody, "", false, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		it := g.intents.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.PaymentIntentList()
		if l.Data == nil || len(l.Data) > MaxPage || l.HasMore && len(l.Data) == 0 { // the last would make a caller page for ever
			return false, nil
		}
		page, more = make([]hold.Intent, 0, len(l.Data)), l.HasMore
		for _, pi := range l.Data {
			in := g.intent(pi, "")
			if in == nil {
				return false, nil
			}
			page = append(page, *in)
		}
		return true, nil
	})
	if a.Kind != hold.AnswerOK {
		return nil, false, a
	}
	return page, more, a
}

// Check asks for as little as can be asked with the permissions that the gateway needs anyway, and so tells whether
// Stripe can be reached and takes the key.
func (g *Gateway) Check(ctx context.Context) hold.Answer {
	p := &stripe.PaymentIntentListParams{}
	p.Limit = stripe.Int64(1)
	_, _, a := g.list(ctx, p)
	return a
}

func params(ctx context.Context, account, key string) stripe.Params {
	p := stripe.Params{Context: ctx}
	if account != "" {
		p.StripeAccount = &account
	}
	if key != "" {
		p.IdempotencyKey = &key
	}
	return p
}

// seconds rounds up: of a half-open range in whole seconds both ends move to the next second that is in it, or the first that isn't.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return max(s, 1) // 0 would be left out and mean no bound
}

// wrong says why a call can't be sent, or nothing. It doesn't quote: what is no id may well be a client secret.
func wrong(id, account, key string, mutation bool) string {
	switch {
	case hold.CheckPaymentIntentID(id) != nil:
		return "the id is no PaymentIntent's"
	case hold.CheckAccountID(account) != nil:
		return "the account is no account's id"
	case mutation && key == "":
		return "no idempotency key: without one a repeat could take the money twice"
	case mutation && !fits(key):
		return fmt.Sprintf("the idempotency key is not 1 to %d visible ASCII characters", maxKey)
	}
	return ""
}

func fits(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return len(key) <= maxKey
}

// notSent is the answer to a call that this package refuses.
func notSent(why string) hold.Answer {
	return hold.Answer{Kind: hold.AnswerInvalid, Message: "not sent: " + why}
}
