package simtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// stripeRequest is a request that a replica sent to Stripe.
type stripeRequest struct {
	sentAt, answeredAt      time.Time
	replica                 string
	op, intent              string
	account, idempotencyKey string
	amount                  string
	largestPart             int64 // of fee and transfer
	body                    string
	requestID               string // Stripe's, also of a reply that was lost
	status                  int
	rateLimited             bool // a 429 for a rate
	replyReceived           bool // the replica got the answer, whole or in pieces
	fault                   string
}

// caused reports whether a request had an effect. The reply of a proxy has no
// request id.
func (r *stripeRequest) caused(e *stripesim.Effect) bool {
	if r.requestID != "" {
		return r.requestID == e.RequestID
	}
	return r.idempotencyKey != "" && r.idempotencyKey == e.IdempotencyKey &&
		!r.sentAt.After(e.Time) && !r.answeredAt.Before(e.Time)
}

// stripeTransport is a replica's connection to Stripe.
type stripeTransport struct {
	world   *world
	replica *replica
	next    http.RoundTripper
}

func (l *stripeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	w, r := l.world, l.replica
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	rec := &stripeRequest{replica: r.name, account: w.connectedAccount(req.Header),
		idempotencyKey: req.Header.Get("Idempotency-Key")}
	rec.op, rec.intent = parseOperation(req.Method, req.URL.Path)
	if form, err := url.ParseQuery(string(body)); err == nil {
		rec.amount, rec.body = form.Get("amount_to_capture"), form.Encode()
		for _, name := range []string{"application_fee_amount", "transfer_data[amount]"} {
			n, _ := strconv.ParseInt(form.Get(name), 10, 64)
			rec.largestPart = max(rec.largestPart, n)
		}
	}
	key := strings.Join([]string{r.name, req.Method, req.URL.Path, req.URL.RawQuery, rec.account,
		rec.idempotencyKey, string(body)}, " ")
	key += fmt.Sprintf(" %d", w.countOccurrence(key))
	d := newRNG(w.plan.seed, "stripe", key)

	time.Sleep(r.stallTime(key) + d.durationBetween(20*time.Microsecond, 900*time.Microsecond))
	if r.dead.Load() {
		return nil, errReplicaDead
	}
	if err := req.Context().Err(); err != nil {
		// it slept past its time, and can't know that nothing has left
		w.mu.Lock()
		w.unsentKeys[rec.idempotencyKey] = true
		w.mu.Unlock()
		return nil, err
	}
	f := w.matchFault("stripe", r, rec.op, key)
	if f != nil {
		rec.fault = f.kind
	}
	if rec.fault == "stripe:dial" || rec.fault == "stripe:down" {
		w.trace.add(false, "%s stripe %s %s: no connection", r.name, rec.op, rec.intent)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if w.killAtCall(r, "stripe", false) {
		w.trace.add(false, "%s stripe %s %s: dies before it", r.name, rec.op, rec.intent)
		return nil, errReplicaDead
	}
	rec.sentAt = time.Now()
	w.checkClaimOwner(r, rec)
	sf := stripesim.Fault{RequestDelay: d.durationBetween(2*time.Millisecond, 180*time.Millisecond),
		ReplyDelay: d.durationBetween(time.Millisecond, 60*time.Millisecond)}
	if kind, ok := strings.CutPrefix(rec.fault, "stripe:"); ok {
		switch kind {
		case "late":
			sf.RequestDelay = d.durationBetween(2*time.Second, maxRequestDelay)
			if f.atCall != "" { // meant to come after all that was tried in its place
				sf.RequestDelay = d.durationBetween(maxRequestDelay-time.Second, maxRequestDelay)
			}
		case "slow reply":
			sf.ReplyDelay = d.durationBetween(2*time.Second, 8*time.Second)
			if f.atCall != "" {
				sf.ReplyDelay = d.durationBetween(7*time.Second, 8*time.Second)
			}
		case "refused":
			sf.Kind, sf.Status, sf.Code = stripesim.FaultErrorBefore, http.StatusBadRequest,
				"charge_not_capturable_for_now"
		case "refused, retry", "refused after, retry", "conflict, no retry",
			"conflict after, no retry":
			sf = shouldRetryFault(kind, sf)
		case "other account":
			if rec.op == "list" {
				time.Sleep(sf.RequestDelay + sf.ReplyDelay)
				return emptyList(req), nil
			}
			sf.Kind = stripesim.FaultNotFound
		case "unavailable for good":
			sf.Kind, sf.ShouldRetry = stripesim.FaultUnavailable, "false"
		default:
			sf.Kind = stripesim.FaultKind(kind)
		}
	}
	w.mu.Lock()
	w.stripeRequests = append(w.stripeRequests, rec)
	w.mu.Unlock()

	// What has left this machine arrives, whether its sender waits for it or
	// not.
	out := req.Clone(context.WithoutCancel(req.Context()))
	out.Body = io.NopCloser(bytes.NewReader(body))
	type reply struct {
		resp *http.Response
		err  error
	}
	done := make(chan reply, 1)
	w.spawn(func() {
		time.Sleep(sf.RequestDelay)
		sf.RequestDelay = 0
		w.faultMu.Lock() // until the simulator has asked for the fault
		w.nextFault = sf
		resp, err := l.next.RoundTrip(out)
		status := 0
		if resp != nil {
			status = resp.StatusCode
			w.mu.Lock()
			rec.requestID, rec.status = resp.Header.Get("Request-Id"), status
			rec.rateLimited = strings.HasSuffix(
				resp.Header.Get("Stripe-Rate-Limited-Reason"), "-rate")
			w.mu.Unlock()
		}
		w.trace.add(false, "%s stripe %s %s %s %s: %d %s %v", r.name, rec.op, rec.intent,
			rec.amount, shortenKey(rec.idempotencyKey), status, rec.fault, errText(err))
		done <- reply{resp, err}
	})
	select {
	case a := <-done:
		time.Sleep(r.stallTime(key))
		if w.killAtCall(r, "stripe", true) {
			w.trace.add(false, "%s dies after stripe %s %s", r.name, rec.op, rec.intent)
		}
		if r.dead.Load() {
			return nil, io.ErrUnexpectedEOF
		}
		if err := req.Context().Err(); err != nil {
			return nil, err
		}
		w.mu.Lock()
		rec.replyReceived, rec.answeredAt = a.err == nil, time.Now()
		w.mu.Unlock()
		return a.resp, a.err
	case <-req.Context().Done():
		w.trace.add(false, "%s stripe %s %s: given up", r.name, rec.op, rec.intent)
		time.Sleep(r.stallTime(key) + d.durationBetween(time.Microsecond, time.Millisecond))
		return nil, req.Context().Err()
	}
}

// shouldRetryFault is an answer with Stripe-Should-Retry whose status says the
// opposite of the header. Kinds with "after" come after the effect.
func shouldRetryFault(kind string, f stripesim.Fault) stripesim.Fault {
	f.Kind = stripesim.FaultErrorBefore
	if strings.Contains(kind, " after") {
		f.Kind = stripesim.FaultErrorAfter
	}
	f.Status, f.Code, f.ShouldRetry = http.StatusBadRequest, "something_new", "true"
	if strings.HasSuffix(kind, "no retry") {
		f.Status, f.Code, f.ShouldRetry = http.StatusConflict, "", "false"
	}
	return f
}

// emptyList is the answer to a list request under the key of an account without
// PaymentIntents.
func emptyList(req *http.Request) *http.Response {
	body := `{"object":"list","data":[],"has_more":false,"url":"/v1/payment_intents"}`
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1",
		ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json"}, "Request-Id": {"req_other"}},
		Body:   io.NopCloser(strings.NewReader(body))}
}

// maxRequestDelay is how long a request may be under way. That a lost one has
// arrived or never will after half a minute is what the system relies on.
const maxRequestDelay = 25 * time.Second

func parseOperation(method, path string) (op, intent string) {
	path = strings.TrimPrefix(path, "/v1/payment_intents")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) == 2:
		return strings.TrimSuffix(parts[1], "_authorization"), parts[0]
	case parts[0] != "" && method == http.MethodPost:
		return "update", parts[0]
	case parts[0] != "":
		return "read", parts[0]
	case method == http.MethodPost:
		return "create", ""
	}
	return "list", ""
}

func shortenKey(key string) string {
	if i := strings.LastIndex(key, "-"); i > 0 {
		parts := strings.Split(key, "-")
		return strings.Join(parts[max(0, len(parts)-3):], "-")
	}
	return key
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
