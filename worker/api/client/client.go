package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of one request.
const (
	MaxBatchHolds = 1000 // holds in one batch
	MaxPageSize   = 200  // holds on one page
)

const (
	clientTimeout    = 60 * time.Second // of a request with its response
	dialTimeout      = 5 * time.Second
	maxResponseBytes = 16 << 20 // more than the largest page of holds
)

// Client sends requests to a running holdd. It retries only if it was made by
// [Client.WithRetries]. It is safe for concurrent use.
//
// Errors are *[Problem] if holdd answered, and *[UnreachableError] if it did
// not.
type Client struct {
	*clientConnection
	holdsClient
	authorizationsClient
	operationsClient
}

// UnreachableError reports that holdd gave no readable response.
type UnreachableError struct {
	URL string
	// OutcomeUnknown reports that a request to change something may have
	// arrived, so that it may have taken effect.
	OutcomeUnknown bool
	Err            error
}

// Error says what happened and what to do about it.
func (u *UnreachableError) Error() string {
	if u.OutcomeUnknown {
		return fmt.Sprintf("outcome unknown: holdd at %s received the request and did not answer: "+
			"check the hold before you retry (%v)", u.URL, u.Err)
	}
	return fmt.Sprintf("holdd at %s does not answer: is `holdd serve` running? (%v)", u.URL, u.Err)
}

// Unwrap returns the cause.
func (u *UnreachableError) Unwrap() error { return u.Err }

// New returns a client of the holdd at address: http://host:port,
// https://host:port or unix:///path/to/socket. The token is empty if holdd
// requires none.
func New(address, token string) (*Client, error) {
	c := &clientConnection{address: address}
	if token = strings.TrimSpace(token); token != "" {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("invalid token: want visible ASCII characters without spaces, " +
				"as in the third word of a line of the tokens file")
		}
		c.token = &unprintableToken{reveal: func() string { return token }}
	}
	// The environment's proxy is not used: it must not see the token.
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: dialTimeout, MaxResponseHeaderBytes: 64 << 10}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, newRelativeSocketError(address)
		}
		c.baseURL = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	} else {
		u, err := parseBaseURL(address)
		if err != nil {
			return nil, err
		}
		c.baseURL, c.address = u, u
	}
	c.http = &http.Client{Transport: transport, Timeout: clientTimeout,
		// A redirect would send the token to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	return newClientWithConnection(c), nil
}

func newClientWithConnection(c *clientConnection) *Client {
	return &Client{clientConnection: c, holdsClient: holdsClient{c},
		authorizationsClient: authorizationsClient{c}, operationsClient: operationsClient{c}}
}

func newRelativeSocketError(address string) error {
	return fmt.Errorf("invalid address %q: want an absolute path, such as unix:///run/holdd.sock",
		address)
}

// parseBaseURL checks a URL and returns it without a slash at the end.
func parseBaseURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("invalid address %q: want http://host:port or unix:///path",
			strings.ToValidUTF8(redactAddress(address), "?"))
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("invalid address %q: want only scheme, host and port; "+
			"the token is a separate setting", u.Redacted())
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// redactAddress removes a possible password from an invalid address.
func redactAddress(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// WithClientName returns a client that names its kind. If holdd requires no
// token, a hold's history shows that name for the client's changes. holdd knows
// "cli".
func (c *Client) WithClientName(name string) *Client {
	d := *c.clientConnection
	d.clientName = name
	return newClientWithConnection(&d)
}

// URL returns the address of holdd.
func (c *Client) URL() string { return c.address }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
