package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// clientNameHeader names the kind of client that sends a request.
const clientNameHeader = "Holdd-Client"

// clientConnection sends requests to one holdd.
type clientConnection struct {
	baseURL    string // of requests, without a slash at the end
	address    string // as shown in errors
	token      *unprintableToken
	clientName string
	retries    bool
	http       *http.Client
}

// unprintableToken keeps a token from being printed: fmt does not print what a
// function returns.
type unprintableToken struct{ reveal func() string }

// clientRequest is one request of the API.
type clientRequest struct {
	method, path   string
	revision       uint64 // for If-Match; 0: any
	idempotencyKey string // for Idempotency-Key; empty: none
	body           any    // nil: none
}

// send sends a request and decodes its response into out. A status other than
// 2xx is an error, except that of a readiness report.
func (c *clientConnection) send(
	ctx context.Context, r clientRequest, out any,
) (status int, err error) {
	if c.retries {
		return c.sendWithRetries(ctx, r, out)
	}
	status, _, err = c.sendOnce(ctx, &r, out)
	return status, err
}

func (c *clientConnection) sendOnce(
	ctx context.Context, r *clientRequest, out any,
) (status int, retryAfter string, err error) {
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return 0, "", err
	}
	var sent atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}))
	res, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which the error shows anyway
		}
		return 0, "", &UnreachableError{URL: c.address,
			OutcomeUnknown: r.method != http.MethodGet && sent.Load(), Err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxResponseBytes+1))
	if err == nil && len(b) > maxResponseBytes {
		err = fmt.Errorf("the response is larger than %d bytes", maxResponseBytes)
	}
	if err != nil {
		return 0, "", &UnreachableError{URL: c.address, OutcomeUnknown: r.method != http.MethodGet,
			Err: err}
	}
	return res.StatusCode, res.Header.Get("Retry-After"), c.decodeResponse(res, b, out)
}

func (c *clientConnection) newRequest(
	ctx context.Context, r *clientRequest,
) (*http.Request, error) {
	var payload io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.baseURL+r.path, payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.address, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "holdd-client")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != nil {
		req.Header.Set("Authorization", "Bearer "+c.token.reveal())
	}
	if c.clientName != "" {
		req.Header.Set(clientNameHeader, c.clientName)
	}
	if r.idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", r.idempotencyKey)
	}
	if r.revision != 0 {
		req.Header.Set("If-Match", `"`+strconv.FormatUint(r.revision, 10)+`"`)
	}
	return req, nil
}

func (c *clientConnection) decodeResponse(res *http.Response, body []byte, out any) error {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	_, isReadiness := out.(*Readiness)
	switch {
	case kind == "application/problem+json":
		p := &Problem{}
		if json.Unmarshal(body, p) == nil && p.Code != "" {
			p.Status = res.StatusCode
			return p
		}
	case kind == "application/json" && (res.StatusCode/100 == 2 || isReadiness):
		if json.Unmarshal(body, out) == nil {
			return nil
		}
	}
	return &Problem{Type: ownProblemType, Title: "Unexpected response", Status: res.StatusCode,
		Code: UnexpectedResponse, Detail: fmt.Sprintf("unexpected response %s from %s: "+
			"check that the address is that of a holdd of this version", res.Status, c.address)}
}
