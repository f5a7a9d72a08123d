package e2e_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
)

// A token of the role operate changes the level of a running daemon, and the
// log names it. Outcomes are logged beside the debug lines.
func TestLogLevel_ChangeAtRunTime(t *testing.T) {
	t.Parallel()
	const operate, read = "operate-0123456789abcdef0123456789", "read-0123456789abcdef0123456789"
	w := newWorld(t, unlimitedStripeOptions)
	bin := binaryPath(t, buildRelease)
	r := w.startReplica(bin, append(highBudgetSettings, "HOLDD_TOKENS_FILE="+
		writeTempFile(t, "tokens", "desk operate "+operate+"\nboard read "+read+"\n"))...)
	cliAs := func(token string) *cliRunner {
		return &cliRunner{t, bin, []string{"HOLDD_URL=" + r.url, "HOLDD_TOKEN=" +
			token, "HOLDD_TIME_ZONE=UTC"}}
	}
	d := cliAs(operate)
	d.runCommand(0, []string{"log-level"}, "info (the settings say info)")
	cliAs(read).runCommand(0, []string{"log-level"}, "info (the settings say info)")
	cliAs(read).runCommand(2, []string{"log-level", "debug"}, "has the role read")
	d.runCommand(2, []string{"log-level", "trace"}, `invalid argument "trace"`)
	if r.log.contains(`"level":"debug"`) || r.log.contains("log level changed") {
		t.Error("it was changed by somebody who may not, or did not")
	}

	d.runCommand(0, []string{"log-level", "debug"}, "debug (the settings say info)")
	storetest.WaitUntil(t, processTimeout, "a line of the level debug", func() bool { return r.log.contains(`"level":"debug"`) })
	storetest.WaitUntil(t, processTimeout, "the line of the change", func() bool {
		return r.log.contains(`"message":"log level changed","from":"info","to":"debug","by":"desk"`)
	})
	d.runCommand(0, []string{"schedule", w.authorizeBookings(1)[0].id,
		"--capture-at", "now", "--yes"})
	storetest.WaitUntil(t, processTimeout, "an outcome among it all",
		func() bool { return r.log.countOutcomes() == 1 })

	d.runCommand(0, []string{"log-level", "error", "--json"}, `{"level":"error","configured":"info"}`)
	storetest.WaitUntil(t, processTimeout, "the line that says who silenced the log", func() bool {
		return r.log.contains(`"from":"debug","to":"error","by":"desk"`)
	})
}

// By default the log is JSON, and text on a terminal. The setting overrides
// both.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripesim.Options{Seed: 5})
	bin := binaryPath(t, buildRelease)
	for form, isJSON := range map[string]bool{"": true, "auto": true,
		"json": true, "console": false} {
		var out bytes.Buffer
		cmd := exec.Command(bin, "serve")
		cmd.Env = append([]string{"HOLDD_LISTEN=127.0.0.1:0", "HOLDD_LOG_FORMAT=" + form,
			"GORACE=atexit_sleep_ms=0"}, w.settings()...)
		pipe, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stopped := false
		buf := make([]byte, 4096)
		for {
			k, err := pipe.Read(buf)
			out.Write(buf[:k])
			if !stopped && strings.Contains(out.String(), "holdd is up") {
				stopped = true
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if err != nil {
				break // it has ended, and so has what it writes
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%q: %v\n%s", form, err, &out)
		}
		for line := range strings.Lines(out.String()) {
			if json.Valid([]byte(line)) != isJSON || !isJSON &&
				!strings.Contains(line, "\tINFO\t") {
				t.Errorf("%q: %s", form, line)
			}
		}
	}
}
