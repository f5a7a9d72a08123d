package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api/client"
)

// clientWaits are the Retry-After of a first answer, which is 503, and how often
// a client then sends the request.
var clientWaits = map[string]struct {
	retryAfter func(now time.Time) string
	requests   int
}{
	"none":           {fixedRetryAfter(""), 2},
	"invalid":        {fixedRetryAfter("1.5"), 2},
	"invalid-date":   {fixedRetryAfter("Sun, 06 Nov 1994 GMT"), 2},
	"seconds":        {fixedRetryAfter("0"), 2},
	"hour":           {fixedRetryAfter("3600"), 1},
	"date":           {dateAfter(2*time.Second, http.TimeFormat), 2},
	"date-of-before": {dateAfter(-time.Hour, http.TimeFormat), 2},
	"date-in-hour":   {dateAfter(time.Hour, http.TimeFormat), 1},
	// RFC 9110 keeps two obsolete forms of a date.
	"rfc850":          {dateAfter(2*time.Second, rfc850Format), 2},
	"rfc850-in-hour":  {dateAfter(time.Hour, rfc850Format), 1},
	"asctime":         {dateAfter(2*time.Second, time.ANSIC), 2},
	"asctime-in-hour": {dateAfter(time.Hour, time.ANSIC), 1},
	// A date of HTTP has a weekday, and no zone but GMT.
	"other-zone-in-hour": {dateAfter(time.Hour, "Mon, 02 Jan 2006 15:04:05 CET"), 2},
	"no-weekday-in-hour": {dateAfter(time.Hour, "02 Jan 2006 15:04:05 GMT"), 2},
}

const rfc850Format = "Monday, 02-Jan-06 15:04:05 GMT"

func fixedRetryAfter(header string) func(time.Time) string {
	return func(time.Time) string { return header }
}

func dateAfter(d time.Duration, format string) func(time.Time) string {
	return func(now time.Time) string { return now.Add(d).UTC().Format(format) }
}

const (
	typeScriptReads = `import { createClient } from "./dist/src/index.js";
const client = createClient({ baseUrl: process.env.HOLDD_URL });
const read = (id) => client.GET("/v1/holds/{id}", { params: { path: { id } } });
await Promise.all(process.argv.slice(2).map(read));
`
	pythonReads = `import os, sys
from holdd_client import Client, HolddError
client = Client(os.environ["HOLDD_URL"])
for id in sys.argv[1:]:
    try:
        client.get_hold(id)
    except HolddError:
        pass
`
)

// waitingServer answers the first request for each id as clientWaits says.
type waitingServer struct {
	mu       sync.Mutex
	requests map[string]int
	until    map[string]time.Time // of a date
	early    map[string]time.Duration
}

// ServeHTTP implements [http.Handler].
func (s *waitingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, now := filepath.Base(r.URL.Path), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[id]++; s.requests[id] > 1 {
		if early := s.until[id].Sub(now); early > 0 {
			s.early[id] = early
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":%q}`, id)
		return
	}
	header := clientWaits[id].retryAfter(now)
	s.until[id], _ = http.ParseTime(header) // none without a date
	if header != "" {
		w.Header().Set("Retry-After", header)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, `{"code":"unavailable","detail":"no"}`)
}

func (s *waitingServer) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, want := range clientWaits {
		if n := s.requests[id]; n != want.requests {
			t.Errorf("%s: %d requests, want %d", id, n, want.requests)
		}
	}
	for id, early := range s.early {
		t.Errorf("%s: the request was repeated %s before the date", id, early)
	}
}

// TestClients_AgreeOnRetryAfter shows that the clients of all languages wait as
// long as a Retry-After says, in seconds or as a date, and at most a minute.
func TestClients_AgreeOnRetryAfter(t *testing.T) {
	t.Parallel()
	ids := slices.Sorted(maps.Keys(clientWaits))
	start := func(t *testing.T) (*waitingServer, string) {
		s := &waitingServer{requests: map[string]int{}, until: map[string]time.Time{},
			early: map[string]time.Duration{}}
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		return s, server.URL
	}
	check := func(t *testing.T, cmd *exec.Cmd) {
		t.Helper()
		s, url := start(t)
		cmd.Args = append(cmd.Args, ids...)
		cmd.Env = append(os.Environ(), "HOLDD_URL="+url, "TZ=America/New_York", "PYTHONDONTWRITEBYTECODE=1",
			"PYTHONPATH="+absolutePath(t, clientsFolder, "python"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		s.check(t)
	}
	t.Run("typescript", func(t *testing.T) {
		t.Parallel()
		dir := copyTypeScriptClient(t)
		runIn(t, dir, clientTool(t, "tsc"))
		program := filepath.Join(dir, "reads.mjs")
		if err := os.WriteFile(program, []byte(typeScriptReads), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, exec.CommandContext(t.Context(), "node", program))
	})
	t.Run("python", func(t *testing.T) {
		t.Parallel()
		check(t, exec.CommandContext(t.Context(), "python3", "-c", pythonReads))
	})
	t.Run("go", func(t *testing.T) {
		t.Parallel()
		s, url := start(t)
		c, err := client.New(url, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		for _, id := range ids {
			_, _ = c.WithRetries().Get(t.Context(), id) // the requests are counted
		}
		s.check(t)
	})
}
