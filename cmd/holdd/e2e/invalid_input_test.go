package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// rawResponse is what came back over the wire.
type rawResponse struct {
	status      int
	contentType string
	problem     struct {
		Type, Title, Detail, Code, Field string
		Status                           int
		Deadline                         *time.Time
	}
	text string
}

// sendRaw sends a request as it stands, without a client that could put it
// right, and reads the answer while the body is still being sent: a body that
// is refused is not read to its end. chunked leaves the length open.
func sendRaw(
	tb testing.TB, r *replica, method, path string, header http.Header, body []byte, chunked bool,
) rawResponse {
	tb.Helper()
	addr := strings.TrimPrefix(r.url, "http://")
	conn, err := net.DialTimeout("tcp", addr, processTimeout)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	// a connection that can't have one fails below
	_ = conn.SetDeadline(time.Now().Add(processTimeout))
	var head bytes.Buffer
	var end []byte
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, path, addr)
	if header.Get("Content-Type") == "" {
		head.WriteString("Content-Type: application/json\r\n")
	}
	_ = header.Write(&head)
	if chunked {
		fmt.Fprintf(&head, "Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(body))
		end = []byte("\r\n0\r\n\r\n")
	} else {
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", len(body))
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, part := range [][]byte{head.Bytes(), body, end} {
			if _, err := conn.Write(part); err != nil {
				return // the answer tells why it was not wanted
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		tb.Errorf("%s %s with %d bytes got no answer: %v", method, path, len(body), err)
		return rawResponse{}
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what is cut short fails to be JSON
	conn.Close()
	<-sent
	a := rawResponse{status: resp.StatusCode, contentType: resp.Header.Get("Content-Type"),
		text: string(text)}
	_ = json.Unmarshal(text, &a.problem) // what isn't a problem is seen by its missing code
	return a
}

// dumpRedis is everything that Redis keeps of holds, byte by byte: holds,
// orders, events.
func (w *world) dumpRedis() map[string]string {
	w.tb.Helper()
	rdb := w.redis.Client()
	defer rdb.Close()
	ctx := w.tb.Context()
	out := map[string]string{}
	it := rdb.Scan(ctx, 0, "*", 1000).Iterator()
	for it.Next(ctx) {
		key := it.Val()
		switch {
		case strings.HasPrefix(key, "holdd:budget:"), key == "holdd:replicas", key == "holdd:ping":
			continue // the daemon's own pulse
		}
		dump, err := rdb.Dump(ctx, key).Result()
		switch {
		case err == nil:
			out[key] = dump
		case !errors.Is(err, redis.Nil): // gone by itself between the two
			w.tb.Fatal(err)
		}
	}
	if err := it.Err(); err != nil {
		w.tb.Fatal(err)
	}
	return out
}

func TestAPI_InvalidInputChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	// What holdd does by itself must not look like something that wrong input
	// did.
	r := w.startReplica(binaryPath(t, buildRelease), append([]string{"HOLDD_MIRROR_TERMS=false"},
		highBudgetSettings...)...)
	w.waitForFirstReconcile(r)
	at := afterNow(48 * time.Hour)
	all := setDueAt(w.authorizeBookings(4), at)
	w.scheduleBookings(r, all[:2])
	id, fresh := all[0].id, all[2].id
	paid := all[3].id
	// The problem has the deadline of the intent that the request is about.
	freshDeadline := all[2].deadline.Add(-time.Hour)
	if err := w.sim.Dashboard().SetCaptureBefore(fresh, freshDeadline); err != nil {
		t.Fatal(err)
	}
	done := setDueAt(all[3:], afterNow(0))
	w.scheduleAll(r, []hold.ScheduleRequest{{PaymentIntent: paid, Amount: done[0].amount,
		Currency: "eur", ExpiresAt: formatTime(done[0].deadline),
		CaptureAt: formatTime(done[0].due)}})
	storetest.WaitUntil(t, processTimeout, "one is captured",
		func() bool { return len(w.listByState(r, hold.Captured)) == 1 })

	// wish is a schedule of the intent that is free, with one thing changed.
	req := func(change string) string {
		m := map[string]any{}
		for _, part := range []string{fmt.Sprintf(`{"payment_intent":%q,"capture_at":%q}`, fresh,
			formatTime(at)), change} {
			if err := json.Unmarshal([]byte(part), &m); err != nil {
				t.Fatal(err)
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	big := []byte(`{"payment_intent":"` + fresh + `","reference":"` + strings.Repeat("x", 10<<20) +
		`"}`)
	post, patch, get := http.MethodPost, http.MethodPatch, http.MethodGet
	before := w.dumpRedis()
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		code                     hold.ProblemCode
	}{
		{"a malformed id", post, "/v1/holds", req(`{"payment_intent":"order-17"}`), 422,
			hold.InvalidID},
		{"an id with a path in it", post, "/v1/holds",
			req(`{"payment_intent":"pi_12345678/../../accounts"}`), 422, hold.InvalidID},
		{"a malformed account", post, "/v1/holds", req(`{"account":"acme"}`), 422, hold.InvalidID},
		{"a malformed id in the path", get, "/v1/holds/pi_", "", 422, hold.InvalidID},
		{"an unknown reference in the path", get, "/v1/holds/order-17", "", 404, hold.HoldNotFound},
		{"a negative amount", post, "/v1/holds", req(`{"amount":-1,"currency":"eur"}`), 422, hold.InvalidAmount},
		{"an amount that is too large", post, "/v1/holds", req(`{"amount":1000000000000,"currency":"eur"}`), 422, hold.InvalidAmount},
		{"an amount beyond 64 bits", post, "/v1/holds", strings.Replace(req(`{"amount":1,"currency":"eur"}`), `"amount":1`, `"amount":99999999999999999999`, 1), 422, hold.InvalidAmount},
		{"an amount with a fraction", post, "/v1/holds", req(`{"amount":12.5,"currency":"eur"}`), 422, hold.InvalidAmount},
		{"an amount that is a string", post, "/v1/holds", req(`{"amount":"1250","currency":"eur"}`), 422, "invalid_type"},
		{"an amount other than Stripe's", post, "/v1/holds", req(`{"amount":77,"currency":"eur"}`), 422, hold.AmountMismatch},
		{"a negative capture amount", post, "/v1/holds", req(`{"capture_amount":-5}`), 422, hold.InvalidAmount},
		{"more to capture than there is", post, "/v1/holds", req(`{"capture_amount":10003}`), 422, hold.AmountTooLarge},
		{"a time that is long past", post, "/v1/holds", req(`{"capture_at":"2020-01-01T00:00:00Z"}`), 422, hold.InThePast},
		{"a time two hours ago", post, "/v1/holds", req(fmt.Sprintf(`{"capture_at":%q}`, formatTime(afterNow(-2*time.Hour)))), 422, hold.InThePast},
		{"a day that no calendar has", post, "/v1/holds", req(`{"capture_at":"2027-02-30T10:00:00Z"}`), 422, hold.InvalidTime},
		{"a local hour that no clock has", post, "/v1/holds", req(`{"capture_at":"2027-02-03T25:00","time_zone":"Europe/Paris"}`), 422, hold.InvalidTime},
		{"a local time without a zone", post, "/v1/holds", req(`{"capture_at":"2027-02-03T10:00"}`), 422, hold.InvalidTime},
		{"a time that is none", post, "/v1/holds", req(`{"capture_at":"tomorrow"}`), 422, hold.InvalidTime},
		{"a time years ahead", post, "/v1/holds", req(`{"capture_at":"2099-01-01T00:00:00Z"}`), 422, hold.InvalidTime},
		{"a time after the deadline", post, "/v1/holds", req(fmt.Sprintf(`{"capture_at":%q}`, formatTime(afterNow(8*24*time.Hour)))), 422, hold.AfterDeadline},
		{"an unknown zone", post, "/v1/holds", req(`{"capture_at":"2027-02-03T10:00","time_zone":"Europe/Atlantis"}`), 422, hold.UnknownTimeZone},
		{"a zone that is a path", post, "/v1/holds", req(`{"capture_at":"2027-02-03T10:00","time_zone":"../../etc/passwd"}`), 422, hold.UnknownTimeZone},
		{"both times", post, "/v1/holds", req(fmt.Sprintf(`{"cancel_at":%q}`, formatTime(at))), 422, hold.ConflictingTimes},
		{"another currency than Stripe's", post, "/v1/holds", req(`{"amount":10002,"currency":"usd"}`), 422, hold.CurrencyMismatch},
		{"a currency that is none", post, "/v1/holds", req(`{"amount":10002,"currency":"euro"}`), 422, hold.InvalidCurrency},
		{"an unknown policy", post, "/v1/holds", req(`{"on_expiry":"keep"}`), 422, hold.InvalidPolicy},
		{"an unknown field", post, "/v1/holds", req(`{"captureAt":"now"}`), 422, "unknown_field"},
		{"a field in other letters", post, "/v1/holds", req(`{"Amount":5}`), 422, "unknown_field"},
		{"a field twice", post, "/v1/holds", `{"payment_intent":"` + fresh +
			`","payment_intent":"` + id + `"}`, 400, "invalid_json"},
		{"no JSON", post, "/v1/holds", `payment_intent=` + fresh, 400, "invalid_json"},
		{"half of the JSON", post, "/v1/holds", req(`{}`)[:40], 400, "invalid_json"},
		{"JSON that is no object", post, "/v1/holds", `["` + fresh + `"]`, 422, "invalid_type"},
		{"two objects", post, "/v1/holds", req(`{}`) + req(`{}`), 400, "invalid_json"},
		{"no body", post, "/v1/holds", "", 400, "body_required"},
		{"a metadata value of 600 characters", post, "/v1/holds",
			req(`{"metadata":{"k":"` + strings.Repeat("x", 600) + `"}}`),
			422, hold.InvalidMetadata},
		{"an intent that Stripe doesn't know", post, "/v1/holds",
			req(`{"payment_intent":"pi_3NobodyHasEverSeen00"}`), 404, hold.IntentNotFound},
		{"other terms for the same hold", post, "/v1/holds",
			req(fmt.Sprintf(`{"payment_intent":%q,"capture_amount":5}`, id)), 409, hold.HoldExists},
		{"an unknown hold", get, "/v1/holds/pi_3NobodyHasEverSeen00", "", 404, hold.HoldNotFound},
		{"a change of an unknown hold", patch, "/v1/holds/pi_3NobodyHasEverSeen00",
			`{"reference":"x"}`, 404, hold.HoldNotFound},
		{"a capture of an unknown hold", post, "/v1/holds/pi_3NobodyHasEverSeen00/capture", "",
			404, hold.HoldNotFound},
		{"a capture of more than there is", post, "/v1/holds/" + id + "/capture",
			`{"amount":10001}`, 422, hold.AmountTooLarge},
		{"a capture of less than nothing", post, "/v1/holds/" + id + "/capture", `{"amount":-1}`,
			422, hold.InvalidAmount},
		{"a capture of zero", post, "/v1/holds/" + id + "/capture", `{"amount":0}`,
			422, hold.InvalidAmount},
		{"a capture with a field too many", post, "/v1/holds/" + id + "/capture",
			`{"amount":1,"finally":false}`, 422, "unknown_field"},
		{"a second capture of another amount", post, "/v1/holds/" + paid + "/capture",
			`{"amount":1}`, 409, hold.AlreadyCaptured},
		{"a cancel of what is captured", post, "/v1/holds/" + paid + "/cancel", "",
			409, hold.AlreadyCaptured},
		{"a change of what is captured", patch, "/v1/holds/" + paid, `{"reference":"x"}`,
			409, hold.AlreadyCaptured},
		{"a resume of what isn't paused", post, "/v1/holds/" + id + "/resume",
			"", 409, hold.NotPaused},
		{"a change of nothing", patch, "/v1/holds/" + id, `{}`, 422, hold.NothingToChange},
		{"a change to null", patch, "/v1/holds/" + id, `{"capture_at":null}`, 422, "invalid_type"},
		{"a change to a time after the deadline", patch, "/v1/holds/" + id,
			fmt.Sprintf(`{"capture_at":%q}`, formatTime(afterNow(8*24*time.Hour))),
			422, hold.AfterDeadline},
		{"an unknown parameter", get, "/v1/holds?status=open", "", 422, "unknown_parameter"},
		{"an unknown state", get, "/v1/holds?state=open", "", 422, "invalid_parameter"},
		{"a cursor that is none", get, "/v1/holds?cursor=zzz", "", 422, "invalid_cursor"},
		{"an unknown path", get, "/v1/hold", "", 404, "route_not_found"},
		{"a method that the path doesn't know", http.MethodDelete, "/v1/holds/" + id, "",
			405, "method_not_allowed"},
		{"an empty batch", post, "/v1/holds:batch", `{"holds":[]}`, 422, "invalid_batch"},
	} {
		a := sendRaw(t, r, c.method, c.path, http.Header{}, []byte(c.body), false)
		checkProblem(t, c.what, a, c.status, c.code)
		deadline := freshDeadline
		if c.method == patch {
			deadline = all[0].deadline
		}
		if c.code == hold.AfterDeadline && (a.problem.Deadline == nil ||
			!a.problem.Deadline.Equal(deadline)) {
			t.Errorf("%s: the deadline told is %v, and it is %v", c.what,
				a.problem.Deadline, deadline)
		}
	}
	for _, chunked := range []bool{false, true} {
		for _, path := range []string{"/v1/holds", "/v1/holds:batch",
			"/v1/holds/" + id + "/capture"} {
			checkProblem(t, "10 MB to "+path, sendRaw(t, r, post, path, http.Header{}, big,
				chunked), 413, "body_too_large")
		}
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	checkProblem(t, "a form", sendRaw(t, r, post, "/v1/holds", form,
		[]byte("payment_intent="+fresh), false), 415, "unsupported_media_type")
	page := http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
	checkProblem(t, "a web page's request", sendRaw(t, r, post, "/v1/holds/"+id+"/cancel", page,
		nil, false), 403, "cross_origin_refused")
	stale := http.Header{"If-Match": {`"99"`}}
	checkProblem(t, "another revision", sendRaw(t, r, post, "/v1/holds/"+id+"/cancel", stale, nil,
		false), 412, hold.RevisionMismatch)

	if after := w.dumpRedis(); !maps.Equal(before, after) {
		for k := range after {
			if before[k] != after[k] {
				t.Errorf("wrong input changed %s in Redis", k)
			}
		}
	}
	if v := w.listByState(r, hold.Scheduled); len(v) != 2 || v[id].Revision != 1 {
		t.Errorf("the holds are now %+v", v)
	}
	for _, e := range w.sim.Ledger() {
		if e.Kind != stripesim.EffectAuthorized && e.Intent != paid {
			t.Errorf("wrong input moved money: %+v", e)
		}
	}
}

func checkProblem(tb testing.TB, what string, a rawResponse, status int, code hold.ProblemCode) {
	tb.Helper()
	p := a.problem
	switch {
	case a.status != status || p.Code != string(code) || p.Status != status:
		tb.Errorf("%s: answered with %d %q, and it should be %d %q\n%.300s", what, a.status,
			p.Code, status, code, a.text)
	case !strings.HasPrefix(a.contentType, "application/problem+json"):
		tb.Errorf("%s: the problem comes as %q", what, a.contentType)
	case p.Title == "" || p.Detail == "" || p.Type == "":
		tb.Errorf("%s: the problem is not clear: %s", what, a.text)
	}
}
