package stripesim

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Options configure a simulator. The zero value has Stripe's defaults: 25 calls
// a second for each endpoint and 100 over all, idempotency keys for 24 hours,
// the card networks' authorization windows.
type Options struct {
	// Seed determines ids, client secrets and fault probabilities. The same
	// seed and the same calls give the same answers.
	Seed uint64

	// Account is the id of the platform's own account; empty means one made
	// from Seed.
	Account string
	// ConnectedAccounts, if not nil, lists the only accounts that a
	// Stripe-Account header may name. Nil admits any acct_ id.
	ConnectedAccounts []string

	// APIVersion is the accounts' version of the API, which a call without a
	// Stripe-Version header has; empty means the constant APIVersion.
	APIVersion string

	// EndpointRate is the calls a second for each account and endpoint class; 0
	// means 25, negative means no limit.
	EndpointRate float64
	// OverallRate is the calls a second for each account over all classes; 0
	// means 100, negative means no limit.
	OverallRate float64
	// SearchRate is EndpointRate for search alone; 0 means 20, negative means
	// no limit.
	SearchRate float64
	// UpdatesPerHour bounds the changes of one PaymentIntent in an hour; 0
	// means 1000, negative means no limit.
	UpdatesPerHour int

	// IdempotencyKeyRetention is how long the answer for an idempotency key is
	// stored; 0 means 24 h.
	IdempotencyKeyRetention time.Duration
	// SearchLag is how long a change stays invisible to search.
	SearchLag time.Duration
	// ServiceTime is how long every change of a PaymentIntent holds its lock
	// and its idempotency key.
	ServiceTime time.Duration

	// AuthorizationWindow returns the time from authorization to
	// capture_before; nil means DefaultAuthorizationWindow.
	AuthorizationWindow func(Card) time.Duration
	// ExpiryReason is the cancellation_reason of an expired intent; empty means
	// "automatic", which versions from 2025-03-31 on render as "expired".
	ExpiryReason string
	// AlreadyCapturedCode is the error code for capturing an intent that is
	// captured; empty means payment_intent_unexpected_state. Stripe also sends
	// "charge_already_captured".
	AlreadyCapturedCode string
	// ExpiredCode is the error code for capturing an intent that has expired;
	// empty means payment_intent_unexpected_state. Stripe also sends
	// "charge_expired_for_capture".
	ExpiredCode string
	// OvercapturePercent bounds an over-capture, in percent of the authorized
	// amount; 0 means 15.
	OvercapturePercent int64

	// Speed is how many seconds of the simulator's clock pass in one of the
	// machine's; 0 means 1. Delays and limits use the machine's clock.
	Speed float64

	// ClockOffset is how far the simulator's clock is ahead of the machine's at
	// the start. With a negative offset, new objects look that old to a client
	// with the machine's time.
	ClockOffset time.Duration

	// PagesURL is where [Sim.PagesHandler] is served. Empty: the pages that
	// Stripe hosts have URLs of Stripe's that lead nowhere.
	PagesURL string

	// Webhook receives the events. GET /v1/events lists them in any case.
	Webhook Webhook
	// OnEvent, if set, is called with every event, in the goroutine that caused
	// it and before the call that caused it is answered. No lock is held.
	// Concurrent calls call it concurrently.
	OnEvent func(Event)

	// FaultFunc, if set, decides the fault of every call. The rules of
	// AddFaultRule apply if it returns no fault.
	FaultFunc func(Call) Fault

	// MaxEvents bounds the events kept for each account, besides their 30 days;
	// 0 means 100,000.
	MaxEvents int

	// Logger gets one debug line a call and a warning for each webhook that is
	// given up; nil discards both.
	Logger *slog.Logger
}

