package libraries

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// root is the top of the repository.
const root = "../../.."

// startSimulator builds and starts stripesim, and returns its address.
func startSimulator(t *testing.T, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "stripesim")
	build := exec.Command("go", "build", "-o", bin, "./cmd/stripesim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	sim := exec.Command(bin, append(flags, "--listen", "127.0.0.1:0")...)
	sim.Stderr = os.Stderr
	stdout, err := sim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sim.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = sim.Wait()                          // its status tells nothing more
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if url := regexp.MustCompile(`http://[0-9.:]+`).FindString(lines.Text()); url != "" {
			go func() { // until the simulator ends
				for lines.Scan() {
				}
			}()
			return url
		}
	}
	t.Fatal("the simulator names no address")
	return ""
}

// runProgram runs a program of another language against a new simulator.
func runProgram(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STRIPE_BASE="+startSimulator(t), "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	t.Logf("%s", out)
}

// stripeNodeDir returns the folder in which make languages installs stripe-node.
func stripeNodeDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(root + "/.build/stripe-node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/node_modules/stripe"); err != nil {
		t.Fatalf("%v: run make languages", err)
	}
	return dir
}

func TestStripeNode(t *testing.T) {
	dir := stripeNodeDir(t)
	flow, err := os.ReadFile("node/flow.mjs")
	if err != nil {
		t.Fatal(err)
	}
	// Node looks for packages beside the program.
	if err := os.WriteFile(dir+"/flow.mjs", flow, 0o600); err != nil {
		t.Fatal(err)
	}
	runProgram(t, dir, "node", "flow.mjs")
}

// stripe-node lists the versions that a webhook endpoint may have.
func TestSimulator_AcceptsVersionsOfStripeNode(t *testing.T) {
	types, err := os.ReadFile(stripeNodeDir(t) +
		"/node_modules/stripe/cjs/resources/WebhookEndpoints.d.ts")
	if err != nil {
		t.Fatal(err)
	}
	versions := regexp.MustCompile(`'(\d{4}-\d\d-\d\d(?:\.[a-z]+)?)'`).FindAllSubmatch(types, -1)
	if len(versions) < 100 {
		t.Fatalf("stripe-node lists %d versions", len(versions))
	}
	url := startSimulator(t, "--rate", "-1", "--overall-rate", "-1")
	for _, v := range versions {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/balance", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("sk_test_example", "")
		req.Header.Set("Stripe-Version", string(v[1]))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: HTTP %d", v[1], res.StatusCode)
		}
	}
}

func TestStripePython(t *testing.T) {
	// Debian's package is for Debian's own Python.
	python := "/usr/bin/python3"
	if exec.Command(python, "-c", "import stripe").Run() != nil {
		python = "python3"
	}
	runProgram(t, "python", python, "flow.py")
}
