package stripesim

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// apiServer answers the calls of Stripe's API.
type apiServer struct {
	env      *environment
	accounts *accountRegistry
	faults   *Faults
	keys     *APIKeys

	callCount       atomic.Int64
	classCallCounts sync.Map // EndpointClass to *atomic.Int64
	requestIDCount  atomic.Uint64
}

// apiCall is one call in flight.
type apiCall struct {
	request        apiRequest
	route          *route // nil: no such endpoint
	objectID       string // named in the path
	class          EndpointClass
	version        string // of the API
	accountID      string
	intentID       string // named in the path, or empty
	idempotencyKey string
	requestID      string
	publishable    bool // the call has a publishable key
	fault          Fault

	response  apiResponse
	errorCode string        // of the response
	lockedFor time.Duration // how long the intent and the key stay locked
}

// serve answers one call. It holds no lock while it waits.
func (s *apiServer) serve(ctx context.Context, r apiRequest) apiResponse {
	c := s.newCall(r)
	if err := sleepContext(ctx, c.fault.RequestDelay); err != nil {
		return apiResponse{connDrop: dropBeforeExecution, err: err}
	}
	c.response = apiResponse{connDrop: dropNone, header: s.newResponseHeader(c)}
	if e := s.authenticate(c); e != nil {
		c.fail(e)
		if s.accounts.isKnown(c.accountID) {
			s.accounts.getOrCreate(c.accountID).countUnauthenticated(c)
		}
		return c.response
	}
	op := &operation{actor: actorAPI, publishable: c.publishable,
		idempotencyKey: c.idempotencyKey, requestID: c.requestID}
	if c.fault.Kind == FaultDecline {
		op.declineCode = cmp.Or(c.fault.Code, "generic_decline")
	}
	a := s.accounts.getOrCreate(c.accountID)
	a.serve(op, c)
	c.damageResponse()
	a.countOutcome(c.outcome())
	s.logCall(c)
	s.env.webhooks.publish(op)
	if err := sleepContext(ctx, c.lockedFor+c.fault.ReplyDelay); err != nil {
		return apiResponse{connDrop: dropAfterExecution, err: err}
	}
	return c.response
}

// newCall recognizes a request and chooses its fault.
func (s *apiServer) newCall(r apiRequest) *apiCall {
	seed := s.env.options.Seed
	c := &apiCall{request: r, class: ClassUnknown,
		accountID: targetAccount(r.header, s.env.platformAccount),
		requestID: "req_" + base62(scramble(seed*17+3, s.requestIDCount.Add(1)), 8) +
			seededToken(seed, 6, "req")}
	number := s.callCount.Add(1)
	if c.route, c.objectID = matchRoute(r.method, r.path); c.route != nil {
		c.class = c.route.class
		if strings.HasPrefix(c.objectID, "pi_") {
			c.intentID = c.objectID
		}
	}
	c.publishable = isPublishableKey(apiKeyFromHeader(r.header))
	c.version = nearestVersion(cmp.Or(r.header.Get("Stripe-Version"), s.env.options.APIVersion))
	if r.method == http.MethodPost {
		c.idempotencyKey = r.header.Get("Idempotency-Key")
	}
	c.fault = s.faults.choose(Call{Number: number, NumberInClass: s.countClassCall(c.class),
		Class: c.class, Account: c.accountID, Intent: c.intentID,
		IdempotencyKey: c.idempotencyKey, Time: s.env.clock.Now()})
	return c
}

func (s *apiServer) countClassCall(c EndpointClass) int64 {
	n, ok := s.classCallCounts.Load(c)
	if !ok {
		n, _ = s.classCallCounts.LoadOrStore(c, new(atomic.Int64))
	}
	return n.(*atomic.Int64).Add(1)
}

func (s *apiServer) newResponseHeader(c *apiCall) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Request-Id", c.requestID)
	// net/http would send the machine's time.
	h.Set("Date", s.env.clock.Now().UTC().Format(http.TimeFormat))
	h.Set("Stripe-Version", c.version)
	if c.accountID != s.env.platformAccount {
		h.Set("Stripe-Account", c.accountID)
	}
	if c.idempotencyKey != "" {
		h.Set("Idempotency-Key", c.idempotencyKey)
		h.Set("Original-Request", c.requestID)
	}
	return h
}

