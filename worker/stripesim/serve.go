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

// call is a request, however it came.
type call struct {
	method, path, query string
	header              http.Header
	body                []byte
	tooLarge            bool
}

// drop says what becomes of the connection.
type drop int

const (
	dropNothing drop = iota + 1
	dropBefore       // closed before anything happened
	dropAfter        // closed after the effect, without an answer
	dropMiddle       // closed in the middle of the body
)

type reply struct {
	drop   drop
	status int
	header http.Header
	body   []byte
	err    error // of the caller's context
}

// operation is one change or read under way: who does it, and the events it causes.
type operation struct {
	sim       *Sim
	by        string // api, dashboard, automatic
	key       string
	requestID string
	now       time.Time // the simulator's clock
	decline   string    // the bank is told to decline with this code
	events    []Event
}

func pause(ctx context.Context, d time.Duration) error {
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

func apiKey(h http.Header) string {
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
func (s *Sim) serve(ctx context.Context, c call) reply {
	n := s.calls.Add(1)
	requestID := "req_" + base62(scramble(s.opt.Seed*17+3, s.requests.Add(1)), 8) + digest(s.opt.Seed, 6, "req")
	rt := match(c.method, c.path)
	class, intentID := ClassUnknown, ""
	if rt != nil {
		class = rt.class
		if strings.HasPrefix(rt.id, "pi_") {
			intentID = rt.id
		}
	}
	accountID := c.header.Get("Stripe-Account")
	if accountID == "" {
		accountID = s.platform
	}
	idemKey := ""
	if c.method == http.MethodPost {
		idemKey = c.header.Get("Idempotency-Key")
	}
	fault := s.decide(Call{N: n, Nth: s.nth(class), Class: class, Account: accountID, Intent: intentID, Key: idemKey, Time: s.Now()})

	if err := pause(ctx, fault.Before); err != nil {
		return reply{drop: dropBefore, err: err}
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Request-Id", requestID)
	h.Set("Date", s.Now().UTC().Format(http.TimeFormat)) // net/http would tell the machine's time
	h.Set("Stripe-Version", cmpOr(c.header.Get("Stripe-Version"), APIVersion))
	if accountID != s.platform {
		h.Set("Stripe-Account", accountID)
	}
	if idemKey != "" {
		h.Set("Idempotency-Key", idemKey)
		h.Set("Original-Request", requestID)
	}
	out := reply{drop: dropNothing, header: h}

	apiErr := s.authenticate(c, class, accountID, fault)
	if apiErr != nil {
		s.answerError(&out, apiErr, requestID)
		if s.knownAccount(accountID) {
			a := s.accountFor(accountID)
			a.mu.Lock()
			a.stats.arrive(class, time.Now())
			a.stats.calls[Answer{class, out.status, apiErr.code}]++
			a.mu.Unlock()
		}
		return out
	}

	a := s.accountFor(accountID)
	op := &operation{sim: s, by: "api", key: idemKey, requestID: requestID}
	if fault.Kind == Decline {
		op.decline = cmpOr(fault.Code, "generic_decline")
	}
	code, held := a.handle(op, rt, c, class, fault, &out)
	switch fault.Kind {
	case DropRequest:
		out = reply{drop: dropBefore}
	case DropReply:
		out.drop = dropAfter
	case BrokenBody:
		out.body = out.body[:len(out.body)/2]
	case CutBody:
		out.drop = dropMiddle
	case HTML, HTMLAfter:
		out.status = cmpOr(fault.Status, http.StatusBadGateway)
		out.header = http.Header{"Content-Type": {"text/html"}}
		out.body = []byte("<html>\r\n<head><title>" + strconv.Itoa(out.status) + " " + http.StatusText(out.status) +
			"</title></head>\r\n<body>\r\n<center><h1>" + strconv.Itoa(out.status) + " " + http.StatusText(out.status) +
			"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
		code = ""
	}
	if fault.ShouldRetry != "" {
		out.header.Set("Stripe-Should-Retry", fault.ShouldRetry)
	}
	answer := Answer{class, out.status, code}
	if out.drop == dropBefore || out.drop == dropAfter {
		answer = Answer{Class: class}
	}
	a.mu.Lock()
	a.stats.calls[answer]++
	a.mu.Unlock()
	s.opt.Logger.Debug("call", "class", string(class), "intent", intentID, "status", answer.Status, "code", code,
		"idempotency_key", idemKey, "request_id", requestID, "fault", string(fault.Kind))
	s.announce(op)
	if err := pause(ctx, held+fault.After); err != nil {
		return reply{drop: dropAfter, err: err}
	}
	return out
}

func cmpOr[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

func (s *Sim) authenticate(c call, class Class, account string, fault Fault) *apiError {
	key := apiKey(c.header)
	switch fault.Kind {
	case Unauthorized:
		return &apiError{status: 401, typ: typeInvalid, message: "Invalid API Key provided: " + mask(key), unstored: true}
	case Forbidden:
		return forbidden(key, account)
	}
	if err := s.keys.check(key, class, account); err != nil {
		return err
	}
	if !s.knownAccount(account) {
		return &apiError{status: 403, typ: typeInvalid, code: "account_invalid", unstored: true,
			message: "The provided key '" + mask(key) + "' does not have access to account '" + account + "' (or that account does not exist). Application access may have been revoked."}
	}
	return nil
}

func (s *Sim) knownAccount(id string) bool {
	if id == s.platform {
		return true
	}
	if s.opt.Connected != nil {
		for _, c := range s.opt.Connected {
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

// maxAccounts bounds the accounts that Stripe-Account headers can bring into being.
const maxAccounts = 10_000

// handle does everything that needs the account's lock. It returns the error code answered, and how long the
// intent stays locked.
func (a *account) handle(op *operation, rt *route, c call, class Class, fault Fault, out *reply) (code string, held time.Duration) {
	s := a.sim
	t := s.tuning.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	real := time.Now()
	a.settleDue(op)
	a.stats.arrive(class, real)
	if fault.Kind == DropRequest {
		return "", 0
	}
	fail := func(e *apiError) (string, time.Duration) {
		s.answerError(out, e, op.requestID)
		return e.code, 0
	}
	if e := a.admit(class, t, real); e != nil {
		return fail(e)
	}
	switch fault.Kind {
	case HTML:
		return "", 0
	case RateLimited:
		return fail(rateLimited("endpoint-rate"))
	case LockTimeout:
		return fail(lockTimeout())
	case Conflict:
		return fail(keyInUse(op.key))
	case Dependency:
		return fail(serverError(http.StatusFailedDependency, fault.Code))
	case Unavailable:
		return fail(serverError(cmpOr(fault.Status, http.StatusServiceUnavailable), fault.Code))
	case NotFound:
		id := ""
		if rt != nil {
			id = rt.id
		}
		return fail(missing("payment_intent", "intent", id))
	}
	if rt == nil {
		return fail(&apiError{status: 404, typ: typeInvalid, unstored: true, message: "Unrecognized request URL (" + c.method + ": " + c.path +
			"). Please see https://stripe.com/docs or we can help at https://support.stripe.com/."})
	}
	raw, e := c.params()
	if e != nil {
		return fail(e)
	}
	var entry *keyEntry
	if op.key != "" {
		if len(op.key) > 255 {
			return fail(refused("", "", "The idempotency key is longer than 255 characters. Use a shorter one."))
		}
		old, e := a.recall(op.key, c.path, fingerprint(raw), op.now, real)
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
		entry = &keyEntry{key: op.key, path: c.path, params: fingerprint(raw), made: op.now, requestID: op.requestID}
	}
	f, e := rt.spec.check(raw)
	if e == nil {
		e = checkExpand(rt.class, f)
	}
	if e != nil {
		return fail(e)
	}
	var in *intent
	if rt.lock {
		if in = a.intents[rt.id]; in != nil {
			if real.Before(in.lockedUntil) {
				return fail(lockTimeout())
			}
			if !in.countUpdate(op.now, s.opt.UpdatesPerHour) {
				return fail(rateLimited("resource-specific"))
			}
		}
	}

	var result any
	if fault.Kind == ErrorBefore {
		e = serverError(cmpOr(fault.Status, http.StatusInternalServerError), fault.Code)
	} else {
		result, e = rt.run(op, a, rt.id, f)
		if fault.Kind == ErrorAfter {
			e = serverError(cmpOr(fault.Status, http.StatusInternalServerError), fault.Code)
		}
	}
	if e != nil && (fault.Kind == ErrorBefore || fault.Kind == ErrorAfter) && e.status < 500 {
		e.typ = typeInvalid
	}
	if e != nil {
		s.answerError(out, e, op.requestID)
		code = e.code
	} else {
		out.status, out.body = http.StatusOK, encode(result)
	}
	if c.method == http.MethodPost && (e == nil || !e.unstored) {
		held = t.serviceTime
		if fault.Service > 0 {
			held = fault.Service
		}
	}
	if in != nil && held > 0 {
		in.lockedUntil = real.Add(held)
	}
	if entry != nil && (e == nil || !e.unstored) {
		entry.status, entry.body, entry.code, entry.busyUntil = out.status, out.body, code, real.Add(held)
		a.remember(entry)
	}
	return code, held
}

func (c call) params() (url.Values, *apiError) {
	if c.tooLarge {
		e := refused("", "", "The request's body is larger than %d bytes.", maxBody)
		e.status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	raw, err := url.ParseQuery(c.query)
	if err != nil {
		return nil, refused("", "", "Invalid query string: %s", err)
	}
	if len(c.body) == 0 {
		return raw, nil
	}
	if ct := c.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/x-www-form-urlencoded") {
		return nil, refused("", "", "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any "+
			"questions, we can help at https://support.stripe.com/.")
	}
	body, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, refused("", "", "Invalid form body: %s", err)
	}
	for k, v := range body {
		raw[k] = append(raw[k], v...)
	}
	return raw, nil
}

func (s *Sim) answerError(out *reply, e *apiError, requestID string) {
	out.status = e.status
	out.body = encode(struct {
		Error errorJSON `json:"error"`
	}{e.json(requestID)})
	if e.reason != "" {
		out.header.Set("Stripe-Rate-Limited-Reason", e.reason)
	}
	if e.shouldRetry != "" {
		out.header.Set("Stripe-Should-Retry", e.shouldRetry)
	}
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only structs of this package get here
	}
	return b.Bytes()
}
