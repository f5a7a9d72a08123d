package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var (
	rebuildCount = flag.Int("holds", 500,
		"holds of the Redis that is emptied; make prove asks for 5,000")
	webhookCount = flag.Int("webhooks", 2_000, "webhooks of the storm; make prove asks for 10,000")
)

// binaryDir is where the binaries of this run are built; it is gone after it.
var binaryDir string

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait far more than they compute: for leases, for backed-off
	// retries. More of them run at once than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "holdd-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaryDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildRelease is the binary as users get it: static and stripped.
var buildRelease = sync.OnceValues(func() (string, error) {
	return buildBinary("holdd", []string{"CGO_ENABLED=0"}, "-trimpath", "-ldflags", "-s -w")
})

// buildRace is the same with the race detector, for the tests in which the most
// happens at once.
var buildRace = sync.OnceValues(
	func() (string, error) { return buildBinary("holdd-race", nil, "-race") })

// buildNext is a later release, with a state and a field that this release does
// not know. With the flags of buildRelease, both share what they compile.
var buildNext = sync.OnceValues(func() (string, error) {
	return buildBinary("holdd-next", []string{"CGO_ENABLED=0"}, "-trimpath", "-tags", "nextrelease")
})

func buildBinary(name string, env []string, flags ...string) (string, error) {
	path := filepath.Join(binaryDir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...),
		"github.com/holdd/holdd/cmd/holdd")...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// binaryPath is the path of one of them.
func binaryPath(tb testing.TB, get func() (string, error)) string {
	tb.Helper()
	path, err := get()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