func (s *apiServer) authenticate(c *apiCall) *apiError {
	key := apiKeyFromHeader(c.request.header)
	switch c.fault.Kind {
	case FaultUnauthorized:
		return &apiError{status: 401, typ: typeInvalidRequest,
			message: "Invalid API Key provided: " + maskKey(key), skipsIdempotency: true}
	case FaultForbidden:
		return forbiddenError(key, c.accountID)
	}
	if err := s.keys.verify(key, c.class, c.accountID); err != nil {
		return err
	}
	if expandsBalanceTransaction(c.request.query) {
		if err := s.keys.verify(key, ClassBalanceTransaction, c.accountID); err != nil {
			return err
		}
	}
	if err := checkContext(c.request.header, s.env.platformAccount); err != nil {
		return err
	}
	if !s.accounts.isKnown(c.accountID) {
		return &apiError{status: 403, typ: typeInvalidRequest,
			code: "account_invalid", skipsIdempotency: true,
			message: "The provided key '" + maskKey(key) + "' does not have access to account '" +
				c.accountID +
				"' (or that account does not exist). Application access may have been revoked."}
	}
	return nil
}

func apiKeyFromHeader(h http.Header) string {
	scheme, rest, _ := strings.Cut(h.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		return strings.TrimSpace(rest)
	case "basic":
		if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest)); err == nil {
			user, _, _ := strings.Cut(string(b), ":")
			return user
		}
	}
	return ""
}

func (s *apiServer) logCall(c *apiCall) {
	s.env.options.Logger.Debug("call", "class", string(c.class), "intent", c.intentID, "status",
		c.outcome().Status, "code", c.errorCode, "idempotency_key", c.idempotencyKey,
		"request_id", c.requestID, "fault", string(c.fault.Kind))
}

// fail answers the call with an error.
func (c *apiCall) fail(e *apiError) {
	c.errorCode = e.code
	c.response.status = e.status
	c.response.body = encodeJSON(renderInVersion(c.version, struct {
		Error errorJSON `json:"error"`
	}{e.toJSON(c.requestID)}))
	if e.rateLimitReason != "" {
		c.response.header.Set("Stripe-Rate-Limited-Reason", e.rateLimitReason)
	}
	if e.shouldRetry != "" {
		c.response.header.Set("Stripe-Should-Retry", e.shouldRetry)
	}
}

// damageResponse applies the faults that damage the response.
func (c *apiCall) damageResponse() {
	out := &c.response
	switch c.fault.Kind {
	case FaultDropRequest:
		out.connDrop = dropBeforeExecution
	case FaultDropReply:
		out.connDrop = dropAfterExecution
	case FaultBrokenBody:
		out.body = out.body[:len(out.body)/2]
	case FaultCutBody:
		out.connDrop = dropMidBody
	case FaultHTML, FaultHTMLAfter:
		out.status = cmp.Or(c.fault.Status, http.StatusBadGateway)
		out.header = http.Header{"Content-Type": {"text/html"}}
		title := strconv.Itoa(out.status) + " " + http.StatusText(out.status)
		out.body = []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n" +
			"<center><h1>" + title + "</h1></center>\r\n<hr><center>nginx</center>\r\n" +
			"</body>\r\n</html>\r\n")
		c.errorCode = ""
	}
	if c.fault.ShouldRetry != "" {
		out.header.Set("Stripe-Should-Retry", c.fault.ShouldRetry)
	}
}

// outcome returns the key by which the call is counted.
func (c *apiCall) outcome() CallOutcome {
	if c.response.connDrop == dropBeforeExecution || c.response.connDrop == dropAfterExecution {
		return CallOutcome{Class: c.class}
	}
	return CallOutcome{c.class, c.response.status, c.errorCode}
}

func sleepContext(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
