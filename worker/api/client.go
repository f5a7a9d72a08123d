package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	clientTimeout    = 60 * time.Second // whole exchange, answer included
	dialTimeout      = 5 * time.Second
	maxResponseBytes = 16 << 20 // bytes; the largest page of holds is below it
)

// Client speaks to a running holdd. It never repeats a request by itself: what
// the caller knows decides that. It is safe for concurrent use.
//
// Errors are *[Problem] where holdd answered and *[UnreachableError] where it
// did not.
type Client struct {
	baseURL     string // for people and for requests, without a slash at the end
	address     string // as given
	token       *hiddenToken
	clientName  string
	extraHeader [2]string // one more header
	http        *http.Client
}

// hiddenToken keeps a token from being printed: fmt shows what it points to
// under no verb.
type hiddenToken struct{ reveal func() string }

// UnreachableError tells that holdd gave no answer that could be read.
type UnreachableError struct {
	URL string
	// Unknown tells that a request that changes something may have arrived:
	// whether it was done isn't known.
	OutcomeUnknown bool
	Err            error
}

// Error says what to do about it.
func (u *UnreachableError) Error() string {
	if u.OutcomeUnknown {
		return fmt.Sprintf(
			"holdd at %s took the request and gave no answer (%v): it isn't known whether it was done; look at the hold before trying again", u.URL, u.Err)
	}
	return fmt.Sprintf("holdd at %s does not answer: is `holdd serve` running? (%v)", u.URL, u.Err)
}

// Unwrap is the cause, such as a context's end.
func (u *UnreachableError) Unwrap() error { return u.Err }

// NewClient makes a client of the holdd at address: http://host:port,
// https://host:port or unix:///path/of/socket. The token is empty where none is
// required.
func NewClient(address, token string) (*Client, error) {
	c := &Client{address: address}
	if token = strings.TrimSpace(token); token != "" {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("the token has characters that no token has: send the third column of the tokens file")
		}
		c.token = &hiddenToken{reveal: func() string { return token }}
	}
	// No proxy from the environment: a token and a daemon beside the caller are
	// none of its business.
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: dialTimeout, MaxResponseHeaderBytes: 64 << 10}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%q: the path of a socket starts with a slash, such as unix:///run/holdd.sock", address)
		}
		c.baseURL = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	} else {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q is no address of holdd: send http://host:port or unix:///path", strings.ToValidUTF8(redactAddress(address), "?"))
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("%q: send no more than scheme, host and port; the token has its own setting", u.Redacted())
		}
		c.baseURL = strings.TrimRight(u.String(), "/")
		c.address = c.baseURL
	}
	c.http = &http.Client{Transport: transport, Timeout: clientTimeout,
		// A redirect would take the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	return c, nil
}

