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

func contextWith(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}

// What is wrong inside is logged once and not told.
func TestInnerTrouble(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   hold.Code
		level  zapcore.Level
	}{
		{errors.New("WRONGPASS secret-dsn"), 500, api.Internal, zap.ErrorLevel},
		{fmt.Errorf("dial secret-dsn: %w", health.ErrUnavailable), 503, api.Unavailable, zap.WarnLevel},
		{fmt.Errorf("secret-dsn: %w", context.DeadlineExceeded), 503, api.Unavailable, zap.WarnLevel},
	} {
		core, logs := observer.New(zap.DebugLevel)
		m := newMemory()
		m.fail = c.err
		s, _ := serve(t, api.Options{Holds: holdsOf(m), Logger: zap.New(core)})
		for _, r := range [][3]string{
			{"GET", "/v1/holds/" + id, ""}, {"GET", "/v1/holds", ""}, {"GET", "/v1/plan", ""}, {"POST", "/v1/holds", `{"payment_intent":"` + id + `"}`},
			{"PATCH", "/v1/holds/" + id, `{"reference":"x"}`}, {"POST", "/v1/holds/" + id + "/capture", ""}, {"POST", "/v1/holds/" + id + "/pause", ""},
			{"POST", "/v1/holds:batch", `{"holds":[{"payment_intent":"` + id + `"},{"payment_intent":"` + id + `2"}]}`},
		} {
			logs.TakeAll()
			a := send(t, r[0], s.URL+r[1], r[2])
			batch := strings.HasSuffix(r[1], ":batch")
			if batch && c.code == api.Internal {
				if a.status != 200 || strings.Count(a.body, `"internal_error"`) != 2 {
					t.Errorf("%s: %d %s", r[1], a.status, a.body)
				}
			} else if a.status != c.status || codeOf(t, a) != c.code {
				t.Errorf("%s %s: %d %s", r[0], r[1], a.status, a.body)
			}
			if strings.Contains(a.body, "secret-dsn") {
				t.Errorf("%s %s tells %s", r[0], r[1], a.body)
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

type panicking struct{ *memory }

func (panicking) Get(context.Context, string) (hold.Hold, time.Time, error) { panic("out of cheese") }

func (panicking) Schedule(context.Context, []hold.ScheduleRequest, string) []intake.ScheduleResult {
	return nil
}

func TestPanicsAndBrokenPromises(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	s, _ := serve(t, api.Options{Holds: holdsOf(panicking{newMemory()}), Logger: zap.New(core)})
	for _, r := range [][3]string{{"GET", "/v1/holds/" + id, ""}, {"POST", "/v1/holds", `{"payment_intent":"` + id + `"}`}, {"POST", "/v1/holds:batch", `{"holds":[{"payment_intent":"` + id + `"}]}`}} {
		a := send(t, r[0], s.URL+r[1], r[2])
		if a.status != 500 || codeOf(t, a) != api.Internal || strings.Contains(a.body, "cheese") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if logs.Len() != 1 {
			t.Errorf("logged %v", logs.All())
		}
		logs.TakeAll()
	}
}

// With all slots taken others wait, are sent away after the time-out, and what watches the process is answered at once.
func TestInFlightIsBounded(t *testing.T) {
	m := newMemory()
	m.put(t, id)
	m.wait = make(chan struct{})
	s, _ := serve(t, api.Options{Holds: holdsOf(m), MaxInFlight: 1, Timeout: 300 * time.Millisecond})
	first := make(chan answer, 2)
	for range 2 {
		go func() { first <- send(t, "GET", s.URL+"/v1/holds/"+id, "") }()
	}
	if a := send(t, "GET", s.URL+"/healthz", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	for range 2 { // one ran out of time at work, the other in the queue
		if a := <-first; a.status != 503 || codeOf(t, a) != api.Unavailable {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	close(m.wait)
	if a := send(t, "GET", s.URL+"/v1/holds/"+id, ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A body that never comes to its end is given up.
func TestSlowBody(t *testing.T) {
	a, err := api.New(api.Options{Holds: holdsOf(newMemory())})
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(a, nil)
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
	if got := codeOf(t, answer{res.StatusCode, res.Header, string(b)}); got != api.BodyTimeout {
		t.Errorf("%d %s", res.StatusCode, b)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []api.Options{{}, {Holds: holdsOf(newMemory()), MaxBody: -1}, {Holds: holdsOf(newMemory()), MaxInFlight: -1}, {Holds: holdsOf(newMemory()), Timeout: -1}} {
		if _, err := api.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	s := api.NewServer(http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.ErrorLog == nil {
		t.Errorf("%+v", s)
	}
}
