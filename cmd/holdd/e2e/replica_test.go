package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
)

// startTime is how long a process may take to come up or down on a busy machine.
const startTime = time.Minute

// replica is a holdd serve process.
type replica struct {
	tb     testing.TB
	name   string
	url    string
	client *api.Client
	log    *logbook
	cmd    *exec.Cmd
	ended  chan struct{}
	killed bool // by SIGKILL: its last line may be half a line
}

// startReplica runs the binary until the test ends. env are settings as KEY=value; nothing of the test's own environment is seen.
func startReplica(tb testing.TB, name, bin string, env ...string) *replica {
	tb.Helper()
	r := &replica{tb: tb, name: name, log: newLogbook(), ended: make(chan struct{})}
	r.cmd = exec.Command(bin, "serve")
	r.cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", "HOLDD_LISTEN=127.0.0.1:0"}, env...)
	r.cmd.Dir = tb.TempDir()
	r.cmd.Stderr = r.log
	r.cmd.SysProcAttr = ownProcess()
	if err := r.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait() // how it ended is in ProcessState
		close(r.ended)
	}()
	tb.Cleanup(r.finish)
	storetest.Until(tb, startTime, name+" is up", func() bool {
		r.url = r.log.address()
		return r.url != "" || r.hasEnded()
	})
	if r.url == "" {
		tb.Fatalf("%s ended at once: %v", name, r.cmd.ProcessState)
	}
	client, err := api.NewClient(r.url, "")
	if err != nil {
		tb.Fatal(err)
	}
	r.client = client
	tb.Cleanup(client.Close)
	return r
}

// finish ends the process if it still runs, and looks at everything that it wrote.
func (r *replica) finish() {
	if !r.hasEnded() {
		r.signal(syscall.SIGKILL)
	}
	lines, faults := r.log.faults(r.killed)
	for _, f := range faults {
		r.tb.Errorf("%s: %s", r.name, f)
	}
	if r.tb.Failed() {
		r.tb.Logf("%s (%v) wrote %d lines to standard error, of which the last without outcomes:\n%s", r.name, r.cmd.ProcessState, lines, r.log.tail(60))
	}
}

func (r *replica) pid() int { return r.cmd.Process.Pid }

func (r *replica) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// signal sends a signal to the process; SIGKILL and SIGTERM are waited for.
func (r *replica) signal(s syscall.Signal) {
	r.tb.Helper()
	if s == syscall.SIGKILL {
		r.killed = true
	}
	if err := r.cmd.Process.Signal(s); err != nil && !r.hasEnded() {
		r.tb.Fatalf("%v to %s: %v", s, r.name, err)
	}
	if s != syscall.SIGKILL && s != syscall.SIGTERM {
		return
	}
	bound := time.NewTimer(startTime)
	defer bound.Stop()
	select {
	case <-r.ended:
	case <-bound.C:
		r.tb.Fatalf("%s goes on %s after %v", r.name, startTime, s)
	}
}

// stop ends the process as a service manager does.
func (r *replica) stop(code int) {
	r.tb.Helper()
	r.signal(syscall.SIGTERM)
	if is := r.cmd.ProcessState.ExitCode(); is != code {
		r.tb.Errorf("told to stop, %s ended with %d: it should be %d", r.name, is, code)
	}
}

// ready is what the replica says of itself; false with a nil map while it doesn't answer.
func (r *replica) ready() (ok bool, checks map[string]api.Check) {
	a, err := r.client.Ready(r.tb.Context())
	if err != nil {
		return false, nil
	}
	checks = map[string]api.Check{}
	for _, c := range a.Checks {
		checks[c.Name] = c
	}
	return a.Ready, checks
}

// entry is a line of the log, with the fields that an outcome has.
type entry struct {
	Level          string `json:"level"`
	Message        string `json:"message"`
	Listen         string `json:"listen"`
	Event          string `json:"event"`
	Hold           string `json:"hold"`
	PaymentIntent  string `json:"payment_intent"`
	Account        string `json:"account"`
	Reference      string `json:"reference"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Attempt        int    `json:"attempt"`
	IdempotencyKey string `json:"idempotency_key"`
	RequestID      string `json:"request_id"`
	LatenessMS     int64  `json:"lateness_ms"`
	Cause          string `json:"cause"`
}

// outcomeFields are the fields that each outcome's line has.
var outcomeFields = []string{"event", "hold", "payment_intent", "account", "reference", "amount", "currency", "attempt", "idempotency_key",
	"request_id", "lateness_ms", "cause"}

func isOutcome(event string) bool {
	switch event {
	case "hold.captured", "hold.canceled", "hold.expired", "hold.attention":
		return true
	}
	return false
}

// maxLines bounds what a logbook keeps beside outcomes.
const maxLines = 20_000

// logbook takes a process' standard error, a line at a time.
type logbook struct {
	mu       sync.Mutex
	rest     []byte // of a line that has not ended
	n        int
	listen   string
	others   []string // lines that tell no outcome
	bad      []string
	outcomes map[string][]entry // by hold
	count    int
}

func newLogbook() *logbook { return &logbook{outcomes: map[string][]entry{}} }

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.take(string(line))
		l.rest = rest
	}
}

func (l *logbook) take(line string) {
	l.n++
	var e entry
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(line), &e) != nil || json.Unmarshal([]byte(line), &fields) != nil {
		l.complain("a line is not JSON: " + line)
	}
	if strings.Contains(line, apiKey) || strings.Contains(line, "_secret_") {
		l.complain("a line has a secret in it: " + line)
	}
	if e.Message == "holdd is up" {
		l.listen = e.Listen
	}
	if !isOutcome(e.Event) {
		if len(l.others) < maxLines {
			l.others = append(l.others, line)
		}
		return
	}
	for _, f := range outcomeFields {
		if _, ok := fields[f]; !ok {
			l.complain("an outcome's line has no " + f + ": " + line)
		}
	}
	l.outcomes[e.Hold] = append(l.outcomes[e.Hold], e)
	l.count++
}

func (l *logbook) complain(s string) {
	if len(l.bad) < 20 {
		l.bad = append(l.bad, s)
	}
}

func (l *logbook) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listen
}

// outcomesCount is how many outcomes were logged so far.
func (l *logbook) outcomesCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// of returns the outcomes of one hold.
func (l *logbook) of(hold string) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomes[hold]
}

// says reports whether a line that is no outcome contains the text.
func (l *logbook) says(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.others {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

func (l *logbook) faults(killed bool) (lines int, faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	faults = l.bad
	if len(l.rest) > 0 && !killed {
		faults = append(faults, fmt.Sprintf("the last line has no end: %q", l.rest))
	}
	return l.n, faults
}

func (l *logbook) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.others[max(0, len(l.others)-n):], "\n")
}

// command runs the binary to its end, with nothing on standard input.
func command(tb testing.TB, bin string, env []string, args ...string) (code int, stdout, stderr string) {
	tb.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), bin, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = env, tb.TempDir(), &out, &errs, ownProcess()
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if err := cmd.Run(); cmd.ProcessState == nil {
		tb.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// writeFile puts a file where only this test sees it.
func writeFile(tb testing.TB, name, text string) string {
	tb.Helper()
	path := tb.TempDir() + "/" + name
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