// redactAddress drops what may be a password from an address that could not be
// read.
func redactAddress(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// WithClientName returns a client whose changes are noted in the history as
// made by this kind of client, where no token tells more. holdd knows "cli".
func (c *Client) WithClientName(name string) *Client {
	d := *c
	d.clientName = name
	return &d
}

func (c *Client) withHeader(header, value string) *Client {
	d := *c
	d.extraHeader = [2]string{header, value}
	return &d
}

// URL is where the client looks for holdd.
func (c *Client) URL() string { return c.address }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Schedule asks for a hold to be seen to its end. created is false where the
// same was scheduled before.
func (c *Client) Schedule(
	ctx context.Context, req hold.ScheduleRequest,
) (v hold.View, created bool, err error) {
	status, err := c.doJSON(ctx, http.MethodPost, "/v1/holds", 0, req, &v)
	return v, status == http.StatusCreated, err
}

// ScheduleBatch schedules up to MaxBatch holds, each answered by itself, in the
// same order. A batch may have no more than 1 MiB of JSON.
func (c *Client) ScheduleBatch(
	ctx context.Context, reqs []hold.ScheduleRequest,
) ([]BatchResult, error) {
	var out BatchResponse
	if _, err := c.doJSON(ctx, http.MethodPost, "/v1/holds:batch", 0, batchRequest{Holds: reqs},
		&out); err != nil {
		return nil, err
	}
	if len(out.Results) != len(reqs) {
		return nil, &UnreachableError{URL: c.address, OutcomeUnknown: true,
			Err: fmt.Errorf("%d results for %d holds", len(out.Results), len(reqs))}
	}
	return out.Results, nil
}

// Get is one hold with its history.
func (c *Client) Get(ctx context.Context, id string) (v hold.View, err error) {
	return c.requestHold(ctx, http.MethodGet, id, "", 0, nil)
}

// ListQuery selects holds. Its zero value selects all.
type ListQuery struct {
	State          hold.State    // 0: any
	Reference      string        // prefix
	Account        string        // exact
	ExpiringWithin time.Duration // 0: any; only open holds
	Limit          int           // per page; 0: 50, at most MaxList
	Cursor         string        // ListPage.Next of the page before
}

// List is one page of holds.
func (c *Client) List(ctx context.Context, q ListQuery) (ListPage, error) {
	v := url.Values{}
	set := func(k, s string) {
		if s != "" {
			v.Set(k, s)
		}
	}
	if q.State != 0 {
		set("state", q.State.String())
	}
	set("reference", q.Reference)
	set("account", q.Account)
	set("cursor", q.Cursor)
	if q.ExpiringWithin != 0 {
		set("expiring_within", q.ExpiringWithin.String())
	}
	if q.Limit != 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	path := "/v1/holds"
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	var page ListPage
	_, err := c.doJSON(ctx, http.MethodGet, path, 0, nil, &page)
	return page, err
}

// ListAll walks all pages from q.Cursor on. It ends after the first error.
func (c *Client) ListAll(ctx context.Context, q ListQuery) iter.Seq2[hold.View, error] {
	return func(yield func(hold.View, error) bool) {
		for {
			page, err := c.List(ctx, q)
			if err != nil {
				yield(hold.View{}, err)
				return
			}
			for _, v := range page.Holds {
				if !yield(v, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == q.Cursor {
				yield(hold.View{}, fmt.Errorf("holdd at %s sent the same page twice", c.address))
				return
			}
			q.Cursor = page.Next
		}
	}
}

// Patch changes a hold's terms. With a revision other than 0 it does so only if
// the hold still has it (RevisionMismatch otherwise); the same holds for all
// that follow.
func (c *Client) Patch(
	ctx context.Context, id string, p hold.Patch, revision uint64,
) (hold.View, error) {
	return c.requestHold(ctx, http.MethodPatch, id, "", revision, p)
}

// Capture asks for the money now; amount 0 means what the hold's terms say. The
// worker carries it out: look at the hold for the outcome.
func (c *Client) Capture(
	ctx context.Context, id string, amount int64, revision uint64,
) (hold.View, error) {
	return c.requestHold(ctx, http.MethodPost, id, "/capture", revision,
		captureRequest{Amount: amount})
}

// Cancel asks to let the money go now. The worker carries it out; once accepted
// nothing captures the hold any more.
func (c *Client) Cancel(ctx context.Context, id string, revision uint64) (hold.View, error) {
	return c.requestHold(ctx, http.MethodPost, id, "/cancel", revision, nil)
}

// Pause puts off the hold's own time until it is resumed. Its deadline still
// counts. With confirm the deadline's policy may act at once.
func (c *Client) Pause(
	ctx context.Context, id string, revision uint64, confirm bool,
) (hold.View, error) {
	return c.requestHold(ctx, http.MethodPost, id, "/pause", revision,
		confirmBody{Confirm: confirm})
}

// Resume takes a paused hold back to its own terms. With confirm the deadline's
// policy may act at once.
func (c *Client) Resume(
	ctx context.Context, id string, revision uint64, confirm bool,
) (hold.View, error) {
	return c.requestHold(ctx, http.MethodPost, id, "/resume", revision,
		confirmBody{Confirm: confirm})
}

// Acknowledge silences the warnings about the hold's deadline that are still to
// come.
func (c *Client) Acknowledge(ctx context.Context, id string, revision uint64) (hold.View, error) {
	return c.requestHold(ctx, http.MethodPost, id, "/acknowledge", revision, nil)
}

// Plan is what will happen by itself until next from now, and what is at risk.
// 0 means a day.
func (c *Client) Plan(ctx context.Context, next time.Duration) (Plan, error) {
	path := "/v1/plan"
	if next != 0 {
		path += "?next=" + url.QueryEscape(next.String())
	}
	var p Plan
	_, err := c.doJSON(ctx, http.MethodGet, path, 0, nil, &p)
	return p, err
}

// Readiness is the readiness report. Not being ready is an answer, not an
// error.
func (c *Client) Readiness(ctx context.Context) (Readiness, error) {
	var r Readiness
	_, err := c.doJSON(ctx, http.MethodGet, "/readyz", 0, nil, &r)
	return r, err
}

// Health tells whether the process is alive, its version and its mode.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var i Health
	_, err := c.doJSON(ctx, http.MethodGet, "/healthz", 0, nil, &i)
	return i, err
}

func (c *Client) requestHold(
	ctx context.Context, method, id, verb string, revision uint64, body any,
) (v hold.View, err error) {
	var wrong *hold.Problem
	if errors.As(hold.CheckPaymentIntentID(id), &wrong) { // a path must not be made of it
		return v, problemFromHold(wrong)
	}
	_, err = c.doJSON(ctx, method, "/v1/holds/"+url.PathEscape(id)+verb, revision, body, &v)
	return v, err
}

// doJSON sends one request and reads its answer into out. A status that is no
// success is an error, but for a readiness report.
func (c *Client) doJSON(
	ctx context.Context, method, path string, revision uint64, body, out any,
) (int, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, fmt.Errorf("the request can't be written as JSON: %w", err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.baseURL+path, payload)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.address, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "holdd-client")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != nil {
		req.Header.Set("Authorization", "Bearer "+c.token.reveal())
	}
	if c.clientName != "" {
		req.Header.Set(clientNameHeader, c.clientName)
	}
	if c.extraHeader[0] != "" {
		req.Header.Set(c.extraHeader[0], c.extraHeader[1])
	}
	if revision != 0 {
		req.Header.Set("If-Match", formatETag(revision))
	}
	var sent atomic.Bool
	req = req.WithContext(
		httptrace.WithClientTrace(
			ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}))
	res, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the rest is the URL, told already
		}
		return 0, &UnreachableError{URL: c.address, OutcomeUnknown: method != http.MethodGet &&
			sent.Load(), Err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxResponseBytes+1))
	if err == nil && len(b) > maxResponseBytes {
		err = fmt.Errorf("the answer is longer than %d bytes", maxResponseBytes)
	}
	if err != nil {
		return 0, &UnreachableError{URL: c.address, OutcomeUnknown: method != http.MethodGet,
			Err: err}
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	_, report := out.(*Readiness)
	switch {
	case kind == "application/problem+json":
		p := &Problem{}
		if json.Unmarshal(b, p) == nil && p.Code != "" {
			p.Status = res.StatusCode
			return res.StatusCode, p
		}
	case kind == "application/json" && (res.StatusCode/100 == 2 || report):
		if json.Unmarshal(b, out) == nil {
			return res.StatusCode, nil
		}
	}
	p := newProblem(UnexpectedResponse, "",
		fmt.Sprintf(
			"%s answered %s, which is not how holdd speaks: is it the address of a holdd of this version?", c.address, res.Status))
	p.Status = res.StatusCode
	return res.StatusCode, p
}

func formatETag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }
