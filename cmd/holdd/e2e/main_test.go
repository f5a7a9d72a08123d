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

// binaries is where the binaries of this run are built; it is gone after it.
var binaries string

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait far more than they compute: for leases, for backed-off retries. More of them run at once than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "holdd-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// shipped is the binary as users get it: static and stripped.
var shipped = sync.OnceValues(func() (string, error) {
	return build("holdd", []string{"CGO_ENABLED=0"}, "-trimpath", "-ldflags", "-s -w")
})

// watched is the same with the race detector, for the tests in which the most happens at once.
var watched = sync.OnceValues(func() (string, error) { return build("holdd-race", nil, "-race") })

func build(name string, env []string, flags ...string) (string, error) {
	path := filepath.Join(binaries, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "github.com/holdd/holdd/cmd/holdd")...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// binary is the path of one of the two.
func binary(tb testing.TB, get func() (string, error)) string {
	tb.Helper()
	path, err := get()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
