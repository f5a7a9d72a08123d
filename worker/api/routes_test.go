package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

func newScheduleRequest(m *fakeHolds, id string) hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: id, Reference: "BK-2071", Amount: 12500, Currency: "EUR", CaptureAt: m.now.Add(time.Hour).Format(time.RFC3339Nano),
		ExpiresAt: m.now.Add(72 * time.Hour).Format(time.RFC3339Nano), Metadata: map[string]string{"room": "12 <b>"}}
}

func TestSchedule_NewRepeatedConflicting(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Livemode: true})
	c := newTestClient(t, s.URL, "").WithClientName("cli")
	w := newScheduleRequest(m, testHoldID)

	v, created, err := c.Schedule(t.Context(), w)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if v.ID != testHoldID || v.State != "scheduled" || !v.Livemode || v.Revision != 1 || v.Metadata["room"] != "12 <b>" || v.History != nil {
		t.Fatalf("%+v", v)
	}
	if m.lastBy != "cli" {
		t.Errorf("by %q", m.lastBy)
	}
	if again, created, err := c.Schedule(t.Context(), w); err != nil || created || again.ID != testHoldID {
		t.Fatalf("the same again: %v %v %v", again.ID, created, err)
	}
	w.CaptureAmount = 100
	_, _, err = c.Schedule(t.Context(), w)
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != hold.HoldExists || p.Status != 409 || !errors.Is(err, &api.Problem{Code: hold.HoldExists}) {
		t.Fatalf("other terms: %v", err)
	}

	m2 := newFakeHolds()
	s2, _ := startServer(t, api.Options{Holds: holdsOf(m2)})
	b, _ := json.Marshal(newScheduleRequest(m2, testHoldID))
	a := sendRequest(t, "POST", s2.URL+"/v1/holds", string(b))
	if a.status != 201 || a.header.Get("Location") != "/v1/holds/"+testHoldID || a.header.Get("ETag") != `"1"` || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	if m2.lastBy != "api" {
		t.Errorf("by %q", m2.lastBy)
	}
	if a = sendRequest(t, "POST", s2.URL+"/v1/holds", string(b)); a.status != 200 || a.header.Get("Location") != "" || a.header.Get("ETag") != `"1"` {
		t.Fatalf("%d %v", a.status, a.header)
	}
	if a = sendRequest(t, "GET", s2.URL+"/v1/holds/"+testHoldID, ""); a.status != 200 || !strings.Contains(a.body, `"history":[{`) || !strings.Contains(a.body, `"livemode":false`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

func TestHold_PatchAndTriggers(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	c := newTestClient(t, s.URL, "")
	ctx := t.Context()
	m.addHold(t, testHoldID)

	later := m.now.Add(2 * time.Hour).Format(time.RFC3339)
	v, err := c.Patch(ctx, testHoldID, hold.Patch{CaptureAt: &later}, 1)
	if err != nil || v.Revision != 2 {
		t.Fatalf("patch: %v %v", v.Revision, err)
	}
	if _, err = c.Patch(ctx, testHoldID, hold.Patch{CaptureAt: &later}, 1); !errors.Is(err, &api.Problem{Code: hold.RevisionMismatch}) {
		t.Fatalf("an old revision: %v", err)
	}
	if v, err = c.Pause(ctx, testHoldID, 2, false); err != nil || v.State != "paused" {
		t.Fatalf("pause: %v %v", v.State, err)
	}
	if _, err = c.Pause(ctx, testHoldID, 0, false); !errors.Is(err, &api.Problem{Code: hold.AlreadyPaused}) {
		t.Fatalf("pause again: %v", err)
	}
	if _, err = c.Capture(ctx, testHoldID, hold.CaptureRequest{}, 0); !errors.Is(err, &api.Problem{Code: hold.HoldPaused}) {
		t.Fatalf("capture of a paused one: %v", err)
	}
	if v, err = c.Resume(ctx, testHoldID, 0, false); err != nil || v.State != "scheduled" {
		t.Fatalf("resume: %v %v", v.State, err)
	}
	if _, err = c.Resume(ctx, testHoldID, 0, false); !errors.Is(err, &api.Problem{Code: hold.NotPaused}) {
		t.Fatalf("resume again: %v", err)
	}
	if v, err = c.AcknowledgeWarnings(ctx, testHoldID, 0); err != nil || !v.Acknowledged {
		t.Fatalf("acknowledge: %v %v", v.Acknowledged, err)
	}
	raise := hold.IncrementRequest{Amount: 99000, Reason: "one more night"}
	if v, err = c.Increment(ctx, testHoldID, raise, 0); err != nil || v.Increment == nil ||
		v.Increment.Amount != 99000 || v.Next != "increment" {
		t.Fatalf("increment: %+v %v", v, err)
	}
	pending := sendRequest(t, "POST", s.URL+"/v1/holds/"+testHoldID+"/increment", `{"amount":99000}`)
	if pending.status != 202 {
		t.Fatalf("an increment without an outcome: %d %s", pending.status, pending.body)
	}
	if _, err = c.Patch(ctx, testHoldID, hold.Patch{CaptureAt: &later}, 0); !errors.Is(err, &api.Problem{Code: hold.TooLate}) {
		t.Fatalf("patch of one with a pending increment: %v", err)
	}
	if v, err = c.Capture(ctx, testHoldID, hold.CaptureRequest{Amount: 9900}, 0); err != nil || v.CaptureAmount != 9900 || v.Next != "capture" || v.State != "ready" {
		t.Fatalf("capture: %+v %v", v, err)
	}
	if v, err = c.Cancel(ctx, testHoldID, "", 0); err != nil || v.Next != "cancel" {
		t.Fatalf("cancel: %+v %v", v, err)
	}
	if _, err = c.Capture(ctx, testHoldID, hold.CaptureRequest{}, 0); !errors.Is(err, &api.Problem{Code: hold.CancelAccepted}) {
		t.Fatalf("capture after a cancel: %v", err)
	}
	if v, err = c.Get(ctx, testHoldID); err != nil || len(v.History) != 9 {
		t.Fatalf("history: %d %v", len(v.History), err)
	}

	m.addHold(t, testHoldID+"2")
	for _, body := range []string{"", "{}", " \n"} {
		for verb, status := range map[string]int{"acknowledge": 200, "capture": 202} {
			if a := sendRequest(t, "POST", s.URL+"/v1/holds/"+testHoldID+"2/"+verb, body); a.status != status || a.header.Get("ETag") == "" {
				t.Errorf("%s with body %q: %d %s", verb, body, a.status, a.body)
			}
		}
	}
	if a := sendRequest(t, "POST", s.URL+"/v1/holds/"+testHoldID+"2/cancel", ""); a.status != 202 {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
}

func TestSchedule_WarnsOfACaptureNearTheDeadline(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Rules: rules})
	end := m.now.Add(72 * time.Hour)
	body := func(id string, before time.Duration) string {
		return `{"payment_intent":"` + id + `","amount":12000,"currency":"eur","expires_at":"` +
			end.Format(time.RFC3339Nano) + `","capture_at":"` +
			end.Add(-before).Format(time.RFC3339Nano) + `"}`
	}
	const warning = `"warnings":[{"code":"near_deadline","field":"capture_at","detail":"`
	for _, c := range []struct {
		method, path, body string
		warned             bool
	}{
		{"POST", "/v1/holds", body(testHoldID, time.Hour), false},
		{"POST", "/v1/holds", body(testHoldID+"2", 30*time.Minute), true},
		{"POST", "/v1/holds:batch", `{"holds":[` + body(testHoldID+"3", time.Minute) + `]}`, true},
		{"PATCH", "/v1/holds/" + testHoldID, `{"capture_at":"` +
			end.Add(-59*time.Minute).Format(time.RFC3339Nano) + `"}`, true},
		{"GET", "/v1/holds/" + testHoldID, "", true},
		{"PATCH", "/v1/holds/" + testHoldID, `{"capture_at":""}`, false},
	} {
		a := sendRequest(t, c.method, s.URL+c.path, c.body)
		if a.status/100 != 2 || strings.Contains(a.body, warning) != c.warned {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, a.status, a.body)
		}
	}
}

