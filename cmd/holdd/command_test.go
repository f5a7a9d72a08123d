package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// startFakeAPI starts an API with a fake worker. It returns an environment with
// its address.
func startFakeAPI(t *testing.T) (*fakeWorker, []string) {
	t.Helper()
	store := newFakeWorker()
	handler, err := api.New(api.Options{Holds: holdsOf(store)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return store, []string{"HOLDD_URL=" + server.URL, "HOLDD_TIME_ZONE=UTC"}
}

func runCommand(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, env, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestFormatRelative(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "now", 999 * time.Millisecond: "now", -999 * time.Millisecond: "now", time.Second: "in 1 s", -90 * time.Second: "1 min 30 s ago",
		2*day + 3*time.Hour + 59*time.Minute: "in 2 d 3 h", day: "in 1 d", day + 5*time.Minute: "in 1 d", time.Hour + 30*time.Second: "in 1 h",
		-(6*time.Hour + 30*time.Minute): "6 h 30 min ago", 30 * day: "in 30 d",
	} {
		if got := formatRelative(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// References, metadata and notes come from outside. They must not move the
// cursor, change the writing direction, or add a line.
func TestOutput_SanitizesControlCharacters(t *testing.T) {
	store, env := startFakeAPI(t)
	req := hold.ScheduleRequest{PaymentIntent: "pi_evil00001", Reference: "BK-1",
		Metadata: map[string]string{"a\x1b[2J": "b\x1b]0;title\a\nfake: line",
			"c": "BK\u009b31m\u202e-1"}}
	if done := store.Schedule(t.Context(), []hold.ScheduleRequest{req}, "api"); done[0].Err != nil {
		t.Fatal(done[0].Err)
	}
	for _, args := range [][]string{{"list"}, {"show", "pi_evil00001"}, {"show", "BK\x1b[31m"}, {"pause", "pi_evil00001"}, {"pause", "pi_evil00001"}, {"plan", "--next", "30d"}} {
		_, stdout, stderr := runCommand(t, env, args...)
		for _, r := range stdout + stderr {
			if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e) {
				t.Errorf("%v lets %U through: %q", args, r, stdout+stderr)
			}
		}
		if strings.Contains(stdout, "\nfake") {
			t.Errorf("%v: a note added a line: %q", args, stdout)
		}
	}
}

func TestList_PrintsAllPages(t *testing.T) {
	store, env := startFakeAPI(t)
	const n = 1234 // more than a page, more than a block of the table
	var reqs []hold.ScheduleRequest
	for i := range n {
		reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: fmt.Sprintf("pi_many%06d", i)})
	}
	for _, d := range store.Schedule(t.Context(), reqs, "api") {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	code, stdout, _ := runCommand(t, env, "list", "--all")
	if got := strings.Count(stdout, "pi_many"); code != exitOK || got != n {
		t.Errorf("exit code %d, %d holds, want %d", code, got, n)
	}
	_, stdout, _ = runCommand(t, env, "list", "--limit", "700", "--json")
	if got := strings.Count(stdout, "\n"); got != 700 {
		t.Errorf("%d lines of JSON, want 700", got)
	}
	for line := range strings.Lines(stdout) {
		var v hold.View
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
}

// A watched list shows what changed since, and leaves out what is settled.
func TestList_WatchesOpenHolds(t *testing.T) {
	store, env := startFakeAPI(t)
	schedule := func(id string) {
		t.Helper()
		reqs := []hold.ScheduleRequest{{PaymentIntent: id}}
		if done := store.Schedule(t.Context(), reqs, "api"); done[0].Err != nil {
			t.Fatal(done[0].Err)
		}
	}
	schedule("pi_watch0001")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stdout, printed := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"list", "--open", "--watch"}, env, strings.NewReader(""), printed,
			io.Discard)
		printed.Close()
	}()
	lines := bufio.NewScanner(stdout)
	waitFor := func(id string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), id) {
				return
			}
		}
		t.Fatalf("%s is not listed: %v", id, lines.Err())
	}
	waitFor("pi_watch0001")
	schedule("pi_watch0002")
	waitFor("pi_watch0002")
	stop()
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit code %d", got)
	}
}

