package check

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	repoRoot      = "../.." // of the repository
	deployDir     = ".."
	stripeAPIKey  = "sk_test_deploy_51HoldsAreSeenToTheirEnd"
	operatorToken = "deploy-check-0123456789abcdef0123456789abcdef"
	waitTimeout   = time.Minute
)

// binDir has the holdd that is checked, as `holdd`.
var binDir string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "holdd-deploy")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	code := 1
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "holdd"), "./cmd/holdd")
	cmd.Dir, cmd.Env = repoRoot, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// requireTool finds a program that `make deploy-check` puts on the PATH.
func requireTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not on the PATH: run this with `make deploy-check`, which installs it: %v", name, err)
	}
	return path
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// environment is a holdd with a Redis and a Stripe of its own.
type environment struct {
	sim                 *stripesim.Sim
	redis               *storetest.Redis
	url                 string
	tokenFile           string
	callbackUnavailable atomic.Bool  // the booking system: it does not take what it is told
	failedCallbacks     atomic.Int64 // what it was told in vain
}

func newEnvironment(t *testing.T, settings ...string) *environment {
	t.Helper()
	w := &environment{sim: stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1}), redis: storetest.Start(t)}
	stripe := httptest.NewServer(w.sim.Handler())
	t.Cleanup(stripe.Close)
	dir := t.TempDir()
	w.tokenFile = writeFile(t, filepath.Join(dir, "token"), operatorToken)
	tokens := writeFile(t, filepath.Join(dir, "tokens"), "check operate "+operatorToken+"\n")
	bookingSystem := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, _ *http.Request) {
		if w.callbackUnavailable.Load() {
			w.failedCallbacks.Add(1)
			a.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(bookingSystem.Close)
	cmd := exec.Command(filepath.Join(binDir, "holdd"), "serve")
	w.url = startDaemon(t, cmd, slices.Concat([]string{"STRIPE_API_KEY=" + stripeAPIKey, "STRIPE_API_BASE=" + stripe.URL, "REDIS_URL=" + w.redis.URL(),
		"HOLDD_CALLBACK_URL=" + bookingSystem.URL, "HOLDD_CALLBACK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"HOLDD_TOKENS_FILE=" + tokens, "HOLDD_SCHEDULE_REPORT=@every 1s", "HOLDD_RATE=1000", "HOLDD_RATE_READ=1000"}, settings)...)
	return w
}

// startDaemon runs a holdd on a free port until the test ends, and returns its
// address once it is up.
func startDaemon(t *testing.T, cmd *exec.Cmd, settings ...string) (url string) {
	t.Helper()
	cmd.Env = append([]string{"HOLDD_LISTEN=127.0.0.1:0", "HOLDD_LOG_FORMAT=json"}, settings...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up := make(chan string, 1)
	var tail strings.Builder
	ended := make(chan error, 1)
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Message, Listen string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "holdd is up" {
				up <- line.Listen
			}
			if tail.Len() < 1<<16 {
				tail.WriteString(lines.Text() + "\n")
			}
		}
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-ended:
		case <-time.After(waitTimeout):
			_ = cmd.Process.Kill()
			<-ended
			t.Error("holdd did not stop")
		}
		if t.Failed() {
			t.Logf("holdd's log:\n%s", tail.String())
		}
	})
	select {
	case url = <-up:
	case err := <-ended:
		ended <- err
		t.Fatalf("holdd ended: %v\n%s", err, tail.String())
	case <-time.After(waitTimeout):
		t.Fatal("holdd did not come up")
	}
	return url
}

func (w *environment) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+operatorToken)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(b)
}

// authorize places a hold at Stripe.
func (w *environment) authorize(t *testing.T) string {
	t.Helper()
	id, err := w.sim.Authorize(stripesim.Hold{Amount: 12_000, Currency: "eur", PaymentMethod: "pm_card_visa"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// runShell runs a line as an operator would, in a shell, with nobody at the
// terminal.
func (w *environment) runShell(t *testing.T, line string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+binDir+":"+os.Getenv("PATH"), "HOLDD_URL="+w.url, "HOLDD_TOKEN_FILE="+w.tokenFile, "REDIS_URL="+w.redis.URL(),
		"STRIPE_API_KEY="+stripeAPIKey)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func (w *environment) mustRunShell(t *testing.T, line string) string {
	t.Helper()
	out, err := w.runShell(t, line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}