// Webhook is the endpoint to which Run delivers events, by URL or by function.
type Webhook struct {
	// URL gets every event as a signed POST.
	URL string
	// Client sends the deliveries; nil means one with a timeout of 10 s.
	Client *http.Client
	// Deliver, if set, is called instead of URL. After an error the delivery is
	// retried.
	Deliver func(context.Context, Delivery) error
	// Secrets sign each delivery, with one v1= for each. There are several
	// during the rotation of a secret.
	Secrets []string
	// APIVersion is the version in which events are rendered; empty means the
	// accounts'.
	APIVersion string
	// Thin sends thin events, which name their object and do not contain it.
	Thin bool
	// Attempts bounds the attempts of each delivery; 0 means 6.
	Attempts int
	// Backoff is the wait before the second attempt. It doubles for each
	// further attempt, up to an hour; 0 means 1 s.
	Backoff time.Duration
}

func (w Webhook) isEnabled() bool { return w.URL != "" || w.Deliver != nil }

// Delivery is one signed attempt to deliver an event.
type Delivery struct {
	Event     Event
	Signature string // the Stripe-Signature header
	Attempt   int    // from 1
}

// Event is an event as its webhook has it.
type Event struct {
	ID      string
	Type    string // such as payment_intent.succeeded
	Account string // also set for the platform's own account
	Intent  string
	Created time.Time
	Payload []byte // the whole event as JSON
}

// Card is what an authorization window depends on, also of a payment method
// that is no card.
type Card struct {
	PaymentMethodType string // card, card_present, klarna, …
	Brand             string // of a card: visa, mastercard, amex, discover, …
	Channel           PaymentChannel
	Extended          bool // with request_extended_authorization
	AuthorizedAt      time.Time
	Intent            string
	Metadata          map[string]string
}

// PaymentChannel is how a card was presented.
type PaymentChannel int

const (
	// ChannelOnline is a payment with the customer present, on a page.
	ChannelOnline PaymentChannel = iota + 1
	// ChannelOffSession is a payment that the merchant starts with a saved
	// card.
	ChannelOffSession
	// ChannelTerminal is a payment with a card reader.
	ChannelTerminal
)

const day = 24 * time.Hour

// DefaultAuthorizationWindow is Stripe's table of authorization windows.
// Klarna's ends at midnight UTC at the start of the 28th day after the
// authorization.
func DefaultAuthorizationWindow(c Card) time.Duration {
	if r, ok := redirectTypes[c.PaymentMethodType]; ok {
		if c.PaymentMethodType == "klarna" {
			return c.AuthorizedAt.Add(r.window).UTC().Truncate(day).Sub(c.AuthorizedAt)
		}
		return r.window
	}
	visa := c.Brand == "visa"
	switch {
	case c.Extended && visa:
		return 29*day + 18*time.Hour
	case c.Extended:
		return 30 * day
	case visa && c.Channel != ChannelOnline:
		return 4*day + 18*time.Hour
	case c.Channel == ChannelTerminal:
		return 2 * day
	}
	return 7 * day
}

func (o Options) withDefaults() Options {
	o.EndpointRate = cmp.Or(o.EndpointRate, 25)
	o.OverallRate = cmp.Or(o.OverallRate, 100)
	o.SearchRate = cmp.Or(o.SearchRate, 20)
	o.UpdatesPerHour = cmp.Or(o.UpdatesPerHour, 1000)
	o.IdempotencyKeyRetention = cmp.Or(o.IdempotencyKeyRetention, day)
	o.ExpiryReason = cmp.Or(o.ExpiryReason, "automatic")
	o.AlreadyCapturedCode = cmp.Or(o.AlreadyCapturedCode, codeUnexpectedState)
	o.ExpiredCode = cmp.Or(o.ExpiredCode, codeUnexpectedState)
	o.OvercapturePercent = cmp.Or(o.OvercapturePercent, 15)
	o.Speed = cmp.Or(o.Speed, 1)
	o.MaxEvents = cmp.Or(o.MaxEvents, 100_000)
	o.APIVersion = cmp.Or(o.APIVersion, APIVersion)
	o.Webhook.APIVersion = cmp.Or(o.Webhook.APIVersion, o.APIVersion)
	o.Webhook.Attempts = cmp.Or(o.Webhook.Attempts, 6)
	o.Webhook.Backoff = cmp.Or(o.Webhook.Backoff, time.Second)
	if o.Webhook.Client == nil {
		o.Webhook.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if o.AuthorizationWindow == nil {
		o.AuthorizationWindow = DefaultAuthorizationWindow
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
