package api_test

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
)

// parts are the parts of a worker that a fake implements.
type parts interface {
	api.HoldScheduler
	api.HoldChanger
	api.HoldReader
	api.Planner
	api.ReadinessChecker
}

func holdsOf(p parts) api.HoldServices {
	return api.HoldServices{Scheduler: p, Changer: p, Reader: p, Planner: p, ReadinessChecker: p}
}

// fakeHolds keeps holds in memory. Package hold makes every decision.
type fakeHolds struct {
	mu            sync.Mutex
	now           time.Time
	holds         map[string]hold.Hold
	stripeIntents map[string]*hold.PaymentIntent // what Stripe would say; absent: it isn't asked
	err           error                          // what everything answers
	lastBy        string                         // of the last change
	blockGet      chan struct{}                  // Get waits for it
	getBlocked    chan struct{}                  // receives one for each Get that waits
	checks        []health.ReadinessCheckResult
	lastQuery     query.HoldQuery
	lastPlanAhead time.Duration
}

var rules = hold.DecisionRules{ExpiryMargin: time.Hour}

func newFakeHolds() *fakeHolds {
	return &fakeHolds{now: time.Now().UTC().Truncate(time.Millisecond),
		holds: map[string]hold.Hold{}, stripeIntents: map[string]*hold.PaymentIntent{}}
}

func (m *fakeHolds) Schedule(
	_ context.Context, reqs []hold.ScheduleRequest, by string,
) []intake.ScheduleResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]intake.ScheduleResult, len(reqs))
	for i := range reqs {
		out[i] = m.scheduleOne(&reqs[i], by)
	}
	return out
}

func (m *fakeHolds) scheduleOne(req *hold.ScheduleRequest, by string) intake.ScheduleResult {
	if m.err != nil {
		return intake.ScheduleResult{Err: m.err}
	}
	d, err := req.Validate(m.now)
	if err != nil {
		return intake.ScheduleResult{Err: err}
	}
	if h, ok := m.holds[d.ID]; ok {
		if !d.HasSameTermsAs(&h) {
			return intake.ScheduleResult{Err: &hold.Problem{Code: hold.HoldExists, Detail: "hold " +
				d.ID + " is scheduled with other terms: change it instead"}}
		}
		return intake.ScheduleResult{Hold: h}
	}
	c, err := hold.DecideNewHold(d, m.stripeIntents[d.ID], by, m.now)
	if err == nil {
		c, err = c.RefuseUnlessPolicyActionConfirmed(&hold.Hold{}, d.Confirm, m.now, rules)
	}
	if err != nil {
		return intake.ScheduleResult{Err: err}
	}
	m.holds[d.ID], m.lastBy = c.Hold, by
	return intake.ScheduleResult{Hold: c.Hold, Created: true}
}

func (m *fakeHolds) Get(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if m.blockGet != nil {
		select {
		case m.getBlocked <- struct{}{}:
		default:
		}
		select {
		case <-m.blockGet:
		case <-ctx.Done():
			return hold.Hold{}, time.Time{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.findHold(id, 0)
	return h, m.now, err
}

func (m *fakeHolds) findHold(id string, revision uint64) (hold.Hold, error) {
	if m.err != nil {
		return hold.Hold{}, m.err
	}
	h, ok := m.holds[id]
	if !ok {
		return h, &hold.Problem{Code: hold.HoldNotFound, Detail: "there is no hold " + id}
	}
	if revision != 0 && revision != h.Revision {
		return h, &hold.Problem{Code: hold.RevisionMismatch, Detail: "hold " + id +
			" has changed: read it again"}
	}
	return h, nil
}

func (m *fakeHolds) changeHold(
	id string, revision uint64, confirmed bool, by string, f func(hold.Hold) (hold.Decision, error),
) (hold.Hold, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.findHold(id, revision)
	if err != nil {
		return h, m.now, err
	}
	c, err := f(h)
	if err == nil {
		c, err = c.RefuseUnlessPolicyActionConfirmed(&h, confirmed, m.now, rules)
	}
	if err != nil {
		return h, m.now, err
	}
	m.holds[id], m.lastBy = c.Hold, by
	return c.Hold, m.now, nil
}

func (m *fakeHolds) PatchTerms(
	_ context.Context, id string, p hold.Patch, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, p.Confirm, by, func(h hold.Hold) (hold.Decision, error) {
		return h.ApplyPatch(&p, by, m.now)
	})
}

func (m *fakeHolds) RequestCapture(
	_ context.Context, id string, req hold.CaptureRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, true, by, func(h hold.Hold) (hold.Decision, error) {
		return h.RequestCapture(req, by, m.now)
	})
}

func (m *fakeHolds) RequestCancel(
	_ context.Context, id, reason string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, true, by, func(h hold.Hold) (hold.Decision, error) {
		return h.RequestCancel(reason, by, m.now)
	})
}

