package gateway

import (
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
	DefaultBase        = "https://api.stripe.com"
	DefaultConcurrency = 64
	DefaultTimeout     = 10 * time.Second
)

const (
	// readsBeside are the connections that the pool has beside those for the claims under way: checks, lists and probes.
	readsBeside = 8

	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 90 * time.Second
	// A connection that has gone dead without a word (a NAT that forgot it) would fail one call after the other until the kernel
	// gives up after a quarter of an hour. Over HTTP/2 that one connection carries everything.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second

	maxHeaderBytes = 64 << 10
)

// Options configure a [Gateway]. All but the key have defaults.
type Options struct {
	Key Key
	// Base is the URL of the API; empty means [DefaultBase]. Plain http is refused with a live key unless the host is loopback.
	Base string
	// Concurrency is how many calls may be under way at once; it sizes the connection pool. 0 means [DefaultConcurrency].
	Concurrency int
	// Timeout bounds each call, its wait for a connection included. 0 means [DefaultTimeout].
	Timeout time.Duration
	// Transport replaces the gateway's own connection pool, for tests and simulators within the process. An *http.Transport
	// tells by itself whether a request has left. Any other is believed to have sent a request once it was called, unless
	// its error is that of a dial or a lookup and it has told [net/http/httptrace] of no connection.
	Transport http.RoundTripper
}

// Gateway speaks with Stripe. It is safe for concurrent use.
type Gateway struct {
	intents paymentintent.Client
	timeout time.Duration
	live    bool
	pool    *http.Transport // nil when the transport is the caller's
	scrub   *scrubber
}

// New checks the options and builds a gateway. It sends nothing; see [Gateway.Check].
func New(o Options) (*Gateway, error) {
	if err := o.Key.check(); err != nil {
		return nil, err
	}
	base, err := checkBase(o.Base, o.Key.livemode())
	if err != nil {
		return nil, err
	}
	if o.Concurrency < 0 {
		return nil, fmt.Errorf("the gateway's concurrency is %d: set it to 1 or more", o.Concurrency)
	}
	if o.Concurrency == 0 {
		o.Concurrency = DefaultConcurrency
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("the gateway's timeout is %s: set it to more than 0", o.Timeout)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	g := &Gateway{timeout: o.Timeout, live: o.Key.livemode(), scrub: newScrubber(o.Key)}
	next := o.Transport
	if next == nil {
		g.pool = newPool(o.Concurrency + readsBeside)
		next = g.pool
	}
	_, traces := next.(*http.Transport)
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(base),
		HTTPClient: &http.Client{
			Transport: &wire{next: next, traces: traces},
			// Stripe doesn't redirect, and nobody else is to be handed a key or a capture.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		LeveledLogger:     silent{},
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
	})
	g.intents = paymentintent.Client{B: backend, Key: string(o.Key)}
	return g, nil
}

// Livemode reports whether the key moves real money.
func (g *Gateway) Livemode() bool { return g.live }

// Format writes what may be known of a gateway. Printed field by field it would show the key: a verb that doesn't fit makes fmt follow
// pointers that it leaves alone otherwise.
func (g Gateway) Format(f fmt.State, _ rune) {
	mode := "test"
	if g.live {
		mode = "live"
	}
	fmt.Fprintf(f, "[stripe gateway, %s mode]", mode)
}

// Close closes connections that are kept alive. Calls under way end as they would have.
func (g *Gateway) Close() {
	if g.pool != nil {
		g.pool.CloseIdleConnections()
	}
}

func newPool(conns int) *http.Transport {
	return &http.Transport{
		// Who runs behind an egress proxy expects HTTPS_PROXY to be heeded, as by every other program on the machine.
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter}).DialContext,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    conns,
		MaxIdleConns:           conns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

func checkBase(base string, live bool) (string, error) {
	if base == "" {
		return DefaultBase, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		// err would quote it, user name and password and all
		return "", errors.New("the Stripe base URL can't be read: set it to something like " + DefaultBase)
	}
	switch {
	case u.User != nil:
		return "", errors.New("the Stripe base URL has a user name or password in it: leave them out")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return "", errors.New("the Stripe base URL is not of the form " + DefaultBase)
	case live && u.Scheme == "http" && !loopback(u.Hostname()):
		return "", fmt.Errorf("the Stripe base URL would carry a live key to %.100q unencrypted: use https, or a test key", u.Host)
	}
	return strings.TrimSuffix(base, "/"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// silent is stripe-go's logger here. Its debug level prints whole bodies and its errors print client secrets, so there is no level
// at which it may speak; every outcome is in the Answer.
type silent struct{}

func (silent) Debugf(string, ...any) {}
func (silent) Infof(string, ...any)  {}
func (silent) Warnf(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
