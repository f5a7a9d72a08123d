package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api/client"
	"github.com/holdd/holdd/worker/hold"
)

const testHoldID = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"

// testServer gives its answers one after the other, and remembers the keys.
type testServer struct {
	*httptest.Server
	mu      sync.Mutex
	answers []http.HandlerFunc
	keys    []string
}

func startTestServer(t *testing.T, answers ...http.HandlerFunc) *testServer {
	t.Helper()
	s := &testServer{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		answer := s.answers[min(len(s.keys), len(s.answers)-1)]
		s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *testServer) receivedKeys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *testServer) newClient(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.WithRetries()
}

func lose(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func accept(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":%q,"state":"scheduled"}`, testHoldID)
}

func refuse(status int, code hold.ProblemCode, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, code)
	}
}

func dateIn(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }

// A Retry-After may be a date.
func TestWithRetries_WaitsUntilDate(t *testing.T) {
	t.Parallel()
	date := time.Now().Add(3 * time.Second).Truncate(time.Second)
	var repeated time.Time
	s := startTestServer(t, refuse(503, client.Unavailable, date.UTC().Format(http.TimeFormat)),
		func(w http.ResponseWriter, r *http.Request) {
			repeated = time.Now()
			accept(w, r)
		})
	if _, err := s.newClient(t).Cancel(t.Context(), testHoldID, "", 0); err != nil {
		t.Fatal(err)
	}
	if repeated.Before(date) || len(s.receivedKeys()) != 2 {
		t.Errorf("repeated %s from the date, %d requests", repeated.Sub(date), len(s.receivedKeys()))
	}
}

func TestWithRetries_SameKeyUntilAnswer(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"lost":        lose,
		"unavailable": refuse(503, client.Unavailable, "1"),
		"in progress": refuse(409, hold.InProgress, ""),
		"a past date": refuse(429, client.Unavailable, dateIn(-time.Hour)),
		"a proxy's": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "bad gateway", http.StatusBadGateway)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTestServer(t, first, accept)
			c := s.newClient(t)
			for range 2 {
				h, err := c.Cancel(t.Context(), testHoldID, "", 0)
				if err != nil || h.ID != testHoldID {
					t.Fatalf("%+v %v", h, err)
				}
			}
			if k := s.receivedKeys(); len(k) != 3 || k[0] == "" || k[0] != k[1] || k[1] == k[2] {
				t.Errorf("keys %q", k)
			}
		})
	}
}

func TestWithRetries_FinalAnswer(t *testing.T) {
	cancel := func(c *client.Client) error {
		_, err := c.Cancel(t.Context(), testHoldID, "", 0)
		return err
	}
	patch := func(c *client.Client) error {
		_, err := c.Patch(t.Context(), testHoldID, hold.Patch{}, 3)
		return err
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		call   func(*client.Client) error
	}{
		"refused":               {refuse(409, hold.TooLate, ""), cancel},
		"a fault":               {refuse(500, client.InternalError, ""), cancel},
		"a wait of an hour":     {refuse(503, client.Unavailable, "3600"), cancel},
		"a date in an hour":     {refuse(503, client.Unavailable, dateIn(time.Hour)), cancel},
		"a patch of a revision": {lose, patch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTestServer(t, test.answer, accept)
			err := test.call(s.newClient(t))
			if n := len(s.receivedKeys()); err == nil || n != 1 {
				t.Errorf("%v after %d requests", err, n)
			}
		})
	}
}

// A request that was lost may have taken effect, whatever its repeats found.
func TestWithRetries_OutcomeStaysUnknown(t *testing.T) {
	var s *testServer
	s = startTestServer(t, func(w http.ResponseWriter, r *http.Request) {
		s.Listener.Close() // the repeats find nobody
		lose(w, r)
	})
	_, err := s.newClient(t).Cancel(t.Context(), testHoldID, "", 0)
	var unreachable *client.UnreachableError
	if !errors.As(err, &unreachable) || !unreachable.OutcomeUnknown ||
		!errors.Is(err, syscall.ECONNREFUSED) || len(s.receivedKeys()) != 1 {
		t.Errorf("%v after %d requests", err, len(s.receivedKeys()))
	}
}

func TestIsOutcomeUnknown(t *testing.T) {
	for _, err := range []error{
		&client.UnreachableError{},
		&client.Problem{Status: 401, Code: client.TokenInvalid},
		&client.Problem{Status: 409, Code: hold.InProgress},
		&client.Problem{Status: 429, Code: client.UnexpectedResponse},
		&client.Problem{Status: 500, Code: client.InternalError},
		&client.Problem{Status: 404, Code: client.UnexpectedResponse},
		fmt.Errorf("book: %w", &client.Problem{Status: 503, Code: hold.OutcomeUnknown}),
	} {
		if !client.IsOutcomeUnknown(err) {
			t.Errorf("%#v is decided", err)
		}
	}
	for _, err := range []error{
		nil,
		&client.Problem{Status: 402, Code: hold.CardDeclined},
		&client.Problem{Status: 409, Code: hold.TooLate},
		&client.Problem{Status: 422, Code: hold.InThePast},
	} {
		if client.IsOutcomeUnknown(err) {
			t.Errorf("%#v is unknown", err)
		}
	}
}