func TestCancel_Reason(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	m.addHold(t, testHoldID)
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"cancellation_reason":"mood"}`, 422, `want abandoned, duplicate, fraudulent, requested_by_customer`},
		{`{"cancellation_reason":7}`, 422, `"code":"invalid_type"`},
		{`{"reason":"duplicate"}`, 422, `"code":"unknown_field"`},
		{`{"cancellation_reason":"duplicate"}`, 202, `"cancellation_reason":"duplicate"`},
		{`{"cancellation_reason":"duplicate"}`, 202, `"cancellation_reason":"duplicate"`},
		{``, 202, `"cancellation_reason":"duplicate"`},
		{`{"cancellation_reason":"fraudulent"}`, 409, `"code":"cancel_accepted"`},
	} {
		a := sendRequest(t, "POST", s.URL+"/v1/holds/"+testHoldID+"/cancel", c.body)
		if a.status != c.status || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
}

func TestPatch_IfMatch(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	m.addHold(t, testHoldID)
	for _, c := range []struct {
		tag    string
		status int
		code   hold.ProblemCode
	}{
		{`"1"`, 200, ""}, {`*`, 200, ""}, {` "1" `, 200, ""},
		{`"2"`, 412, hold.RevisionMismatch}, {`"18446744073709551615"`, 412, hold.RevisionMismatch},
		{`1`, 400, api.InvalidIfMatch}, {`W/"1"`, 400, api.InvalidIfMatch}, {`"1", "2"`, 400, api.InvalidIfMatch}, {`""`, 400, api.InvalidIfMatch}, {`"0"`, 400, api.InvalidIfMatch},
		{`"01"`, 400, api.InvalidIfMatch}, {`"+1"`, 400, api.InvalidIfMatch}, {`"-1"`, 400, api.InvalidIfMatch}, {`"18446744073709551616"`, 400, api.InvalidIfMatch}, {`"abc"`, 400, api.InvalidIfMatch},
	} {
		a := sendRequest(t, "PATCH", s.URL+"/v1/holds/"+testHoldID, `{"reference":"BK-1"}`, "If-Match", c.tag)
		if a.status != c.status || problemCode(t, a) != c.code {
			t.Errorf("%s: %d %s", c.tag, a.status, a.body)
		}
	}
}

func TestScheduleBatch(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Livemode: true})
	c := newTestClient(t, s.URL, "")
	m.addHold(t, testHoldID)

	reqs := []hold.ScheduleRequest{newScheduleRequest(m, testHoldID+"1"), {PaymentIntent: "nonsense"}, newScheduleRequest(m, testHoldID+"2"), newScheduleRequest(m, testHoldID), newScheduleRequest(m, testHoldID+"1")}
	got, err := c.ScheduleBatch(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		status int
		code   hold.ProblemCode
	}{{201, ""}, {422, hold.InvalidID}, {201, ""}, {409, hold.HoldExists}, {200, ""}}
	for i, w := range want {
		r := got[i]
		switch {
		case r.Status != w.status:
			t.Errorf("%d: %+v", i, r)
		case w.code == "" && (r.Hold == nil || r.Hold.ID != reqs[i].PaymentIntent || !r.Hold.Livemode || r.Problem != nil):
			t.Errorf("%d: %+v", i, r)
		case w.code != "" && (r.Problem == nil || r.Problem.Code != w.code || r.Problem.Status != w.status || r.Hold != nil):
			t.Errorf("%d: %+v", i, r)
		}
	}

	// Invalid JSON of one hold is that hold's problem, and the others keep
	// their places.
	good, _ := json.Marshal(newScheduleRequest(m, testHoldID+"3"))
	a := sendRequest(t, "POST", s.URL+"/v1/holds:batch", fmt.Sprintf(`{"holds":[{"payment_intent":%q,"amonut":1},null,%s,7,{"payment_intent":"x","payment_intent":"y"},{"amount":1.5}]}`, testHoldID+"4", good))
	var b api.BatchResponse
	if err := json.Unmarshal([]byte(a.body), &b); err != nil || a.status != 200 || len(b.Results) != 6 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for i, code := range []hold.ProblemCode{api.UnknownField, api.InvalidType, "", api.InvalidType,
		api.InvalidJSON, hold.InvalidAmount} {
		if r := b.Results[i]; code == "" && (r.Status != 201 || r.Hold.ID != testHoldID+"3") || code != "" && (r.Problem == nil || r.Problem.Code != code) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if _, there := m.holds[testHoldID+"4"]; there {
		t.Error("a hold with an unknown field was scheduled")
	}

	m.err = fmt.Errorf("dial: %w", health.ErrUnavailable)
	if _, err := c.ScheduleBatch(t.Context(), []hold.ScheduleRequest{newScheduleRequest(m, testHoldID+"5"), newScheduleRequest(m, testHoldID+"6")}); !errors.Is(err, &api.Problem{Code: api.Unavailable}) {
		t.Errorf("none could be tried: %v", err)
	}
	// If one hold has a problem of its own, each hold has its own result.
	a = sendRequest(t, "POST", s.URL+"/v1/holds:batch", fmt.Sprintf(`{"holds":[%s,{"x":1}]}`, good))
	if err := json.Unmarshal([]byte(a.body), &b); err != nil || a.status != 200 || b.Results[0].Status != 503 || b.Results[1].Status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestListAndPlan(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Livemode: true})
	c := newTestClient(t, s.URL, "")
	for i := range 7 {
		m.addHold(t, fmt.Sprintf("%s%d", testHoldID, i))
	}
	n := 0
	for v, err := range c.ListAll(t.Context(), api.ListQuery{Limit: 3, Reference: "BK", State: hold.Scheduled, ExpiringWithin: 80 * time.Hour}) {
		if err != nil || !v.Livemode || v.History != nil {
			t.Fatal(v, err)
		}
		n++
	}
	if n != 7 || m.lastQuery.Limit != 3 || m.lastQuery.ExpiringWithin != 80*time.Hour || m.lastQuery.State != hold.Scheduled || m.lastQuery.Reference != "BK" {
		t.Fatalf("%d holds, %+v", n, m.lastQuery)
	}
	page, err := c.List(t.Context(), api.ListQuery{State: hold.Captured})
	if err != nil || page.Holds == nil || len(page.Holds) != 0 || page.Now.IsZero() || m.lastQuery.Limit != 50 {
		t.Fatalf("%+v %v %+v", page, err, m.lastQuery)
	}
	sendRequest(t, "GET", s.URL+"/v1/holds?expiring_within=3d&account=acct_12345678", "")
	if m.lastQuery.ExpiringWithin != 72*time.Hour || m.lastQuery.Account != "acct_12345678" {
		t.Errorf("%+v", m.lastQuery)
	}

	p, err := c.GetPlan(t.Context(), 0)
	if err != nil || m.lastPlanAhead != 24*time.Hour || len(p.Hours) != 7 || len(p.AtRisk) != 7 || !p.AtRisk[0].Hold.Livemode || p.Hours[0].Capture[0].Amount != 12500 || p.Hours[0].Cancel == nil {
		t.Fatalf("%+v %v", p, err)
	}
	_, err = c.GetPlan(t.Context(), 36*time.Hour)
	if err != nil || m.lastPlanAhead != 36*time.Hour {
		t.Errorf("%v %v", m.lastPlanAhead, err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	m := newFakeHolds()
	m.checks = []health.ReadinessCheckResult{{Name: "redis", OK: true}, {Name: "stripe",
		Detail: "the key is refused: set STRIPE_API_KEY"}}
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Version: "1.2.3", Livemode: true, Rules: rules, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "holdd_up 1\n") })})
	c := newTestClient(t, s.URL, "")
	if a := sendRequest(t, "GET", s.URL+"/readyz", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r, err := c.GetReadiness(t.Context())
	if err != nil || r.Ready || len(r.Checks) != 2 || r.Checks[1].Detail == "" {
		t.Errorf("%+v %v", r, err)
	}
	m.checks = m.checks[:1]
	if r, err = c.GetReadiness(t.Context()); err != nil || !r.Ready {
		t.Errorf("%+v %v", r, err)
	}
	i, err := c.GetHealth(t.Context())
	if err != nil || i.Status != "ok" || i.Version != "1.2.3" || i.Livemode == nil || !*i.Livemode ||
		i.ExpiryMarginSeconds != int64(rules.ExpiryMargin/time.Second) {
		t.Errorf("%+v %v", i, err)
	}
	if a := sendRequest(t, "GET", s.URL+"/metrics", ""); a.status != 200 || a.body != "holdd_up 1\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := sendRequest(t, "HEAD", s.URL+"/healthz", ""); a.status != 200 || a.body != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	none, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	if a := sendRequest(t, "GET", none.URL+"/metrics", ""); a.status != 404 || problemCode(t, a) != api.RouteNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}
