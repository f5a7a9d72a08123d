package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// openRequestStore opens a store on a Redis in this process.
func openRequestStore(t *testing.T) *store.Store {
	t.Helper()
	m := storetest.StartInProcess(t)
	s, _, err := store.Open(t.Context(), store.Options{URL: m.URL(), Dialer: m.Dial,
		PoolSize: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestIdempotencyKey(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Requests: openRequestStore(t)})
	const key = "0b1f8a52-6c1e"
	post := func(path, body, key string) response {
		t.Helper()
		return sendRequest(t, http.MethodPost, s.URL+path, body, "Idempotency-Key", key)
	}
	schedule := `{"payment_intent":"` + testHoldID + `","reference":"BK-1"}`

	first := post("/v1/holds", schedule, key)
	if first.status != http.StatusCreated || first.header.Get("Idempotent-Replayed") != "" {
		t.Fatal(first)
	}
	again := post("/v1/holds", schedule, key)
	if again.status != http.StatusCreated || again.body != first.body ||
		again.header.Get("Idempotent-Replayed") != "true" ||
		again.header.Get("Etag") != first.header.Get("Etag") ||
		again.header.Get("Location") != first.header.Get("Location") ||
		again.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Errorf("again: %v", again)
	}
	wantProblem := func(what string, r response, status int, code hold.ProblemCode) {
		t.Helper()
		if r.status != status || !strings.Contains(r.body, `"code":"`+string(code)+`"`) {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	wantProblem("another body", post("/v1/holds", strings.Replace(schedule, "BK-1", "BK-2", 1), key),
		http.StatusConflict, hold.IdempotencyKeyReused)
	wantProblem("another route", post("/v1/holds/"+testHoldID+"/cancel", "", key),
		http.StatusConflict, hold.IdempotencyKeyReused)
	if h := m.holds[testHoldID]; h.CancelWanted || h.Reference != "BK-1" {
		t.Errorf("a reused key took effect: %+v", h)
	}
	wantProblem("an invalid key", post("/v1/holds", schedule, "short"),
		http.StatusBadRequest, hold.InvalidIdempotencyKey)

	// A pause repeated without a key is a conflict.
	pause := "/v1/holds/" + testHoldID + "/pause"
	for range 2 {
		if r := post(pause, "", "pause-1234"); r.status != http.StatusOK {
			t.Errorf("pause: %v", r)
		}
	}
	if m.holds[testHoldID].Revision != 2 {
		t.Errorf("paused twice: revision %d", m.holds[testHoldID].Revision)
	}
	wantProblem("another key", post(pause, "", "pause-5678"), http.StatusConflict, hold.AlreadyPaused)

	// What had no effect is executed again under the same key.
	const other = "pi_3Other0000000000000001"
	wantProblem("an unknown hold", post("/v1/holds/"+other+"/pause", "", "pause-other"),
		http.StatusNotFound, hold.HoldNotFound)
	if r := post("/v1/holds", `{"payment_intent":"`+other+`"}`, ""); r.status != http.StatusBadRequest {
		t.Errorf("an empty key: %v", r)
	}
	if r := post("/v1/holds", `{"payment_intent":"`+other+`"}`, "other-1234"); r.status != http.StatusCreated {
		t.Fatal(r)
	}
	if r := post("/v1/holds/"+other+"/pause", "", "pause-other"); r.status != http.StatusOK {
		t.Errorf("after a failure: %v", r)
	}
}

// Two requests with one key at the same time take effect once, and the second
// learns that the first is in progress.
func TestIdempotencyKey_InProgress(t *testing.T) {
	m := newFakeHolds()
	blocked := &blockingScheduler{fakeHolds: m, reached: make(chan struct{}), release: make(chan struct{})}
	holds := holdsOf(m)
	holds.Scheduler = blocked
	s, _ := startServer(t, api.Options{Holds: holds, Requests: openRequestStore(t)})
	post := func() response {
		return sendRequest(t, http.MethodPost, s.URL+"/v1/holds",
			`{"payment_intent":"`+testHoldID+`"}`, "Idempotency-Key", "double-click")
	}
	var first response
	var wg sync.WaitGroup
	wg.Go(func() { first = post() })
	<-blocked.reached
	if r := post(); r.status != http.StatusConflict || r.header.Get("Retry-After") == "" ||
		!strings.Contains(r.body, `"in_progress"`) {
		t.Errorf("the second: %v", r)
	}
	close(blocked.release)
	wg.Wait()
	if first.status != http.StatusCreated {
		t.Errorf("the first: %v", first)
	}
	if r := post(); r.status != http.StatusCreated || r.body != first.body {
		t.Errorf("the third: %v", r)
	}
}

// blockingScheduler waits once before it schedules.
type blockingScheduler struct {
	*fakeHolds
	reached, release chan struct{}
}

func (b *blockingScheduler) Schedule(
	ctx context.Context, reqs []hold.ScheduleRequest, by string,
) []intake.ScheduleResult {
	close(b.reached)
	<-b.release
	return b.fakeHolds.Schedule(ctx, reqs, by)
}

// brokenRequestStore fails as a store whose Redis is unavailable.
type brokenRequestStore struct{}

func (brokenRequestStore) BeginRequest(context.Context, string, string, time.Duration) (
	hold.AttemptLookupResult, string, error) {
	return 0, "", errors.New("dial redis://10.0.0.7: refused")
}
func (brokenRequestStore) SaveResponse(context.Context, string, string, string) error { return nil }
func (brokenRequestStore) ForgetRequest(context.Context, string, string) error        { return nil }

func TestIdempotencyKey_StoreUnavailable(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Requests: brokenRequestStore{}})
	r := sendRequest(t, http.MethodPost, s.URL+"/v1/holds",
		`{"payment_intent":"`+testHoldID+`"}`, "Idempotency-Key", "any-key-1234")
	if r.status != http.StatusServiceUnavailable || strings.Contains(r.body, "10.0.0.7") {
		t.Errorf("%v", r)
	}
	if len(m.holds) != 0 {
		t.Error("executed without a record of its key")
	}
}