func TestScheduleFile_SendsBatches(t *testing.T) {
	store, env := startFakeAPI(t)
	const n = 2500
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"payment_intent":"pi_file%06d","metadata":{"note":"%s"}}`+"\n", i, strings.Repeat("x", 490))
	}
	path := filepath.Join(t.TempDir(), "holds.ndjson")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runCommand(t, env, "schedule", "--file", path)
	if code != exitOK || len(store.holds) != n || !strings.Contains(stderr, "2500 scheduled") {
		t.Errorf("exit code %d, %d holds: %s", code, len(store.holds), stderr)
	}
	if err := os.WriteFile(path, []byte(`{"payment_intent":"pi_first0001"}`+"\n"+strings.Repeat("x", maxLineBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = runCommand(t, env, "schedule", "--file", path)
	if code != exitUsage || !strings.Contains(stderr, "line 2 is longer than 32 KiB") || store.holds["pi_first0001"].ID == "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// The outcome of a request without an answer is unknown.
func TestCapture_LostAnswerExitsUnknown(t *testing.T) {
	server := httptest.NewServer(abortingHandler{})
	t.Cleanup(server.Close)
	env := []string{"HOLDD_URL=" + server.URL}
	code, _, stderr := runCommand(t, env, "capture", "pi_lost00001", "--yes")
	if code != exitUnknown || !strings.Contains(stderr, "outcome unknown") || !strings.Contains(stderr, "hint: holdd show pi_lost00001") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := runCommand(t, env, "list"); code != exitUnreachable {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestCapture_InterruptedWhileWaiting(t *testing.T) {
	store, env := startFakeAPI(t)
	store.Schedule(t.Context(), []hold.ScheduleRequest{{PaymentIntent: "pi_stuck0001", Reference: "STUCK"}}, "api")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs bytes.Buffer
	seen := &cancelOnSecondGet{fakeWorker: store, cancel: cancel}
	handler, err := api.New(api.Options{Holds: holdsOf(seen)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	code := Run(ctx, []string{"capture", "pi_stuck0001", "--yes", "--url", server.URL}, env, strings.NewReader(""), &out, &errs)
	if code != exitUnknown || !strings.Contains(errs.String(), "interrupted: holdd has accepted the request") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	code = Run(ctx, []string{"list"}, env, strings.NewReader(""), &out, &errs)
	if code != exitInterrupted {
		t.Errorf("exit code %d after an interrupt, want %d", code, exitInterrupted)
	}
}

func TestOutput_WriteErrorFails(t *testing.T) {
	store, env := startFakeAPI(t)
	store.Schedule(t.Context(), []hold.ScheduleRequest{{PaymentIntent: "pi_full00001"}}, "api")
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"show", "pi_full00001"}, {"version"}} {
		var errs bytes.Buffer
		if code := Run(t.Context(), args, env, strings.NewReader(""), fullDiskWriter{}, &errs); code != exitFailed || !strings.Contains(errs.String(), "no space") {
			t.Errorf("%v: exit code %d: %s", args, code, errs.String())
		}
	}
}

func TestLogger_JSONLines(t *testing.T) {
	settings, err := config.Load(nil, []string{"STRIPE_API_KEY=sk_test_topsecret"}, "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log, _ := newLogger(settings, &out)
	log.Debug("not at this level")
	for range 300 { // nothing is sampled
		log.Info("captured", zap.String("hold", "pi_1"), zap.Any("settings", settings))
	}
	if got := strings.Count(out.String(), "\n"); got != 300 {
		t.Errorf("%d lines, want 300", got)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(strings.SplitN(out.String(), "\n", 2)[0]), &line); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(line["time"])); err != nil || line["level"] != "info" || line["message"] != "captured" || line["hold"] != "pi_1" {
		t.Errorf("%v: %v", err, line)
	}
	if strings.Contains(out.String(), "topsecret") {
		t.Error("a secret is in the log")
	}
}

// Every command has help, and the help lists every exit code.
func TestHelp_ListsCommandsAndExitCodes(t *testing.T) {
	code, stdout, _ := runCommand(t, nil, "help")
	if code != exitOK {
		t.Fatal("no help")
	}
	for _, name := range []string{"serve", "schedule", "list", "show", "capture", "cancel", "reschedule", "pause", "resume", "acknowledge", "plan", "doctor", "log-level", "config", "version", "completion", "exit-codes", "environment"} {
		if !strings.Contains(stdout, " "+name+" ") {
			t.Errorf("help does not name %s", name)
		}
		if code, out, _ := runCommand(t, nil, "help", name); code != exitOK || len(out) < 40 {
			t.Errorf("no help for %s", name)
		}
	}
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitNotFound, exitUnreachable, exitConflict, exitUnknown, exitInterrupted} {
		if !strings.Contains(exitCodesHelp, fmt.Sprintf("\n  %-5d", code)) {
			t.Errorf("exit code %d is not explained", code)
		}
	}
}

// The help of each command fits 80 columns, apart from a URL that is one word.
func TestHelp_FitsColumns(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		args := append([]string{"help"}, strings.Fields(cmd.CommandPath())[1:]...)
		_, help, _ := runCommand(t, nil, args...)
		for line := range strings.Lines(help) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > tableWidth &&
				!strings.Contains(line, "https://github.com/") {
				t.Errorf("%v: %s", args, line)
			}
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(newRootCommand(newTerminal(nil, strings.NewReader(""), io.Discard, io.Discard), nil))
}

type cancelOnSecondGet struct {
	*fakeWorker
	cancel context.CancelFunc
	gets   int
}

func (c *cancelOnSecondGet) Get(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if c.gets++; c.gets == 2 {
		c.cancel()
	}
	return c.fakeWorker.Get(ctx, id)
}

// abortingHandler closes each connection without an answer.
type abortingHandler struct{}

func (abortingHandler) ServeHTTP(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

type fullDiskWriter struct{}

func (fullDiskWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestList_HasEveryFilterOfTheAPI checks that holdd list has a flag for each parameter
// of the API's list.
func TestList_HasEveryFilterOfTheAPI(t *testing.T) {
	b, err := os.ReadFile("../../deploy/clients/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct{ Parameters []struct{ Name string } }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	parameters := doc.Paths["/v1/holds"]["get"].Parameters
	if len(parameters) == 0 {
		t.Fatal("the document has no parameters of the list")
	}
	_, help, _ := runCommand(t, nil, "list", "--help")
	for _, p := range parameters {
		flag := "--" + strings.ReplaceAll(p.Name, "_", "-")
		listed := slices.Contains(strings.Fields(help), flag)
		if p.Name != "cursor" && !listed { // holdd list reads all pages
			t.Errorf("holdd list has no %s", flag)
		}
	}
}
