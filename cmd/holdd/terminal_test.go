package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/holdd/holdd/worker/hold"
)

// runOnTerminal runs a command with all three streams on a terminal, and
// returns what the screen shows.
func runOnTerminal(t *testing.T, env []string, typed string, args ...string) (code int, screen string) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	screen = readScreen(master, tty, func() {
		code = Run(context.Background(), args, env, tty, tty, tty)
	})
	return code, screen
}

// readScreen returns what run and its processes write to a terminal. It closes
// the terminal.
func readScreen(master, tty *os.File, run func()) string {
	var seen bytes.Buffer
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(&seen, master) // ends with EIO once the other side is closed
	}()
	run()
	tty.Close()
	<-drained
	master.Close()
	return seen.String()
}

// terminalMain is a program for the scripts: "terminal FILE COMMAND…" runs a
// command on a terminal, types the text of FILE, and writes what the command
// wrote to the terminal to the file screen. Standard output and standard error
// are no terminal. It exits with the code of the command.
func terminalMain() {
	typed, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	master, tty, err := pty.Open()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := master.Write(typed); err != nil {
		log.Fatal(err)
	}
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	var ended error
	screen := readScreen(master, tty, func() { ended = cmd.Run() })
	if err := os.WriteFile("screen", []byte(screen), 0o600); err != nil {
		log.Fatal(err)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(ended, &exit):
		os.Exit(exit.ExitCode())
	case ended != nil:
		log.Fatal(ended)
	}
}

func TestColor_OnTerminalOnly(t *testing.T) {
	store, env := startFakeAPI(t)
	store.Schedule(t.Context(), []hold.ScheduleRequest{{PaymentIntent: "pi_color0001", Reference: "BK-1", Amount: 1200, Currency: "eur", ExpiresAt: "2030-01-01T00:00:00Z"}}, "api")
	store.Schedule(t.Context(), []hold.ScheduleRequest{{PaymentIntent: "pi_color0002", Reference: "BK-2"}}, "api")
	if _, screen := runOnTerminal(t, env, "", "list"); !strings.Contains(screen, "\x1b[34mwaiting\x1b[0m") {
		t.Errorf("no colours: %q", screen)
	}
	if _, screen := runOnTerminal(t, env, "", "show", "pi_absent001"); !strings.Contains(screen, "\x1b[1;31merror:\x1b[0m there is no hold") {
		t.Errorf("no colours: %q", screen)
	}
	for _, plain := range []string{"NO_COLOR=1", "TERM=dumb"} {
		for _, args := range [][]string{{"list"}, {"show", "pi_absent001"}} {
			if _, screen := runOnTerminal(t, append(env, plain), "", args...); strings.Contains(screen, "\x1b") {
				t.Errorf("%s: %q", plain, screen)
			}
		}
	}
	if _, screen := runOnTerminal(t, env, "", "list", "--json"); strings.Contains(screen, "\x1b") {
		t.Errorf("colours in JSON: %q", screen)
	}
}

func TestScheduleFile_DrawsBarAfterQuestion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "due.ndjson")
	line := fmt.Sprintf(`{"payment_intent": "pi_asked0001", "cancel_at": %q}`,
		time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	_, env := startFakeAPI(t)
	code, screen := runOnTerminal(t, env, "n\n", "schedule", "--file", file)
	if code != exitFailed || strings.Contains(screen, "scheduling") {
		t.Errorf("declined: exit code %d, screen %q", code, screen)
	}
	code, screen = runOnTerminal(t, env, "y\n", "schedule", "--file", file)
	question, bar := strings.Index(screen, "[y/N]"), strings.Index(screen, "scheduling")
	if code != exitOK || question < 0 || bar < question {
		t.Errorf("confirmed: exit code %d, screen %q", code, screen)
	}
}

func TestCancel_AsksOnTerminal(t *testing.T) {
	store, env := startFakeAPI(t)
	store.Schedule(t.Context(), []hold.ScheduleRequest{{PaymentIntent: "pi_asked0001", Reference: "BK-1"}}, "api")
	code, screen := runOnTerminal(t, env, "n\n", "cancel", "BK-1")
	if code != exitFailed || !strings.Contains(screen, "Release all of BK-1 now?") || store.holds["pi_asked0001"].CancelWanted {
		t.Errorf("exit code %d: %q", code, screen)
	}
	code, screen = runOnTerminal(t, env, "YES\n", "cancel", "BK-1")
	if code != exitOK || store.holds["pi_asked0001"].State != hold.Canceled {
		t.Errorf("exit code %d: %q", code, screen)
	}
}

func TestProgressBar_OnTerminalOnly(t *testing.T) {
	_, env := startFakeAPI(t)
	path := t.TempDir() + "/holds.ndjson"
	if err := os.WriteFile(path, []byte(`{"payment_intent":"pi_bar000001"}`+"\n"+`{"payment_intent":"pi_bar000002"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, screen := runOnTerminal(t, env, "", "schedule", "--file", path)
	if code != exitOK || !strings.Contains(screen, "2 scheduled, 0 already scheduled, 0 rejected") {
		t.Errorf("exit code %d: %q", code, screen)
	}
	if !strings.Contains(screen, "scheduling ... done!") {
		t.Errorf("no bar: %q", screen)
	}
	if _, screen := runOnTerminal(t, append(env, "TERM=dumb"), "", "schedule", "--file", path); strings.Contains(screen, "scheduling") {
		t.Errorf("a bar on a dumb terminal: %q", screen)
	}
}

func TestProgressBar_StopImmediately(t *testing.T) {
	c := newTerminal(nil, strings.NewReader(""), io.Discard, io.Discard)
	c.canDrawProgress = true
	for range 100 {
		c.newProgressBar("nothing to do", 0).stop(true)
	}
}

// On a terminal the log is text, unless log_format is json.
func TestLogger_ConsoleOnTerminal(t *testing.T) {
	env := []string{"STRIPE_API_KEY=sk_test_terminal", "REDIS_URL=redis://127.0.0.1:1/0", "HOLDD_SHUTDOWN_GRACE=1s"}
	if code, screen := runOnTerminal(t, env, "", "serve"); code != exitFailed || !strings.Contains(screen, "\tWARN\tshutdown_grace: 1s") {
		t.Errorf("exit code %d: %q", code, screen)
	}
	if code, screen := runOnTerminal(t, append(env, "HOLDD_LOG_FORMAT=json"), "", "serve"); code != exitFailed || !strings.Contains(screen, `"level":"warn"`) {
		t.Errorf("exit code %d: %q", code, screen)
	}
}