func (m *fakeHolds) RequestIncrementAndWait(
	_ context.Context, id string, req hold.IncrementRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, true, by, func(h hold.Hold) (hold.Decision, error) {
		return h.RequestIncrement(req, by, m.now, rules)
	})
}

func (m *fakeHolds) PauseHold(
	_ context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, confirmed, by, func(h hold.Hold) (hold.Decision, error) {
		return h.Pause(hold.CauseTrigger, by, m.now)
	})
}

func (m *fakeHolds) ResumeHold(
	_ context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, confirmed, by, func(h hold.Hold) (hold.Decision, error) {
		return h.Resume(by, m.now)
	})
}

func (m *fakeHolds) AcknowledgeWarnings(
	_ context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return m.changeHold(id, revision, true, by, func(h hold.Hold) (hold.Decision, error) {
		return h.AcknowledgeWarnings(by, m.now)
	})
}

func (m *fakeHolds) List(_ context.Context, q query.HoldQuery) (query.HoldPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastQuery = q
	if m.err != nil {
		return query.HoldPage{}, m.err
	}
	page := query.HoldPage{Now: m.now}
	all := slices.SortedFunc(maps.Values(m.holds), func(a, b hold.Hold) int {
		return cmp.Or(cmp.Compare(a.Reference, b.Reference), cmp.Compare(a.ID, b.ID))
	})
	position := func(h *hold.Hold) string { return h.Reference + "\x00" + h.ID }
	for _, h := range all {
		switch {
		case position(&h) <= q.Cursor:
		case q.State != 0 && h.StateWithDueAsReady(m.now) != q.State, !strings.HasPrefix(h.Reference,
			q.Reference), q.Account != "" && h.Account != q.Account:
		case q.ExpiringWithin != 0 && h.ExpiresAt.After(m.now.Add(q.ExpiringWithin)):
		case len(page.Holds) == q.Limit:
			page.Next = position(&page.Holds[len(page.Holds)-1])
			return page, nil
		default:
			page.Holds = append(page.Holds, h)
		}
	}
	return page, nil
}

func (m *fakeHolds) ForecastPlan(_ context.Context, next time.Duration) (query.Plan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastPlanAhead = next
	p := query.Plan{From: m.now, Until: m.now.Add(next)}
	for _, h := range m.holds {
		p.Hours = append(p.Hours, query.PlanHour{Start: h.NextAt.Truncate(time.Hour),
			Capture: []hold.Sum{{Currency: h.Currency, Count: 1, Amount: h.Amount}}})
		p.AtRisk = append(p.AtRisk, query.AtRiskHold{Hold: h,
			Reason: "ends before its capture time"})
	}
	return p, m.err
}

func (m *fakeHolds) Check(context.Context) []health.ReadinessCheckResult { return m.checks }

// addHold schedules a hold for an hour from now.
func (m *fakeHolds) addHold(t testing.TB, id string) hold.Hold {
	t.Helper()
	s := m.scheduleOne(&hold.ScheduleRequest{PaymentIntent: id, Amount: 12500, Currency: "eur",
		Reference: "BK-1", CaptureAt: m.now.Add(time.Hour).Format(time.RFC3339),
		ExpiresAt: m.now.Add(72 * time.Hour).Format(time.RFC3339)}, "test")
	if s.Err != nil {
		t.Fatal(s.Err)
	}
	return s.Hold
}

// snapshot returns everything that a request could have changed.
func (m *fakeHolds) snapshot() map[string]hold.Hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.holds)
}

// startServer starts a server with the limits of production.
func startServer(t testing.TB, o api.Options) (*httptest.Server, *api.API) {
	t.Helper()
	a, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(a)
	s.Config = api.NewHTTPServer(a, nil)
	s.Start()
	t.Cleanup(s.Close)
	return s, a
}

func newTestClient(t testing.TB, url, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(url, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// response is the response to a raw request.
type response struct {
	status int
	header http.Header
	body   string
}

func sendRequest(t testing.TB, method, url, body string, headers ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(b)}
}

const testHoldID = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"
