package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func TestNewClient_InvalidAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"": "want http://", "127.0.0.1:8420": "want http://", "ftp://x": "want http://", "http://": "want http://", "unix://run/x": "want an absolute path",
		"http://user:hunter2@x": "want only", "http://x?token=1": "want only", "http://user:hunter2@%zz": "want http://",
	} {
		c, err := api.NewClient(addr, "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v %v", addr, c, err)
		}
	}
	if _, err := api.NewClient("http://x", "two words of s3cr3t"); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%v", err)
	}
	c := newTestClient(t, "http://127.0.0.1:1", operateToken)
	if s := fmt.Sprintf("%v %+v %#v %+v", c, c, c, *c); strings.Contains(s, operateToken) {
		t.Errorf("the token shows: %s", s)
	}
}

func TestClient_ServerUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	for _, u := range []string{url, "unix:///nowhere/holdd.sock"} {
		_, err = newTestClient(t, u, "").Cancel(t.Context(), testHoldID, "", 0)
		var un *api.UnreachableError
		if !errors.As(err, &un) || un.OutcomeUnknown || !strings.Contains(err.Error(), "holdd at "+u+" does not answer: is `holdd serve` running?") {
			t.Errorf("%v", err)
		}
	}
}

// The outcome of a change whose response is lost is unknown.
func TestClient_ResponseLost(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }))
	defer s.Close()
	c := newTestClient(t, s.URL, operateToken)
	_, err := c.Capture(t.Context(), testHoldID, hold.CaptureRequest{}, 0)
	var un *api.UnreachableError
	if !errors.As(err, &un) || !un.OutcomeUnknown || !strings.Contains(err.Error(), "outcome unknown") || strings.Contains(err.Error(), operateToken) {
		t.Errorf("%v", err)
	}
	if _, err = c.Get(t.Context(), testHoldID); !errors.As(err, &un) || un.OutcomeUnknown {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.Capture(ctx, testHoldID, hold.CaptureRequest{}, 0); !errors.As(err, &un) || un.OutcomeUnknown || !errors.Is(err, context.Canceled) {
		t.Errorf("ended before it left: %v", err)
	}
}

func TestClient_UnexpectedResponse(t *testing.T) {
	for _, h := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "[")
		},
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(400)
			fmt.Fprint(w, `{"title":"x"}`)
		},
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		},
	} {
		s := httptest.NewServer(h)
		_, err := newTestClient(t, s.URL, operateToken).Get(t.Context(), testHoldID)
		if !errors.Is(err, &api.Problem{Code: api.UnexpectedResponse}) || !strings.Contains(err.Error(), s.URL) {
			t.Errorf("%v", err)
		}
		s.Close()
	}
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, strings.Repeat(" ", 17<<20))
	}))
	defer long.Close()
	var un *api.UnreachableError
	if _, err := newTestClient(t, long.URL, "").Get(t.Context(), testHoldID); !errors.As(err, &un) {
		t.Errorf("%v", err)
	}
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"results":[]}`)
	}))
	defer short.Close()
	if _, err := newTestClient(t, short.URL, "").ScheduleBatch(t.Context(), []hold.ScheduleRequest{{}}); !errors.As(err, &un) || !un.OutcomeUnknown {
		t.Errorf("%v", err)
	}
	loop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"holds":[],"next":"again"}`)
	}))
	defer loop.Close()
	var last error
	for _, err := range newTestClient(t, loop.URL, "").ListAll(t.Context(), api.ListQuery{}) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "same page twice") {
		t.Errorf("%v", last)
	}
}
