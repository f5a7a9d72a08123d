package e2e_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// TestBuildScript_ShowsProgressAtOnce checks that the first package is shown while
// the build is under way: an awk that reads its input in blocks would hold it back.
func TestBuildScript_ShowsProgressAtOnce(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs(filepath.Join(moduleRoot, ".ci/build"))
	if err != nil {
		t.Fatal(err)
	}
	// It compiles one package, and ends when its standard input does.
	slowGo := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(slowGo, []byte("#!/bin/sh\necho example.com/one\n"+
		"[ \"$1\" = list ] || cat >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "demo", ".")
	cmd.Env = append(os.Environ(), "GO="+slowGo)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stderr).ReadString('\n')
		first <- line
	}()
	select {
	case line := <-first:
		if !strings.HasPrefix(line, "Compiling .: up to 1 packages") {
			t.Errorf("shown while it compiles: %q", line)
		}
	case <-time.After(processTimeout):
		t.Error("nothing is shown while it compiles")
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
