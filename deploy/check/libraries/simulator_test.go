package libraries

import (
	"bufio"
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
func startSimulator(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "stripesim")
	build := exec.Command("go", "build", "-o", bin, "./cmd/stripesim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	sim := exec.Command(bin, "--listen", "127.0.0.1:0")
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

func TestStripeNode(t *testing.T) {
	dir, err := filepath.Abs(root + "/.build/stripe-node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/node_modules/stripe"); err != nil {
		t.Fatalf("%v: run make languages", err)
	}
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

func TestStripePython(t *testing.T) {
	// Debian's package is for Debian's own Python.
	python := "/usr/bin/python3"
	if exec.Command(python, "-c", "import stripe").Run() != nil {
		python = "python3"
	}
	runProgram(t, "python", python, "flow.py")
}
