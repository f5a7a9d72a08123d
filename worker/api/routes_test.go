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

func wish(m *memory, id string) hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: id, Reference: "BK-2071", Amount: 12500, Currency: "EUR", CaptureAt: m.now.Add(time.Hour).Format(time.RFC3339Nano),
		ExpiresAt: m.now.Add(72 * time.Hour).Format(time.RFC3339Nano), Metadata: map[string]string{"room": "12 <b>"}}
}

func TestScheduleThenSameThenOther(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, api.Options{Holds: holdsOf(m), Livemode: true})
	c := client(t, s.URL, "").As("cli")
	w := wish(m, id)

	v, created, err := c.Schedule(t.Context(), w)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if v.ID != id || v.State != "scheduled" || !v.Livemode || v.Revision != 1 || v.Metadata["room"] != "12 <b>" || v.History != nil {
		t.Fatalf("%+v", v)
	}
	if m.by != "cli" {
		t.Errorf("by %q", m.by)
	}
	if again, created, err := c.Schedule(t.Context(), w); err != nil || created || again.ID != id {
		t.Fatalf("the same again: %v %v %v", again.ID, created, err)
	}
	w.CaptureAmount = 100
	_, _, err = c.Schedule(t.Context(), w)
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != hold.HoldExists || p.Status != 409 || !errors.Is(err, &api.Problem{Code: hold.HoldExists}) {
		t.Fatalf("other terms: %v", err)
	}

	m2 := newMemory()
	s2, _ := serve(t, api.Options{Holds: holdsOf(m2)})
	b, _ := json.Marshal(wish(m2, id))
	a := send(t, "POST", s2.URL+"/v1/holds", string(b))
	if a.status != 201 || a.header.Get("Location") != "/v1/holds/"+id || a.header.Get("ETag") != `"1"` || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	if m2.by != "api" {
		t.Errorf("by %q", m2.by)
	}
	if a = send(t, "POST", s2.URL+"/v1/holds", string(b)); a.status != 200 || a.header.Get("Location") != "" || a.header.Get("ETag") != `"1"` {
		t.Fatalf("%d %v", a.status, a.header)
	}
	if a = send(t, "GET", s2.URL+"/v1/holds/"+id, ""); a.status != 200 || !strings.Contains(a.body, `"history":[{`) || !strings.Contains(a.body, `"livemode":false`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

func TestChangesAndTriggers(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, api.Options{Holds: holdsOf(m)})
	c := client(t, s.URL, "")
	ctx := t.Context()
	m.put(t, id)

	later := m.now.Add(2 * time.Hour).Format(time.RFC3339)
	v, err := c.Patch(ctx, id, hold.Patch{CaptureAt: &later}, 1)
	if err != nil || v.Revision != 2 {
		t.Fatalf("patch: %v %v", v.Revision, err)
	}
	if _, err = c.Patch(ctx, id, hold.Patch{CaptureAt: &later}, 1); !errors.Is(err, &api.Problem{Code: hold.RevisionMismatch}) {
		t.Fatalf("an old revision: %v", err)
	}
	if v, err = c.Pause(ctx, id, 2, false); err != nil || v.State != "paused" {
		t.Fatalf("pause: %v %v", v.State, err)
	}
	if _, err = c.Pause(ctx, id, 0, false); !errors.Is(err, &api.Problem{Code: hold.AlreadyPaused}) {
		t.Fatalf("pause again: %v", err)
	}
	if _, err = c.Capture(ctx, id, 0, 0); !errors.Is(err, &api.Problem{Code: hold.HoldPaused}) {
		t.Fatalf("capture of a paused one: %v", err)
	}
	if v, err = c.Resume(ctx, id, 0, false); err != nil || v.State != "scheduled" {
		t.Fatalf("resume: %v %v", v.State, err)
	}
	if _, err = c.Resume(ctx, id, 0, false); !errors.Is(err, &api.Problem{Code: hold.NotPaused}) {
		t.Fatalf("resume again: %v", err)
	}
	if v, err = c.Acknowledge(ctx, id, 0); err != nil || !v.Acknowledged {
		t.Fatalf("acknowledge: %v %v", v.Acknowledged, err)
	}
	if v, err = c.Capture(ctx, id, 9900, 0); err != nil || v.CaptureAmount != 9900 || v.Next != "capture" || v.State != "ready" {
		t.Fatalf("capture: %+v %v", v, err)
	}
	if v, err = c.Cancel(ctx, id, 0); err != nil || v.Next != "cancel" {
		t.Fatalf("cancel: %+v %v", v, err)
	}
	if _, err = c.Capture(ctx, id, 0, 0); !errors.Is(err, &api.Problem{Code: hold.CancelAccepted}) {
		t.Fatalf("capture after a cancel: %v", err)
	}
	if v, err = c.Get(ctx, id); err != nil || len(v.History) != 7 {
		t.Fatalf("history: %d %v", len(v.History), err)
	}

	m.put(t, id+"2")
	for _, body := range []string{"", "{}", " \n"} {
		for verb, status := range map[string]int{"acknowledge": 200, "capture": 202} {
			if a := send(t, "POST", s.URL+"/v1/holds/"+id+"2/"+verb, body); a.status != status || a.header.Get("ETag") == "" {
				t.Errorf("%s with body %q: %d %s", verb, body, a.status, a.body)
			}
		}
	}
	if a := send(t, "POST", s.URL+"/v1/holds/"+id+"2/cancel", ""); a.status != 202 {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
}

func TestIfMatch(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, api.Options{Holds: holdsOf(m)})
	m.put(t, id)
	for _, c := range []struct {
		tag    string
		status int
		code   hold.Code
	}{
		{`"1"`, 200, ""}, {`*`, 200, ""}, {` "1" `, 200, ""},
		{`"2"`, 412, hold.RevisionMismatch}, {`"18446744073709551615"`, 412, hold.RevisionMismatch},
		{`1`, 400, api.InvalidIfMatch}, {`W/"1"`, 400, api.InvalidIfMatch}, {`"1", "2"`, 400, api.InvalidIfMatch}, {`""`, 400, api.InvalidIfMatch}, {`"0"`, 400, api.InvalidIfMatch},
		{`"01"`, 400, api.InvalidIfMatch}, {`"+1"`, 400, api.InvalidIfMatch}, {`"-1"`, 400, api.InvalidIfMatch}, {`"18446744073709551616"`, 400, api.InvalidIfMatch}, {`"abc"`, 400, api.InvalidIfMatch},
	} {
		a := send(t, "PATCH", s.URL+"/v1/holds/"+id, `{"reference":"BK-1"}`, "If-Match", c.tag)
		if a.status != c.status || codeOf(t, a) != c.code {
			t.Errorf("%s: %d %s", c.tag, a.status, a.body)
		}
	}
}

