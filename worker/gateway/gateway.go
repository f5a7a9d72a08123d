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
	"github.com/stripe/stripe-go/v76/paymentintent"
)

// Defaults of [Options].
const (
	DefaultBaseURL     = "https://api.stripe.com"
	DefaultConcurrency = 64
	DefaultTimeout     = 10 * time.Second
)

const (
	// extraConnections is how many connections the pool has beside those for
	// Concurrency calls. Checks, lists and probes use them.
	extraConnections = 8

	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	idleConnTimeout  = 90 * time.Second
	// Without pings a connection that died silently, such as behind a NAT that
	// forgot it, would fail one call after the other until the kernel gives up
	// after a quarter of an hour. Over HTTP/2 one connection carries all calls.
	idlePingInterval = 15 * time.Second
	pingTimeout      = 5 * time.Second

	maxHeaderBytes = 64 << 10
)

// Options configure a [Gateway]. APIKey is required.
type Options struct {
	APIKey APIKey
	// BaseURL is the URL of the API; empty means [DefaultBaseURL]. Plain http
	// is an error with a live key unless the host is loopback.
	BaseURL string
	// Concurrency is how many calls may be under way at once. It sizes the
	// connection pool. 0 means [DefaultConcurrency].
	Concurrency int
	// Timeout bounds each call, its wait for a connection included. 0 means
	// [DefaultTimeout].
	Timeout time.Duration
	// Transport replaces the gateway's own connection pool, for tests and
	// simulators in the same process. An *http.Transport reports whether a
	// request was sent. Any other counts as having sent a request once it is
	// called, unless its error is a dial or lookup error and it has reported no
	// connection to [net/http/httptrace].
	Transport http.RoundTripper
}

// Gateway sends requests to Stripe. It is safe for concurrent use.
type Gateway struct {
	paymentIntents paymentintent.Client
	timeout        time.Duration
	livemode       bool
	pool           *http.Transport // nil if Options.Transport was set
	scrubber       *scrubber
}

// New validates the options and returns a gateway. It sends nothing.
func New(o Options) (*Gateway, error) {
	if err := o.APIKey.validate(); err != nil {
		return nil, err
	}
	base, err := parseBaseURL(o.BaseURL, o.APIKey.isLive())
	switch {
	case err != nil:
		return nil, err
	case o.Concurrency < 0:
		return nil, fmt.Errorf("invalid concurrency %d: want 1 or more", o.Concurrency)
	case o.Timeout < 0:
		return nil, fmt.Errorf("invalid timeout %s: want more than 0", o.Timeout)
	}
	g := &Gateway{
		timeout:  cmp.Or(o.Timeout, DefaultTimeout),
		livemode: o.APIKey.isLive(),
		scrubber: newScrubber(o.APIKey),
	}
	transport := o.Transport
	if transport == nil {
		g.pool = newTransport(cmp.Or(o.Concurrency, DefaultConcurrency) + extraConnections)
		transport = g.pool
	}
	g.paymentIntents = paymentintent.Client{B: newBackend(base, transport), Key: string(o.APIKey)}
	return g, nil
}

// newBackend returns stripe-go's client for the API at base. stripe-go's
// retries are off: they sleep without watching the context, and every retry of
// holdd's is recorded first.
func newBackend(base string, transport http.RoundTripper) stripe.Backend {
	_, reportsConns := transport.(*http.Transport)
	return stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(base),
		HTTPClient: &http.Client{
			Transport: &tracingTransport{next: transport, nextReportsConns: reportsConns},
			// Stripe does not redirect, and no other host may get the key or a
			// capture.
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		LeveledLogger:     silentLogger{},
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
	})
}

// Livemode reports whether the key moves real money.
func (g *Gateway) Livemode() bool { return g.livemode }

// Format writes the gateway's mode. Printing the fields could show the key:
// with a verb that does not fit, fmt follows pointers that it leaves alone
// otherwise.
func (g Gateway) Format(f fmt.State, _ rune) {
	mode := "test"
	if g.livemode {
		mode = "live"
	}
	fmt.Fprintf(f, "[stripe gateway, %s mode]", mode)
}

// Close closes idle connections. Calls under way are not affected.
func (g *Gateway) Close() {
	if g.pool != nil {
		g.pool.CloseIdleConnections()
	}
}

func newTransport(conns int) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: idlePingInterval}
	pings := &http.HTTP2Config{SendPingTimeout: idlePingInterval, PingTimeout: pingTimeout}
	return &http.Transport{
		// An operator behind an egress proxy expects HTTPS_PROXY to apply here
		// too.
		Proxy:                  http.ProxyFromEnvironment,
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

// parseBaseURL checks the URL of the API. Its errors do not quote the URL,
// which may hold a password.
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
		return "", fmt.Errorf("the Stripe base URL would send a live key to %.100q unencrypted: "+
			"use https, or a test key", u.Host)
	}
	return strings.TrimSuffix(base, "/"), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// silentLogger is stripe-go's logger. stripe-go logs whole bodies at its debug
// level and client secrets in its errors, so no level is safe. The
// [hold.Answer] has every outcome.
type silentLogger struct{}

// Debugf, like the methods below, prints nothing.
func (silentLogger) Debugf(string, ...any) {}
func (silentLogger) Infof(string, ...any)  {}
func (silentLogger) Warnf(string, ...any)  {}
func (silentLogger) Errorf(string, ...any) {}
