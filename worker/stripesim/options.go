package stripesim

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// APIVersion is the version whose shapes the simulator answers with.
const APIVersion = "2023-10-16"

// Options set up a simulator. The zero value is Stripe as it is by default: 25
// calls a second for each endpoint, 100 over all, keys kept for 24 hours, the
// card networks' own deadlines.
type Options struct {
	// Seed makes ids, client secrets and fault probabilities; the same seed and
	// the same calls give the same answers.
	Seed uint64

	// Account is the platform's own account id; empty means one made from Seed.
	Account string
	// Connected, if not nil, lists the only accounts that a Stripe-Account
	// header may name. Nil admits any acct_ id.
	ConnectedAccounts []string

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

	// KeyRetention is how long an idempotency key is remembered; 0 means 24 h.
	IdempotencyKeyRetention time.Duration
	// SearchLag is how long a change stays invisible to search.
	SearchLag time.Duration
	// ServiceTime is how long every change of a PaymentIntent holds its lock
	// and its idempotency key.
	ServiceTime time.Duration

	// Deadline gives the time from authorization to capture_before; nil means
	// DefaultDeadline.
	AuthorizationWindow func(Card) time.Duration
	// ExpiryReason is the cancellation_reason of an expired intent; empty means
	// "automatic" (newer versions say "expired").
	ExpiryReason string
	// AlreadyCapturedCode is the error code for capturing what is captured;
	// empty means payment_intent_unexpected_state. "charge_already_captured" is
	// the other one that is seen.
	AlreadyCapturedCode string
	// ExpiredCode is the error code for capturing what has expired; empty means
	// payment_intent_unexpected_state. "charge_expired_for_capture" is the
	// other one that is seen.
	ExpiredCode string
	// OvercapturePercent is how far over the authorized amount an over-capture
	// may go; 0 means 15.
	OvercapturePercent int64

	// Speed lets the simulator's clock run faster than the machine's; 0 means
	// 1. Delays and limits follow the machine's clock.
	Speed float64

	// ClockOffset sets the simulator's clock against the machine's from the
	// start; negative: it is behind, so that what is made now looks as if it
	// had been made that long ago to whoever has the machine's time.
	ClockOffset time.Duration

	// Webhook says where events go. They are listed at GET /v1/events in any
	// case.
	Webhook Webhook
	// OnEvent, if set, is called with every event, in the goroutine that caused
	// it, without any lock held and before the call that caused it is answered:
	// calls at the same time call it at the same time.
	OnEvent func(Event)

	// Faults, if set, is asked before every call. Rules added with AddFault are
	// looked at when it answers no fault.
	FaultFunc func(Call) Fault

	// MaxEvents bounds the events kept for each account, besides their 30 days;
	// 0 means 100,000.
	MaxEvents int

	// Logger gets one debug line a call and a warning for each webhook that was
	// given up; nil is silent.
	Logger *slog.Logger
}

// Webhook is the endpoint that Run delivers events to, by URL or by function.
type Webhook struct {
	// URL gets every event as a signed POST.
	URL string
	// Client sends them; nil means one with a 10 s timeout.
	Client *http.Client
	// Deliver, if set, is called instead of URL; an error means: try again
	// later.
	Deliver func(context.Context, Delivery) error
	// Secrets sign each delivery, one v1= for each: several while a secret
	// rotates.
	Secrets []string
	// APIVersion is the event's api_version; empty means APIVersion.
	APIVersion string
	// Attempts bounds the tries of each delivery; 0 means 6.
	Attempts int
	// Backoff is the wait before the second try, doubled for each one after, up
	// to an hour; 0 means 1 s.
	Backoff time.Duration
}

func (w Webhook) isEnabled() bool { return w.URL != "" || w.Deliver != nil }

// Delivery is one signed try at delivering an event.
type Delivery struct {
	Event     Event
	Signature string // the Stripe-Signature header
	Attempt   int    // from 1
}

// Event is something that happened, as its webhook tells it.
type Event struct {
	ID      string
	Type    string // such as payment_intent.succeeded
	Account string // whose event it is; also for the platform's own
	Intent  string // the PaymentIntent concerned
	Created time.Time
	Payload []byte // the whole event as JSON
}

// Card is what a deadline depends on.
type Card struct {
	Brand    string // visa, mastercard, amex, discover, …
	Channel  PaymentChannel
	Extended bool // request_extended_authorization was granted
	Intent   string
	Metadata map[string]string
}

// PaymentChannel is how a card was presented.
type PaymentChannel int

const (
	// ChannelOnline is a payment with the customer present, on a page.
	ChannelOnline PaymentChannel = iota + 1
	// ChannelOffSession is one that the merchant initiates with a saved card.
	ChannelOffSession
	// ChannelTerminal is a card in a reader.
	ChannelTerminal
)

const day = 24 * time.Hour

// DefaultAuthorizationWindow is the card networks' table of authorization
// windows.
func DefaultAuthorizationWindow(c Card) time.Duration {
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
	rate := func(f *float64, d float64) {
		if *f == 0 {
			*f = d
		}
	}
	rate(&o.EndpointRate, 25)
	rate(&o.OverallRate, 100)
	rate(&o.SearchRate, 20)
	rate(&o.Speed, 1)
	if o.UpdatesPerHour == 0 {
		o.UpdatesPerHour = 1000
	}
	if o.IdempotencyKeyRetention == 0 {
		o.IdempotencyKeyRetention = day
	}
	if o.AuthorizationWindow == nil {
		o.AuthorizationWindow = DefaultAuthorizationWindow
	}
	if o.ExpiryReason == "" {
		o.ExpiryReason = "automatic"
	}
	if o.AlreadyCapturedCode == "" {
		o.AlreadyCapturedCode = codeUnexpectedState
	}
	if o.ExpiredCode == "" {
		o.ExpiredCode = codeUnexpectedState
	}
	if o.OvercapturePercent == 0 {
		o.OvercapturePercent = 15
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = 100_000
	}
	if o.Webhook.APIVersion == "" {
		o.Webhook.APIVersion = APIVersion
	}
	if o.Webhook.Attempts == 0 {
		o.Webhook.Attempts = 6
	}
	if o.Webhook.Backoff == 0 {
		o.Webhook.Backoff = time.Second
	}
	if o.Webhook.Client == nil {
		o.Webhook.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
