package stripesim

import (
	"cmp"
	"net/http"
	"net/url"
	"time"
)

// Actors of an operation, as the ledger shows them.
const (
	actorAPI       = "api"
	actorDashboard = "dashboard"
	actorAutomatic = "automatic"
)

// operation is one change or read of an account, with the events it causes.
type operation struct {
	actor          string
	publishable    bool // a browser's call
	idempotencyKey string
	requestID      string
	now            time.Time // by the simulator's clock
	declineCode    string    // with which the bank is to decline; may be empty
	capture        CaptureDetails
	events         []Event
	deliveries     []pendingDelivery // to the webhook endpoints made by calls
}

// execution is a call that passed every check that precedes execution.
type execution struct {
	form    *form
	entry   *idempotencyEntry // of the call's key; nil without a key
	intent  *intent           // locked by the call; may be nil
	wallNow time.Time
}

// serve does everything about a call that needs the account's lock.
func (a *account) serve(op *operation, c *apiCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wallNow := time.Now()
	a.processDue(op)
	a.stats.countArrival(c.class, wallNow)
	if c.fault.Kind == FaultDropRequest {
		return
	}
	if e := a.buckets.take(c.class, a.env.settings.load(), wallNow); e != nil {
		c.fail(e)
		return
	}
	if c.fault.Kind == FaultHTML {
		return
	}
	if e := c.rejectionByFault(); e != nil {
		c.fail(e)
		return
	}
	x, replay, e := a.prepare(op, c, wallNow)
	switch {
	case e != nil:
		c.fail(e)
	case replay != nil:
		a.replay(c, replay)
	default:
		a.execute(op, c, x)
	}
}

// rejectionByFault returns the error with which the fault rejects the call
// before execution, or nil.
func (c *apiCall) rejectionByFault() *apiError {
	switch c.fault.Kind {
	case FaultRateLimited:
		return rateLimitError("endpoint-rate")
	case FaultLockTimeout:
		return lockTimeoutError()
	case FaultKeyInUse:
		return keyInUseError(c.idempotencyKey)
	case FaultFailedDependency:
		return serverError(http.StatusFailedDependency, c.fault.Code)
	case FaultUnavailable:
		return serverError(cmp.Or(c.fault.Status, http.StatusServiceUnavailable),
			c.fault.Code)
	case FaultNotFound:
		return notFoundError("payment_intent", "intent", c.objectID)
	}
	return nil
}

// prepare checks everything that Stripe checks before execution, in its order.
// replay is the stored answer if the key was used before.
func (a *account) prepare(
	op *operation, c *apiCall, wallNow time.Time,
) (x execution, replay *idempotencyEntry, err *apiError) {
	if c.route == nil {
		return x, nil, &apiError{status: 404, typ: typeInvalidRequest, skipsIdempotency: true,
			message: "Unrecognized request URL (" + c.request.method + ": " + c.request.path +
				"). Please see https://stripe.com/docs or we can help at " +
				"https://support.stripe.com/."}
	}
	raw, err := c.request.parseParams()
	if err != nil {
		return x, nil, err
	}
	x.wallNow = wallNow
	if op.idempotencyKey != "" {
		if x.entry, replay, err = a.openIdempotencyKey(op, c, raw, wallNow); err != nil ||
			replay != nil {
			return x, replay, err
		}
	}
	if x.form, err = c.route.spec.parse(raw); err != nil {
		return x, nil, err
	}
	if err = c.applyVersion(x.form); err != nil {
		return x, nil, err
	}
	if err = c.checkClientSecret(x.form); err != nil {
		return x, nil, err
	}
	if err = checkExpand(c.class, x.form); err != nil {
		return x, nil, err
	}
	if !c.route.locksIntent || a.intents[c.objectID] == nil {
		return x, nil, nil
	}
	x.intent = a.intents[c.objectID]
	if wallNow.Before(x.intent.lockedUntil) {
		return x, nil, lockTimeoutError()
	}
	if !x.intent.updates.allow(op.now, a.env.options.UpdatesPerHour) {
		return x, nil, rateLimitError("resource-specific")
	}
	return x, nil, nil
}

// openIdempotencyKey returns a new entry for the call's key, or the entry to
// replay.
func (a *account) openIdempotencyKey(
	op *operation, c *apiCall, raw url.Values, wallNow time.Time,
) (entry, replay *idempotencyEntry, err *apiError) {
	if len(op.idempotencyKey) > 255 {
		return nil, nil, validationError("", "",
			"The idempotency key is longer than 255 characters. Use a shorter one.")
	}
	hash := hashParams(raw)
	replay, err = a.idempotency.lookup(op.idempotencyKey, c.request.path, hash, op.now, wallNow)
	if err != nil || replay != nil {
		return nil, replay, err
	}
	return &idempotencyEntry{key: op.idempotencyKey, path: c.request.path, paramsHash: hash,
		createdAt: op.now, requestID: op.requestID}, nil, nil
}

// replay answers the call with the stored answer of its key.
func (a *account) replay(c *apiCall, e *idempotencyEntry) {
	c.response.status, c.response.body, c.errorCode = e.status, e.body, e.code
	c.response.header.Set("Idempotent-Replayed", "true")
	c.response.header.Set("Original-Request", e.requestID)
	a.stats.replayed++
}

// execute runs the call's handler, locks what the call locks, and stores the
// answer under the call's key.
func (a *account) execute(op *operation, c *apiCall, x execution) {
	result, err := a.callHandler(op, c, x.form)
	if err != nil {
		c.fail(err)
	} else {
		c.response.status = http.StatusOK
		if c.publishable {
			result = renderPublic(result)
		}
		c.response.body = encodeJSON(renderInVersion(c.version, result))
	}
	if err != nil && err.skipsIdempotency {
		return
	}
	if c.request.method == http.MethodPost {
		c.lockedFor = a.env.settings.load().serviceTime
		if c.fault.ServiceTime > 0 {
			c.lockedFor = c.fault.ServiceTime
		}
	}
	busyUntil := x.wallNow.Add(c.lockedFor)
	if x.intent != nil && c.lockedFor > 0 {
		x.intent.lockedUntil = busyUntil
	}
	if x.entry != nil {
		x.entry.status, x.entry.body, x.entry.code, x.entry.busyUntil = c.response.status,
			c.response.body, c.errorCode, busyUntil
		a.idempotency.add(x.entry)
	}
}

// callHandler runs the call's handler, and applies the faults that replace its
// answer.
func (a *account) callHandler(op *operation, c *apiCall, f *form) (any, *apiError) {
	var result any
	var err *apiError
	if c.fault.Kind != FaultErrorBefore {
		result, err = c.route.handler(op, a, c.objectID, f)
	}
	if c.fault.Kind != FaultErrorBefore && c.fault.Kind != FaultErrorAfter {
		return result, err
	}
	err = serverError(cmp.Or(c.fault.Status, http.StatusInternalServerError), c.fault.Code)
	if err.status < 500 {
		err.typ = typeInvalidRequest
	}
	return nil, err
}

// countUnauthenticated counts a call that failed authentication.
func (a *account) countUnauthenticated(c *apiCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.countArrival(c.class, time.Now())
	a.stats.calls[c.outcome()]++
}

func (a *account) countOutcome(o CallOutcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.calls[o]++
}
