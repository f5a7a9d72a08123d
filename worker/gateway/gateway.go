package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/charge"
	"github.com/stripe/stripe-go/v76/checkout/session"
	"github.com/stripe/stripe-go/v76/event"
	"github.com/stripe/stripe-go/v76/paymentintent"
	"github.com/stripe/stripe-go/v76/webhookendpoint"
)

// Defaults of [Options].
const (
	DefaultBaseURL     = "https://api.stripe.com"
	DefaultConcurrency = 64
	DefaultTimeout     = 10 * time.Second
)

const (
	// extraConnections is the size of the pool beyond Concurrency. Checks,
	// lists and probes use these connections.
	extraConnections = 8

	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	idleConnTimeout  = 90 * time.Second
	// Pings detect a dead connection, such as one that a NAT has dropped. Over
	// HTTP/2 one connection carries all calls, which would fail until the
	// kernel gives it up after 15 minutes.
	idlePingInterval = 15 * time.Second
	pingTimeout      = 5 * time.Second

	maxHeaderBytes = 64 << 10
)

// Options configure a [Gateway]. APIKey is required.
type Options struct {
	APIKey APIKey
	// Context is the account of the organization for which an organization key
	// acts. It is required for such a key, and invalid for any other.
	Context string
	// BaseURL is the URL of the API; empty means [DefaultBaseURL]. A live key
	// needs https, unless the host is loopback.
	BaseURL string
	// Concurrency is the maximum number of calls in flight. It sizes the
	// connection pool. 0 means [DefaultConcurrency].
	Concurrency int
	// Timeout bounds each call, including its wait for a connection. 0 means
	// [DefaultTimeout].
	Timeout time.Duration
	// ReadOnly refuses every request that is not a GET, whatever the key may do.
	ReadOnly bool
	// Transport replaces the connection pool, for tests and for simulators in
	// the same process. An *http.Transport reports whether it sent a request.
	// Any other transport counts as having sent it, unless the error is a dial
	// or lookup error and the transport reported no connection to
	// [net/http/httptrace].
	Transport http.RoundTripper
}

// Gateway sends requests to Stripe. It is safe for concurrent use. Its clients
// send the operations, and [Gateway.Do] selects the client of a call.
type Gateway struct {
	intents        *intentClient
	authorizations *authorizeClient
	lists          *listClient
	cardSetups     *cardSetupClient
	account        *accountClient

	livemode bool
	address  string          // of the API
	pool     *http.Transport // nil if Options.Transport was set
	scrubber *secretScrubber
	key      *currentAPIKey
}

// New validates the options and returns a gateway. It sends nothing.
func New(o Options) (*Gateway, error) {
	base, err := o.validateAndReturnBaseURL()
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		livemode: o.APIKey.isLive(),
		address:  base,
		scrubber: newSecretScrubber(o.APIKey),
		key:      newCurrentAPIKey(o.APIKey),
	}
	transport := o.Transport
	if transport == nil {
		g.pool = newHTTPTransport(cmp.Or(o.Concurrency, DefaultConcurrency) + extraConnections)
		transport = g.pool
	}
	backend := newStripeBackend(base, transport, &o, g.key)
	sender := &requestSender{
		timeout: cmp.Or(o.Timeout, DefaultTimeout), scrubber: g.scrubber,
	}
	key := string(o.APIKey) // apiKeyTransport replaces it in each request
	intents := paymentintent.Client{B: backend, Key: key}
	g.intents = &intentClient{api: intents, sender: sender}
	g.authorizations = &authorizeClient{api: intents, sender: sender}
	g.lists = &listClient{
		intents: intents, events: event.Client{B: backend, Key: key},
		charges: charge.Client{B: backend, Key: key}, sender: sender,
	}
	g.cardSetups = &cardSetupClient{
		api: session.Client{B: backend, Key: key}, sender: sender,
	}
	g.account = &accountClient{
		backend: backend, key: key, sender: sender,
		endpoints: webhookendpoint.Client{B: backend, Key: key},
	}
	return g, nil
}

