package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuildScript builds a program of another module with the script of make
// run: it shows what it compiles, and a program that does not compile fails.
func TestBuildScript(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs(filepath.Join(moduleRoot, ".ci/build"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/demo\n\ngo 1.26\n")
	for source, ok := range map[string]bool{"package main\n\nfunc main() {}\n": true,
		"package main\n\nfunc main() { undeclared() }\n": false} {
		write("main.go", source)
		var stderr bytes.Buffer
		cmd := exec.Command(script, "demo", ".")
		cmd.Dir, cmd.Stderr = dir, &stderr
		err := cmd.Run()
		if ok != (err == nil) || !strings.Contains(stderr.String(), "Compiling .: up to ") {
			t.Errorf("%q: %v\n%s", source, err, stderr.String())
		}
		if !ok && !strings.Contains(stderr.String(), "undefined: undeclared") {
			t.Errorf("the error of the compiler is not shown:\n%s", stderr.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "demo")); err != nil {
		t.Error(err)
	}
}
