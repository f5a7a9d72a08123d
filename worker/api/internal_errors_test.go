package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

func withLocalAddr(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}

// An internal error is logged once and hidden from the caller.
func TestInternalErrors_LoggedNotReturned(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   hold.ProblemCode
		level  zapcore.Level
	}{
		{errors.New("WRONGPASS secret-dsn"), 500, api.InternalError, zap.ErrorLevel},
		{fmt.Errorf("dial secret-dsn: %w", health.ErrUnavailable), 503, api.Unavailable, zap.WarnLevel},
		{fmt.Errorf("secret-dsn: %w", context.DeadlineExceeded), 503, api.Unavailable, zap.WarnLevel},
	} {
		core, logs := observer.New(zap.DebugLevel)
		m := newFakeHolds()
		m.err = c.err
		s, _ := startServer(t, api.Options{Holds: holdsOf(m), Logger: zap.New(core)})
		for _, r := range [][3]string{
			{"GET", "/v1/holds/" + testHoldID, ""}, {"GET", "/v1/holds", ""}, {"GET", "/v1/plan", ""}, {"POST", "/v1/holds", `{"payment_intent":"` + testHoldID + `"}`},
			{"PATCH", "/v1/holds/" + testHoldID, `{"reference":"x"}`}, {"POST", "/v1/holds/" + testHoldID + "/capture", ""}, {"POST", "/v1/holds/" + testHoldID + "/pause", ""},
			{"POST", "/v1/holds:batch", `{"holds":[{"payment_intent":"` + testHoldID + `"},{"payment_intent":"` + testHoldID + `2"}]}`},
		} {
			logs.TakeAll()
			a := sendRequest(t, r[0], s.URL+r[1], r[2])
			batch := strings.HasSuffix(r[1], ":batch")
			if batch && c.code == api.InternalError {
				if a.status != 200 || strings.Count(a.body, `"internal_error"`) != 2 {
					t.Errorf("%s: %d %s", r[1], a.status, a.body)
				}
			} else if a.status != c.status || problemCode(t, a) != c.code {
				t.Errorf("%s %s: %d %s", r[0], r[1], a.status, a.body)
			}
			if strings.Contains(a.body, "secret-dsn") {
				t.Errorf("%s %s shows %s", r[0], r[1], a.body)
			}
			if (a.status == 503) != (a.header.Get("Retry-After") != "") {
				t.Errorf("%s %s: Retry-After %q", r[0], r[1], a.header.Get("Retry-After"))
			}
			lines := logs.TakeAll()
			if len(lines) != 1 || !batch && lines[0].Level != c.level || lines[0].ContextMap()["path"] != strings.Split(r[1], "?")[0] {
				t.Errorf("%s %s: logged %v", r[0], r[1], lines)
			}
		}
	}
}

// A request that holdd refuses because it cannot read Stripe is not of an unknown outcome.
func TestErrors_CurrencyUnchecked(t *testing.T) {
	m := newFakeHolds()
	m.err = fmt.Errorf("%w: "+testHoldID, health.ErrCurrencyUnchecked)
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	a := sendRequest(t, "POST", s.URL+"/v1/holds", `{"payment_intent":"`+testHoldID+`","currency":"eur"}`)
	if a.status != 503 || problemCode(t, a) != api.Unavailable ||
		!strings.Contains(a.body, `"detail":"nothing was done: `) || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

type panickingHolds struct{ *fakeHolds }

func (panickingHolds) Get(context.Context, string) (hold.Hold, time.Time, error) {
	panic("out of cheese")
}

func (panickingHolds) Schedule(context.Context, []hold.ScheduleRequest, string) []intake.ScheduleResult {
	return nil
}

func TestInternalErrors_PanicOrMissingResult(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	s, _ := startServer(t, api.Options{Holds: holdsOf(panickingHolds{newFakeHolds()}), Logger: zap.New(core)})
	for _, r := range [][3]string{{"GET", "/v1/holds/" + testHoldID, ""}, {"POST", "/v1/holds", `{"payment_intent":"` + testHoldID + `"}`}, {"POST", "/v1/holds:batch", `{"holds":[{"payment_intent":"` + testHoldID + `"}]}`}} {
		a := sendRequest(t, r[0], s.URL+r[1], r[2])
		if a.status != 500 || problemCode(t, a) != api.InternalError || strings.Contains(a.body, "cheese") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if logs.Len() != 1 {
			t.Errorf("logged %v", logs.All())
		}
		logs.TakeAll()
	}
}

// While all slots are taken, requests wait and get 503 after the timeout.
// Supervisors get a response at once.
func TestServeHTTP_MaxInFlight(t *testing.T) {
	m := newFakeHolds()
	m.addHold(t, testHoldID)
	m.blockGet = make(chan struct{})
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), MaxInFlight: 1, RequestTimeout: 300 * time.Millisecond})
	first := make(chan response, 2)
	for range 2 {
		go func() { first <- sendRequest(t, "GET", s.URL+"/v1/holds/"+testHoldID, "") }()
	}
	if a := sendRequest(t, "GET", s.URL+"/healthz", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	for range 2 { // one ran out of time at work, the other in the queue
		if a := <-first; a.status != 503 || problemCode(t, a) != api.Unavailable {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	close(m.blockGet)
	if a := sendRequest(t, "GET", s.URL+"/v1/holds/"+testHoldID, ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A body that does not end in time is rejected.
func TestReadBody_Timeout(t *testing.T) {
	a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds())})
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewHTTPServer(a, nil)
	s.ReadTimeout = 200 * time.Millisecond
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.Close(); <-served }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/holds HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", l.Addr())
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if got := problemCode(t, response{res.StatusCode, res.Header, string(b)}); got != api.BodyTimeout {
		t.Errorf("%d %s", res.StatusCode, b)
	}
}

func TestNew_InvalidOptions(t *testing.T) {
	for _, o := range []api.Options{{}, {Holds: holdsOf(newFakeHolds()), MaxBatchBodyBytes: -1}, {Holds: holdsOf(newFakeHolds()), MaxInFlight: -1}, {Holds: holdsOf(newFakeHolds()), RequestTimeout: -1}} {
		if _, err := api.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	s := api.NewHTTPServer(http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.ErrorLog == nil {
		t.Errorf("%+v", s)
	}
}
