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

// processTimeout is how long a process may take to come up or down on a busy
// machine.
const processTimeout = time.Minute

// replica is a holdd serve process.
type replica struct {
	tb     testing.TB
	name   string
	url    string
	client *api.Client
	log    *processLog
	cmd    *exec.Cmd
	ended  chan struct{}
	killed bool // by SIGKILL: its last line may be half a line
}

// startReplica runs the binary until the test ends. env are settings as
// KEY=value; nothing of the test's own environment is seen.
func startReplica(tb testing.TB, name, bin string, env ...string) *replica {
	tb.Helper()
	r := &replica{tb: tb, name: name, log: newProcessLog(), ended: make(chan struct{})}
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
	tb.Cleanup(r.stopAndCheckLog)
	storetest.WaitUntil(tb, processTimeout, name+" is up", func() bool {
		r.url = r.log.listenURL()
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

// stopAndCheckLog ends the process if it still runs, and checks all its output.
func (r *replica) stopAndCheckLog() {
	if !r.hasEnded() {
		r.sendSignal(syscall.SIGKILL)
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

// sendSignal sends a signal to the process; SIGKILL and SIGTERM are waited for.
func (r *replica) sendSignal(s syscall.Signal) {
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
	bound := time.NewTimer(processTimeout)
	defer bound.Stop()
	select {
	case <-r.ended:
	case <-bound.C:
		r.tb.Fatalf("%s goes on %s after %v", r.name, processTimeout, s)
	}
}

// terminate ends the process as a service manager does.
func (r *replica) terminate(code int) {
	r.tb.Helper()
	r.sendSignal(syscall.SIGTERM)
	if is := r.cmd.ProcessState.ExitCode(); is != code {
		r.tb.Errorf("told to stop, %s ended with %d: it should be %d", r.name, is, code)
	}
}

// readiness is the answer of /readyz; false with a nil map while the replica
// does not answer.
func (r *replica) readiness() (ok bool, checks map[string]api.ReadinessCheck) {
	a, err := r.client.GetReadiness(r.tb.Context())
	if err != nil {
		return false, nil
	}
	checks = map[string]api.ReadinessCheck{}
	for _, c := range a.Checks {
		checks[c.Name] = c
	}
	return a.Ready, checks
}

// logLine is a line of the log, with the fields that an outcome has.
type logLine struct {
	Level          string `json:"level"`
	Message        string `json:"message"`
	Listen         string `json:"listen"`
	WebhookListen  string `json:"webhook_listen"`
	MetricsListen  string `json:"metrics_listen"`
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

// requiredOutcomeFields are the fields that each outcome's line has.
var requiredOutcomeFields = []string{"event", "hold", "payment_intent", "account", "reference",
	"amount", "currency", "attempt", "idempotency_key",
	"request_id", "lateness_ms", "cause", "by"}

func isOutcome(event string) bool {
	switch event {
	case "hold.captured", "hold.canceled", "hold.expired", "hold.attention":
		return true
	}
	return false
}

// maxKeptLines bounds what a logbook keeps beside outcomes.
const maxKeptLines = 20_000

// processLog takes a process' standard error, a line at a time.
type processLog struct {
	mu             sync.Mutex
	partialLine    []byte // of a line that has not ended
	lineCount      int
	listenAddr     string
	webhookAddr    string
	metricsAddr    string
	otherLines     []string // lines that tell no outcome
	faultsFound    []string
	outcomesByHold map[string][]logLine // by hold
	outcomeCount   int
}

func newProcessLog() *processLog { return &processLog{outcomesByHold: map[string][]logLine{}} }

func (l *processLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partialLine = append(l.partialLine, p...)
	for {
		line, rest, ok := bytes.Cut(l.partialLine, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.addLine(string(line))
		l.partialLine = rest
	}
}

func (l *processLog) addLine(line string) {
	l.lineCount++
	var e logLine
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(line), &e) != nil || json.Unmarshal([]byte(line), &fields) != nil {
		l.addFault("a line is not JSON: " + line)
	}
	if strings.Contains(line, apiKey) || strings.Contains(line, "_secret_") {
		l.addFault("a line has a secret in it: " + line)
	}
	if e.Message == "holdd is up" {
		l.listenAddr, l.webhookAddr, l.metricsAddr = e.Listen, e.WebhookListen, e.MetricsListen
	}
	if !isOutcome(e.Event) {
		if len(l.otherLines) < maxKeptLines {
			l.otherLines = append(l.otherLines, line)
		}
		return
	}
	for _, f := range requiredOutcomeFields {
		if _, ok := fields[f]; !ok {
			l.addFault("an outcome's line has no " + f + ": " + line)
		}
	}
	l.outcomesByHold[e.Hold] = append(l.outcomesByHold[e.Hold], e)
	l.outcomeCount++
}

func (l *processLog) addFault(s string) {
	if len(l.faultsFound) < 20 {
		l.faultsFound = append(l.faultsFound, s)
	}
}

func (l *processLog) listenURL() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listenAddr
}

// countOutcomes is how many outcomes were logged so far.
func (l *processLog) countOutcomes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomeCount
}

// outcomesOf returns the outcomes of one hold.
func (l *processLog) outcomesOf(hold string) []logLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomesByHold[hold]
}

// contains reports whether a line that is no outcome contains the text.
func (l *processLog) contains(text string) bool { return l.count(text) > 0 }

// count returns how many lines that are no outcome contain the text.
func (l *processLog) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.otherLines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (l *processLog) faults(killed bool) (lines int, faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	faults = l.faultsFound
	if len(l.partialLine) > 0 && !killed {
		faults = append(faults, fmt.Sprintf("the last line has no end: %q", l.partialLine))
	}
	return l.lineCount, faults
}

func (l *processLog) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.otherLines[max(0, len(l.otherLines)-n):], "\n")
}

// runHoldd runs the binary to its end, with nothing on standard input.
func runHoldd(
	tb testing.TB, bin string, env []string, args ...string,
) (code int, stdout, stderr string) {
	tb.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), bin, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = env, tb.TempDir(),
		&out, &errs, ownProcess()
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if err := cmd.Run(); cmd.ProcessState == nil {
		tb.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// writeTempFile puts a file where only this test sees it.
func writeTempFile(tb testing.TB, name, text string) string {
	tb.Helper()
	path := tb.TempDir() + "/" + name
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
