package gateway

import (
	"context"
	"encoding/json"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/charge"
	"github.com/stripe/stripe-go/v76/event"
	"github.com/stripe/stripe-go/v76/paymentintent"

	"github.com/holdd/holdd/worker/hold"
)

// listClient lists PaymentIntents, charges and events, one page a request.
type listClient struct {
	intents paymentintent.Client
	events  event.Client
	charges charge.Client
	sender  *requestSender
}

// intentListExpandParams returns the fields that a list of intents expands. A key
// needs a permission for each.
func intentListExpandParams(c hold.StripeListKind) []*string {
	switch c {
	case hold.ContentHistories:
		return []*string{stripe.String("data.latest_charge.balance_transaction")}
	case hold.ContentCharges:
		return []*string{stripe.String("data.latest_charge")}
	}
	return []*string{stripe.String("data.latest_charge"), stripe.String("data.review")}
}

// listPageByContent retrieves one page of intents, newest first, with what c.Content
// names. A page with an invalid intent is [hold.AnswerUnknown], because the next
// page would skip that intent.
func (cl *listClient) listPageByContent(ctx context.Context, c hold.Call) hold.Answer {
	switch c.Content {
	case hold.ContentCaptures:
		return cl.listCaptureEvents(ctx, c)
	case hold.ContentPlainHistories, hold.ContentPlainCharges:
		return cl.listChargesWithoutIntent(ctx, c)
	}
	p := &stripe.PaymentIntentListParams{Expand: intentListExpandParams(c.Content)}
	p.Limit = stripe.Int64(maxPageSize)
	if c.Limit != 0 {
		p.Limit = stripe.Int64(int64(c.Limit))
	}
	if c.Account != "" {
		p.StripeAccount = &c.Account
	}
	p.StartingAfter, p.Customer = optionalString(c.After), optionalString(c.Customer)
	p.CreatedRange = newCreatedRangeParams(&c)
	page, a := cl.sendIntentListRequest(ctx, p, c.Content)
	if a.Kind == hold.AnswerOK {
		a.Page = &page
	}
	return a
}

// probeAPIKey sends the cheapest request that needs no other permission. Its
// answer says whether Stripe is available and accepts the key.
func (cl *listClient) probeAPIKey(ctx context.Context) hold.Answer {
	p := &stripe.PaymentIntentListParams{}
	p.Limit = stripe.Int64(1)
	_, a := cl.sendIntentListRequest(ctx, p, hold.ContentIntents)
	return a
}

// newCreatedRangeParams returns the bounds in time of a list, nil if it has
// none.
func newCreatedRangeParams(c *hold.Call) *stripe.RangeQueryParams {
	if c.CreatedUpTo.IsZero() && c.CreatedFrom.IsZero() {
		return nil
	}
	r := &stripe.RangeQueryParams{}
	if !c.CreatedUpTo.IsZero() {
		r.LesserThanOrEqual = c.CreatedUpTo.Unix()
	}
	if !c.CreatedFrom.IsZero() {
		r.GreaterThanOrEqual = c.CreatedFrom.Unix()
	}
	return r
}

func (cl *listClient) sendIntentListRequest(
	ctx context.Context, p *stripe.PaymentIntentListParams, content hold.StripeListKind,
) (page hold.IntentListPage, a hold.Answer) {
	p.Single = true // otherwise the iterator requests more pages, beyond the budget
	r := classifyOptions{maxBody: maxListBodyBytes}
	a = cl.sender.sendAndClassify(ctx, r, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		it := cl.intents.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.PaymentIntentList()
		if l.Data == nil || len(l.Data) > maxPageSize || l.HasMore && len(l.Data) == 0 {
			return false, nil // has_more on an empty page would never end
		}
		page = hold.IntentListPage{Intents: make([]hold.PaymentIntent, 0, len(l.Data)),
			More: l.HasMore}
		for _, pi := range l.Data {
			in := convertIntent(cl.sender.scrubber, pi, "")
			if in == nil {
				return false, nil
			}
			page.Intents = append(page.Intents, *in)
			if content == hold.ContentHistories || content == hold.ContentCharges {
				page.Histories = append(page.Histories, convertIntentHistory(pi))
			}
		}
		return true, nil
	})
	return page, a
}

// listCaptureEvents retrieves one page of the events of captures, newest first.
// Stripe keeps events for 30 days.
func (cl *listClient) listCaptureEvents(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.EventListParams{Type: stripe.String("charge.captured"),
		CreatedRange: newCreatedRangeParams(&c)}
	p.Limit, p.StartingAfter, p.Single = stripe.Int64(maxPageSize), optionalString(c.After), true
	if c.Account != "" {
		p.StripeAccount = &c.Account
	}
	var page hold.IntentListPage
	r := classifyOptions{maxBody: maxListBodyBytes}
	a := cl.sender.sendAndClassify(ctx, r, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		it := cl.events.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.EventList()
		if l.Data == nil || len(l.Data) > maxPageSize || l.HasMore && len(l.Data) == 0 {
			return false, nil
		}
		page.More = l.HasMore
		for _, e := range l.Data {
			if e == nil || !eventIDPattern.matches(e.ID) || e.Created <= 0 {
				return false, nil
			}
			page.Captures = append(page.Captures, hold.ChargeCapturedEvent{ID: e.ID,
				Charge: chargeIDOfEvent(e), At: timeOfUnixSeconds(e.Created)})
		}
		return true, nil
	})
	if a.Kind == hold.AnswerOK {
		a.Page = &page
	}
	return a
}

// chargeIDOfEvent returns the id of an event's object, "" if it has none. It is a
// charge, because only events of charges are listed.
func chargeIDOfEvent(e *stripe.Event) string {
	var charge struct {
		ID string `json:"id"`
	}
	if e.Data == nil || json.Unmarshal(e.Data.Raw, &charge) != nil {
		return ""
	}
	return validObjectIDOrEmpty(charge.ID)
}