func TestBatch(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, api.Options{Holds: holdsOf(m), Livemode: true})
	c := client(t, s.URL, "")
	m.put(t, id)

	wishes := []hold.ScheduleRequest{wish(m, id+"1"), {PaymentIntent: "nonsense"}, wish(m, id+"2"), wish(m, id), wish(m, id+"1")}
	got, err := c.ScheduleBatch(t.Context(), wishes)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		status int
		code   hold.Code
	}{{201, ""}, {422, hold.InvalidID}, {201, ""}, {409, hold.HoldExists}, {200, ""}}
	for i, w := range want {
		r := got[i]
		switch {
		case r.Status != w.status:
			t.Errorf("%d: %+v", i, r)
		case w.code == "" && (r.Hold == nil || r.Hold.ID != wishes[i].PaymentIntent || !r.Hold.Livemode || r.Problem != nil):
			t.Errorf("%d: %+v", i, r)
		case w.code != "" && (r.Problem == nil || r.Problem.Code != w.code || r.Problem.Status != w.status || r.Hold != nil):
			t.Errorf("%d: %+v", i, r)
		}
	}

	// What is wrong with the JSON of one is that one's problem, and the others keep their places.
	good, _ := json.Marshal(wish(m, id+"3"))
	a := send(t, "POST", s.URL+"/v1/holds:batch", fmt.Sprintf(`{"holds":[{"payment_intent":%q,"amonut":1},null,%s,7,{"payment_intent":"x","payment_intent":"y"},{"amount":1.5}]}`, id+"4", good))
	var b api.Batch
	if err := json.Unmarshal([]byte(a.body), &b); err != nil || a.status != 200 || len(b.Results) != 6 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for i, code := range []hold.Code{api.UnknownField, api.InvalidType, "", api.InvalidType, api.InvalidJSON, hold.InvalidAmount} {
		if r := b.Results[i]; code == "" && (r.Status != 201 || r.Hold.ID != id+"3") || code != "" && (r.Problem == nil || r.Problem.Code != code) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if _, there := m.holds[id+"4"]; there {
		t.Error("a hold with an unknown field was scheduled")
	}

	m.fail = fmt.Errorf("dial: %w", health.ErrUnavailable)
	if _, err := c.ScheduleBatch(t.Context(), []hold.ScheduleRequest{wish(m, id+"5"), wish(m, id+"6")}); !errors.Is(err, &api.Problem{Code: api.Unavailable}) {
		t.Errorf("none could be tried: %v", err)
	}
	// One that is wrong by itself was answered, so the rest is told one by one.
	a = send(t, "POST", s.URL+"/v1/holds:batch", fmt.Sprintf(`{"holds":[%s,{"x":1}]}`, good))
	if err := json.Unmarshal([]byte(a.body), &b); err != nil || a.status != 200 || b.Results[0].Status != 503 || b.Results[1].Status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestListAndPlan(t *testing.T) {
	m := newMemory()
	s, _ := serve(t, api.Options{Holds: holdsOf(m), Livemode: true})
	c := client(t, s.URL, "")
	for i := range 7 {
		m.put(t, fmt.Sprintf("%s%d", id, i))
	}
	n := 0
	for v, err := range c.All(t.Context(), api.ListQuery{Limit: 3, Reference: "BK", State: hold.Scheduled, ExpiringWithin: 80 * time.Hour}) {
		if err != nil || !v.Livemode || v.History != nil {
			t.Fatal(v, err)
		}
		n++
	}
	if n != 7 || m.query.Limit != 3 || m.query.ExpiringWithin != 80*time.Hour || m.query.State != hold.Scheduled || m.query.Reference != "BK" {
		t.Fatalf("%d holds, %+v", n, m.query)
	}
	page, err := c.List(t.Context(), api.ListQuery{State: hold.Captured})
	if err != nil || page.Holds == nil || len(page.Holds) != 0 || page.Now.IsZero() || m.query.Limit != 50 {
		t.Fatalf("%+v %v %+v", page, err, m.query)
	}
	send(t, "GET", s.URL+"/v1/holds?expiring_within=3d&account=acct_12345678", "")
	if m.query.ExpiringWithin != 72*time.Hour || m.query.Account != "acct_12345678" {
		t.Errorf("%+v", m.query)
	}

	p, err := c.Plan(t.Context(), 0)
	if err != nil || m.next != 24*time.Hour || len(p.Hours) != 7 || len(p.AtRisk) != 7 || !p.AtRisk[0].Hold.Livemode || p.Hours[0].Capture[0].Amount != 12500 || p.Hours[0].Cancel == nil {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := c.Plan(t.Context(), 36*time.Hour); err != nil || m.next != 36*time.Hour {
		t.Errorf("%v %v", m.next, err)
	}
}

func TestHealth(t *testing.T) {
	m := newMemory()
	m.ready = []health.Check{{Name: "redis", OK: true}, {Name: "stripe", Detail: "the key is refused: set STRIPE_API_KEY"}}
	s, _ := serve(t, api.Options{Holds: holdsOf(m), Version: "1.2.3", Livemode: true, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "holdd_up 1\n") })})
	c := client(t, s.URL, "")
	if a := send(t, "GET", s.URL+"/readyz", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r, err := c.Ready(t.Context())
	if err != nil || r.Ready || len(r.Checks) != 2 || r.Checks[1].Detail == "" {
		t.Errorf("%+v %v", r, err)
	}
	m.ready = m.ready[:1]
	if r, err = c.Ready(t.Context()); err != nil || !r.Ready {
		t.Errorf("%+v %v", r, err)
	}
	i, err := c.Info(t.Context())
	if err != nil || i.Status != "ok" || i.Version != "1.2.3" || i.Livemode == nil || !*i.Livemode {
		t.Errorf("%+v %v", i, err)
	}
	if a := send(t, "GET", s.URL+"/metrics", ""); a.status != 200 || a.body != "holdd_up 1\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := send(t, "HEAD", s.URL+"/healthz", ""); a.status != 200 || a.body != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	none, _ := serve(t, api.Options{Holds: holdsOf(m)})
	if a := send(t, "GET", none.URL+"/metrics", ""); a.status != 404 || codeOf(t, a) != api.RouteNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}
