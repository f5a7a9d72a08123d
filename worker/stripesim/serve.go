package stripesim

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// apiRequest is a request, however it came.
type apiRequest struct {
	method, path, query string
	header              http.Header
	body                []byte
	tooLarge            bool
}

// connectionDrop says what becomes of the connection.
type connectionDrop int

const (
	dropNone            connectionDrop = iota + 1
	dropBeforeExecution                // closed before anything happened
	dropAfterExecution                 // closed after the effect, without an answer
	dropMidBody                        // closed in the middle of the body
)

type apiResponse struct {
	connDrop connectionDrop
	status   int
	header   http.Header
	body     []byte
	err      error // of the caller's context
}

// operation is one change or read under way: who does it, and the events it
// causes.
type operation struct {
	sim            *Sim
	actor          string // api, dashboard, automatic
	idempotencyKey string
	requestID      string
	now            time.Time // the simulator's clock
	declineCode    string    // the bank is told to decline with this code
	events         []Event
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

// serve answers one call. It waits, if at all, without any lock held.
func (s *Sim) serve(ctx context.Context, c apiRequest) apiResponse {
	n := s.callCount.Add(1)
	requestID := "req_" + base62(scramble(s.options.Seed*17+3, s.requestIDCount.Add(1)), 8) +
		seededToken(s.options.Seed, 6, "req")
	matched := matchRoute(c.method, c.path)
	class, intentID := ClassUnknown, ""
	if matched != nil {
		class = matched.class
		if strings.HasPrefix(matched.objectID, "pi_") {
			intentID = matched.objectID
		}
	}
	accountID := c.header.Get("Stripe-Account")
	if accountID == "" {
		accountID = s.platformAccount
	}
	idemKey := ""
	if c.method == http.MethodPost {
		idemKey = c.header.Get("Idempotency-Key")
	}
	fault := s.chooseFault(Call{Number: n, NumberInClass: s.countClassCall(class), Class: class,
		Account: accountID, Intent: intentID, IdempotencyKey: idemKey, Time: s.Now()})

	if err := sleepContext(ctx, fault.RequestDelay); err != nil {
		return apiResponse{connDrop: dropBeforeExecution, err: err}
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Request-Id", requestID)
	h.Set("Date", s.Now().UTC().Format(http.TimeFormat)) // net/http would tell the machine's time
	h.Set("Stripe-Version", firstNonZero(c.header.Get("Stripe-Version"), APIVersion))
	if accountID != s.platformAccount {
		h.Set("Stripe-Account", accountID)
	}
	if idemKey != "" {
		h.Set("Idempotency-Key", idemKey)
		h.Set("Original-Request", requestID)
	}
	out := apiResponse{connDrop: dropNone, header: h}

	apiErr := s.authenticate(c, class, accountID, fault)
	if apiErr != nil {
		s.writeError(&out, apiErr, requestID)
		if s.isKnownAccount(accountID) {
			a := s.getOrCreateAccount(accountID)
			a.mu.Lock()
			a.stats.countArrival(class, time.Now())
			a.stats.calls[CallOutcome{class, out.status, apiErr.code}]++
			a.mu.Unlock()
		}
		return out
	}

	a := s.getOrCreateAccount(accountID)
	op := &operation{sim: s, actor: "api", idempotencyKey: idemKey, requestID: requestID}
	if fault.Kind == FaultDecline {
		op.declineCode = firstNonZero(fault.Code, "generic_decline")
	}
	code, lockedFor := a.execute(op, matched, c, class, fault, &out)
	switch fault.Kind {
	case FaultDropRequest:
		out = apiResponse{connDrop: dropBeforeExecution}
	case FaultDropReply:
		out.connDrop = dropAfterExecution
	case FaultBrokenBody:
		out.body = out.body[:len(out.body)/2]
	case FaultCutBody:
		out.connDrop = dropMidBody
	case FaultHTML, FaultHTMLAfter:
		out.status = firstNonZero(fault.Status, http.StatusBadGateway)
		out.header = http.Header{"Content-Type": {"text/html"}}
		out.body = []byte("<html>\r\n<head><title>" + strconv.Itoa(out.status) + " " +
			http.StatusText(out.status) +
			"</title></head>\r\n<body>\r\n<center><h1>" + strconv.Itoa(out.status) + " " +
			http.StatusText(out.status) +
			"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
		code = ""
	}
	if fault.ShouldRetry != "" {
		out.header.Set("Stripe-Should-Retry", fault.ShouldRetry)
	}
	outcome := CallOutcome{class, out.status, code}
	if out.connDrop == dropBeforeExecution || out.connDrop == dropAfterExecution {
		outcome = CallOutcome{Class: class}
	}
	a.mu.Lock()
	a.stats.calls[outcome]++
	a.mu.Unlock()
	s.options.Logger.Debug("call", "class", string(class), "intent", intentID, "status",
		outcome.Status, "code", code,
		"idempotency_key", idemKey, "request_id", requestID, "fault", string(fault.Kind))
	s.publishEvents(op)
	if err := sleepContext(ctx, lockedFor+fault.ReplyDelay); err != nil {
		return apiResponse{connDrop: dropAfterExecution, err: err}
	}
	return out
}

func firstNonZero[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

func (s *Sim) authenticate(
	c apiRequest, class EndpointClass, account string, fault Fault,
) *apiError {
	key := apiKeyFromHeader(c.header)
	switch fault.Kind {
	case FaultUnauthorized:
		return &apiError{status: 401, typ: typeInvalidRequest,
			message: "Invalid API Key provided: " + maskKey(key), skipsIdempotency: true}
	case FaultForbidden:
		return forbiddenError(key, account)
	}
	if err := s.apiKeys.verify(key, class, account); err != nil {
		return err
	}
	if !s.isKnownAccount(account) {
		return &apiError{status: 403, typ: typeInvalidRequest,
			code: "account_invalid", skipsIdempotency: true,
			message: "The provided key '" + maskKey(key) + "' does not have access to account '" +
				account + "' (or that account does not exist). Application access may have been revoked."}
	}
	return nil
}

func (s *Sim) isKnownAccount(id string) bool {
	if id == s.platformAccount {
		return true
	}
	if s.options.ConnectedAccounts != nil {
		for _, c := range s.options.ConnectedAccounts {
			if c == id {
				return true
			}
		}
		return false
	}
	if len(id) < 6 || len(id) > 64 || !strings.HasPrefix(id, "acct_") {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[id] != nil || len(s.accounts) < maxAccounts
}

// maxAccounts bounds the accounts that Stripe-Account headers can bring into
// being.
const maxAccounts = 10_000

// execute does everything that needs the account's lock. It returns the error
// code answered, and how long the intent stays locked.
func (a *account) execute(
	op *operation, rt *route, c apiRequest, class EndpointClass, fault Fault, out *apiResponse,
) (code string, lockedFor time.Duration) {
	s := a.sim
	t := s.settings.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	wallNow := time.Now()
	a.processDue(op)
	a.stats.countArrival(class, wallNow)
	if fault.Kind == FaultDropRequest {
		return "", 0
	}
	fail := func(e *apiError) (string, time.Duration) {
		s.writeError(out, e, op.requestID)
		return e.code, 0
	}
	if e := a.takeRateTokens(class, t, wallNow); e != nil {
		return fail(e)
	}
	switch fault.Kind {
	case FaultHTML:
		return "", 0
	case FaultRateLimited:
		return fail(rateLimitError("endpoint-rate"))
	case FaultLockTimeout:
		return fail(lockTimeoutError())
	case FaultKeyInUse:
		return fail(keyInUseError(op.idempotencyKey))
	case FaultFailedDependency:
		return fail(serverError(http.StatusFailedDependency, fault.Code))
	case FaultUnavailable:
		return fail(serverError(firstNonZero(fault.Status, http.StatusServiceUnavailable),
			fault.Code))
	case FaultNotFound:
		id := ""
		if rt != nil {
			id = rt.objectID
		}
		return fail(notFoundError("payment_intent", "intent", id))
	}
	if rt == nil {
		return fail(&apiError{status: 404, typ: typeInvalidRequest, skipsIdempotency: true,
			message: "Unrecognized request URL (" + c.method + ": " + c.path +
				"). Please see https://stripe.com/docs or we can help at https://support.stripe.com/."})
	}
	raw, e := c.parseParams()
	if e != nil {
		return fail(e)
	}
	var entry *idempotencyEntry
	if op.idempotencyKey != "" {
		if len(op.idempotencyKey) > 255 {
			return fail(
				validationError("", "",
					"The idempotency key is longer than 255 characters. Use a shorter one."))
		}
		old, e := a.lookupIdempotencyKey(op.idempotencyKey, c.path,
			hashParams(raw), op.now, wallNow)
		if e != nil {
			return fail(e)
		}
		if old != nil {
			out.status, out.body = old.status, old.body
			out.header.Set("Idempotent-Replayed", "true")
			out.header.Set("Original-Request", old.requestID)
			a.stats.replayed++
			return old.code, 0
		}
		entry = &idempotencyEntry{key: op.idempotencyKey, path: c.path, paramsHash: hashParams(raw),
			createdAt: op.now, requestID: op.requestID}
	}
	f, e := rt.spec.parse(raw)
	if e == nil {
		e = checkExpand(rt.class, f)
	}
	if e != nil {
		return fail(e)
	}
	var in *intent
	if rt.locksIntent {
		if in = a.intents[rt.objectID]; in != nil {
			if wallNow.Before(in.lockedUntil) {
				return fail(lockTimeoutError())
			}
			if !in.allowUpdate(op.now, s.options.UpdatesPerHour) {
				return fail(rateLimitError("resource-specific"))
			}
		}
	}

	var result any
	if fault.Kind == FaultErrorBefore {
		e = serverError(firstNonZero(fault.Status, http.StatusInternalServerError), fault.Code)
	} else {
		result, e = rt.handler(op, a, rt.objectID, f)
		if fault.Kind == FaultErrorAfter {
			e = serverError(firstNonZero(fault.Status, http.StatusInternalServerError), fault.Code)
		}
	}
	if e != nil && (fault.Kind == FaultErrorBefore || fault.Kind == FaultErrorAfter) &&
		e.status < 500 {
		e.typ = typeInvalidRequest
	}
	if e != nil {
		s.writeError(out, e, op.requestID)
		code = e.code
	} else {
		out.status, out.body = http.StatusOK, encodeJSON(result)
	}
	if c.method == http.MethodPost && (e == nil || !e.skipsIdempotency) {
		lockedFor = t.serviceTime
		if fault.ServiceTime > 0 {
			lockedFor = fault.ServiceTime
		}
	}
	if in != nil && lockedFor > 0 {
		in.lockedUntil = wallNow.Add(lockedFor)
	}
	if entry != nil && (e == nil || !e.skipsIdempotency) {
		entry.status, entry.body, entry.code, entry.busyUntil = out.status, out.body,
			code, wallNow.Add(lockedFor)
		a.storeIdempotencyEntry(entry)
	}
	return code, lockedFor
}

func (c apiRequest) parseParams() (url.Values, *apiError) {
	if c.tooLarge {
		e := validationError("", "", "The request's body is larger than %d bytes.", maxBody)
		e.status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	raw, err := url.ParseQuery(c.query)
	if err != nil {
		return nil, validationError("", "", "Invalid query string: %s", err)
	}
	if len(c.body) == 0 {
		return raw, nil
	}
	if ct := c.header.Get("Content-Type"); !strings.HasPrefix(
		ct, "application/x-www-form-urlencoded") {
		return nil, validationError("", "", "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any "+
			"questions, we can help at https://support.stripe.com/.")
	}
	body, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, validationError("", "", "Invalid form body: %s", err)
	}
	for k, v := range body {
		raw[k] = append(raw[k], v...)
	}
	return raw, nil
}

func (s *Sim) writeError(out *apiResponse, e *apiError, requestID string) {
	out.status = e.status
	out.body = encodeJSON(struct {
		Error errorJSON `json:"error"`
	}{e.toJSON(requestID)})
	if e.rateLimitReason != "" {
		out.header.Set("Stripe-Rate-Limited-Reason", e.rateLimitReason)
	}
	if e.shouldRetry != "" {
		out.header.Set("Stripe-Should-Retry", e.shouldRetry)
	}
}

func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only structs of this package get here
	}
	return b.Bytes()
}