// validateAndReturnBaseURL returns the URL of the API, or why the options are invalid.
func (o *Options) validateAndReturnBaseURL() (base string, err error) {
	if err := o.APIKey.validate(); err != nil {
		return "", err
	}
	if err := validateStripeContextForKey(o.APIKey, o.Context); err != nil {
		return "", err
	}
	base, err = parseBaseURL(o.BaseURL, o.APIKey.isLive())
	switch {
	case err != nil:
		return "", err
	case o.Concurrency < 0:
		return "", fmt.Errorf("invalid concurrency %d: want 1 or more", o.Concurrency)
	case o.Timeout < 0:
		return "", fmt.Errorf("invalid timeout %s: want more than 0", o.Timeout)
	}
	return base, nil
}

// newStripeBackend returns the client of stripe-go for the API at base. A
// context is sent with every request, and a read-only gateway sends only reads.
// The retries of stripe-go are off: they ignore the context while they sleep,
// and holdd records each attempt before it sends it.
func newStripeBackend(
	base string, transport http.RoundTripper, o *Options, key *currentAPIKey,
) stripe.Backend {
	_, reportsConns := transport.(*http.Transport)
	if o.Context != "" {
		transport = &stripeContextTransport{next: transport, account: o.Context}
	}
	var outer http.RoundTripper = &apiKeyTransport{key: key,
		next: &tracingTransport{next: transport, nextReportsConns: reportsConns}}
	if o.ReadOnly {
		outer = readOnlyTransport{next: outer}
	}
	return stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(base),
		HTTPClient: &http.Client{
			Transport: outer,
			// Stripe does not redirect. A redirect could send the key or a
			// capture to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		LeveledLogger:     silentLogger{},
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
	})
}

// Address returns the URL of the API. It contains no secret.
func (g *Gateway) Address() string { return g.address }

// Livemode reports whether the API key is of live mode.
func (g *Gateway) Livemode() bool { return g.livemode }

// Format writes the mode of the gateway instead of its fields, which contain
// the key. With some verbs, fmt prints the values behind pointers.
func (g Gateway) Format(f fmt.State, _ rune) {
	mode := "test"
	if g.livemode {
		mode = "live"
	}
	fmt.Fprintf(f, "[stripe gateway, %s mode]", mode)
}

// CloseIdleConnections closes idle connections. It does not affect calls in flight.
func (g *Gateway) CloseIdleConnections() {
	if g.pool != nil {
		g.pool.CloseIdleConnections()
	}
}

func newHTTPTransport(conns int) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: idlePingInterval}
	pings := &http.HTTP2Config{SendPingTimeout: idlePingInterval, PingTimeout: pingTimeout}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment, // an egress proxy in HTTPS_PROXY
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		HTTP2:                  pings,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    conns,
		MaxIdleConns:           conns,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// parseBaseURL validates the URL of the API. Its errors do not quote the URL,
// which may contain a password.
func parseBaseURL(base string, live bool) (string, error) {
	if base == "" {
		return DefaultBaseURL, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", errors.New("invalid Stripe base URL: want one like " + DefaultBaseURL)
	}
	switch {
	case u.User != nil:
		return "", errors.New("invalid Stripe base URL: remove the user name and password")
	case u.Scheme != "https" && u.Scheme != "http",
		u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return "", errors.New("invalid Stripe base URL: want the form of " + DefaultBaseURL)
	case live && u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", fmt.Errorf("invalid Stripe base URL: it would send a live key "+
			"to %.100q unencrypted; use https, or a test key", u.Host)
	}
	return strings.TrimSuffix(base, "/"), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// silentLogger is the logger of stripe-go. It discards all levels, because
// stripe-go logs bodies at debug level and client secrets in its errors. The
// [hold.Answer] has the outcome.
type silentLogger struct{}

// Debugf, like the other methods, prints nothing.
func (silentLogger) Debugf(string, ...any) {}
func (silentLogger) Infof(string, ...any)  {}
func (silentLogger) Warnf(string, ...any)  {}
func (silentLogger) Errorf(string, ...any) {}
