package gateway

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhookendpoint"

	"github.com/holdd/holdd/worker/hold"
)

// Inspection is what a few harmless requests tell of Stripe and the key. Answers that were not asked for have the kind 0: the ones after
// Read are not where Read didn't get through.
type Inspection struct {
	Read      hold.Answer   // may PaymentIntents be listed?
	Expand    hold.Answer   // and what is read of them beside, such as their charges?
	Write     hold.Answer   // may they be captured and canceled? hold.AnswerMissing is a yes
	Listed    hold.Answer   // may webhook endpoints be listed?
	Endpoints []Endpoint    // at most 100
	Took      time.Duration // by the first request, connecting included

	// Stripe's clock minus this machine's lies between these two, by the Date headers, which tell whole seconds. Without one, ClockKnown is false.
	ClockMin, ClockMax time.Duration
	ClockKnown         bool
}

// Endpoint is a webhook endpoint of the account.
type Endpoint struct {
	URL        string   // without user, query and fragment, where secrets may stand
	Path       string   // of URL
	APIVersion string   // of its events; empty: the account's default
	Events     []string // "*" is all
	Enabled    bool
}

// nobody is a well-formed id that Stripe never gave out: its ids have no words in them.
const nobody = "pi_0holddAsksWhetherThisKeyMayWrite"

// Inspect finds out whether Stripe answers, what the key may do, and what time it is there. It sends four requests at the most, one after
// the other, each bounded by the gateway's timeout, and changes nothing: whether the key may capture is learned from the capture of an intent
// that there isn't. Stripe looks at the key's permissions first (403), and only then for the intent (404). No budget is asked.
func (g *Gateway) Inspect(ctx context.Context) Inspection {
	var in Inspection
	c := &clock{in: &in}
	began := time.Now()
	in.Read = c.watch(ctx, g.Check)
	in.Took = time.Since(began)
	switch in.Read.Kind {
	case hold.AnswerOK, hold.AnswerForbidden, hold.AnswerRateLimited:
	default: // away, or the key is rejected: it would be the same again
		return in
	}
	if in.Read.Kind == hold.AnswerOK {
		in.Expand = c.watch(ctx, func(ctx context.Context) hold.Answer {
			_, _, a := g.List(ctx, ListQuery{Limit: 1})
			return a
		})
	}
	in.Write = c.watch(ctx, func(ctx context.Context) hold.Answer {
		return g.Capture(ctx, CaptureParams{PaymentIntent: nobody, Key: "holdd-doctor-" + rand.Text()})
	})
	in.Listed = c.watch(ctx, func(ctx context.Context) (a hold.Answer) {
		in.Endpoints, a = g.endpoints(ctx)
		return a
	})
	return in
}

func (g *Gateway) endpoints(ctx context.Context) (all []Endpoint, a hold.Answer) {
	p := &stripe.WebhookEndpointListParams{}
	p.Limit = stripe.Int64(MaxPage)
	p.Single = true
	a = g.send(ctx, maxBody, "", false, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		it := webhookendpoint.Client{B: g.intents.B, Key: g.intents.Key}.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.WebhookEndpointList()
		if l.Data == nil || len(l.Data) > MaxPage {
			return false, nil
		}
		for _, e := range l.Data {
			if e == nil {
				return false, nil
			}
			all = append(all, g.endpoint(e))
		}
		return true, nil
	})
	if a.Kind != hold.AnswerOK {
		return nil, a
	}
	return all, a
}

func (g *Gateway) endpoint(e *stripe.WebhookEndpoint) Endpoint {
	out := Endpoint{APIVersion: g.scrub.message(e.APIVersion), Enabled: e.Status == "enabled"}
	if u, err := url.Parse(e.URL); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		out.URL, out.Path = g.scrub.message(u.String()), g.scrub.message(u.Path)
	}
	for _, t := range e.EnabledEvents {
		out.Events = append(out.Events, g.scrub.message(t))
	}
	return out
}

// clock learns what time it is at Stripe from the Date headers of several answers.
type clock struct{ in *Inspection }

type dateKey struct{}

// watch carries out a request and narrows the difference of the clocks down by its answer: the header's second began before the answer came,
// and had not ended before the request left.
func (c *clock) watch(ctx context.Context, ask func(context.Context) hold.Answer) hold.Answer {
	var date string
	sent := time.Now()
	a := ask(context.WithValue(ctx, dateKey{}, &date))
	came := time.Now()
	there, err := http.ParseTime(date)
	if err != nil {
		return a
	}
	least, most := there.Sub(came), there.Add(time.Second).Sub(sent)
	if in := c.in; !in.ClockKnown {
		in.ClockMin, in.ClockMax, in.ClockKnown = least, most, true
	} else if least, most = max(least, in.ClockMin), min(most, in.ClockMax); least <= most { // else a clock was set meanwhile
		in.ClockMin, in.ClockMax = least, most
	}
	return a
}
