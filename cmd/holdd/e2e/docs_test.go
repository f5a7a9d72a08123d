package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the generated parts of pages anew")

// read returns a file of the module.
func read(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(moduleRoot, name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestReadme_IsShort bounds the README, which has to be read in one sitting.
func TestReadme_IsShort(t *testing.T) {
	text := read(t, readmePage)
	if len(text) > 10_000 {
		t.Errorf("the README has %d bytes, want 10,000 at most: move details to deploy/docs",
			len(text))
	}
	for i, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(line); n > 120 {
			t.Errorf("line %d of the README has %d columns, want 120 at most", i+1, n)
		}
	}
}

// TestGuards_TableIsComplete compares the table of guards with the mutants,
// which remove one guard each.
func TestGuards_TableIsComplete(t *testing.T) {
	const page = "deploy/docs/guarantees.md"
	files, err := filepath.Glob(filepath.Join(moduleRoot, "worker/simtest/testdata/mutants/*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	guard := regexp.MustCompile(`(?m)^guard: (.+)$`)
	file := regexp.MustCompile(`(?m)^file: (.+)$`)
	var rows []string // sorted by the guarded file
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		g, in := guard.FindSubmatch(b), file.FindSubmatch(b)
		if g == nil || in == nil {
			t.Fatalf("%s names no guard or no file", f)
		}
		rows = append(rows, fmt.Sprintf("| [%[1]s](../../%[1]s) | %[2]s | `%[3]s` |\n",
			in[1], g[1], strings.TrimSuffix(filepath.Base(f), ".txt")))
	}
	slices.Sort(rows)
	table := "\n| where | guard | mutant |\n|---|---|---|\n" + strings.Join(rows, "") + "\n"
	text := read(t, page)
	before, rest, ok := strings.Cut(text, "\n<!-- guards: ")
	comment, rest, ok2 := strings.Cut(rest, "\n")
	old, after, ok3 := strings.Cut(rest, "<!-- end of guards -->")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s has no place for the table of guards", page)
	}
	if old == table {
		return
	}
	if !*update {
		t.Fatalf("the table of guards in %s is not up to date: "+
			"go test ./cmd/holdd/e2e -run Guards -update", page)
	}
	text = before + "\n<!-- guards: " + comment + "\n" + table + "<!-- end of guards -->" + after
	if err := os.WriteFile(filepath.Join(moduleRoot, page), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStripeFacts_HaveTests checks that the table of facts of Stripe names
// tests that exist.
func TestStripeFacts_HaveTests(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "deploy/docs/stripe.md"), "\n## Facts and their tests\n")
	table, _, _ = strings.Cut(table, "\n## ")
	row := regexp.MustCompile("(?m)^\\| [^|]+ \\| \\[([^\\]]+)\\]\\([^)]+\\) \\| `(Test\\w+)` \\|$")
	rows := row.FindAllStringSubmatch(table, -1)
	if n := strings.Count(table, "\n| ") - 1; len(rows) < 20 || len(rows) != n {
		t.Fatalf("%d of %d rows name a package and a test", len(rows), n)
	}
	for _, r := range rows {
		if !hasTest(r[1], r[2]) {
			t.Errorf("%s has no test %s", r[1], r[2])
		}
	}
}

// TestSecurity_AttacksHaveTests checks that each attack names tests that exist.
func TestSecurity_AttacksHaveTests(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "deploy/docs/security.md"), "\n## Attacks and defences\n")
	row := regexp.MustCompile("(?m)^\\| [^|]+ \\| [^|]+ \\| " +
		"\\[([^\\]]+)\\]\\([^)]+\\) `(Test\\w+)`[^|]* \\|$")
	rows := row.FindAllStringSubmatch(table, -1)
	if n := strings.Count(table, "\n| ") - 1; len(rows) == 0 || len(rows) != n {
		t.Fatalf("%d of %d rows name a package and a test", len(rows), n)
	}
	for _, r := range rows {
		if !hasTest(r[1], r[2]) {
			t.Errorf("%s has no test %s", r[1], r[2])
		}
	}
}

// hasTest reports whether a package has a test with a name.
func hasTest(pkg, name string) bool {
	files, _ := filepath.Glob(filepath.Join(moduleRoot, pkg, "*_test.go"))
	return slices.ContainsFunc(files, func(f string) bool {
		b, err := os.ReadFile(f)
		return err == nil && strings.Contains(string(b), "\nfunc "+name+"(")
	})
}

// TestContributing_WalkExists checks that the files and functions that the walk
// names exist, and that it sends the capture within 15 files.
func TestContributing_WalkExists(t *testing.T) {
	const page = ".github/CONTRIBUTING.md"
	_, walk, ok := strings.Cut(read(t, page), "\n## One hold, file by file\n")
	if !ok {
		t.Fatalf("%s has no walk", page)
	}
	walk, _, _ = strings.Cut(walk, "\n## ")
	// A step is "| number | [file](../file) | `Function`, `Type.Method` | what
	// happens |".
	step := regexp.MustCompile(`(?m)^\| \d+ \| \[([^\]]+)\]\(\.\./([^)]+)\) \| ([^|]+) \|`)
	name := regexp.MustCompile("`([A-Za-z]+\\.)?([A-Za-z_]+)`")
	steps := step.FindAllStringSubmatch(walk, -1)
	if len(steps) < 15 {
		t.Fatalf("the walk has %d steps", len(steps))
	}
	for _, link := range regexp.MustCompile(`\]\(\.\./([^)]+)\)`).FindAllStringSubmatch(walk, -1) {
		read(t, link[1])
	}
	capture := slices.IndexFunc(steps, func(s []string) bool {
		return strings.Contains(s[3], "`intentClient.captureIntent`")
	})
	if capture < 0 || capture >= 15 {
		t.Errorf("the step that sends the capture is at index %d, want one of the first 15", capture)
	}
	for _, s := range steps {
		if s[1] != s[2] {
			t.Errorf("%s links to %s", s[1], s[2])
		}
		if !strings.HasSuffix(s[1], ".go") {
			read(t, s[1])
			continue
		}
		names := name.FindAllStringSubmatch(s[3], -1)
		if len(names) == 0 {
			t.Errorf("the step of %s names no function", s[1])
		}
		source := read(t, s[1])
		for _, n := range names {
			receiver := strings.TrimSuffix(n[1], ".")
			declared := `(?m)^func ` + n[2] + `\(`
			if receiver != "" {
				declared = `(?m)^func \(\w+ \*?` + receiver + `\) ` + n[2] + `\(`
			}
			if !regexp.MustCompile(declared).MatchString(source) {
				t.Errorf("%s has no function %s%s", s[1], n[1], n[2])
			}
		}
	}
}

// TestDependencies_AreDescribed compares dependencies.md with the direct
// requirements of every go.mod and their versions.
func TestDependencies_AreDescribed(t *testing.T) {
	page := read(t, "deploy/docs/dependencies.md")
	if strings.Contains(page, "| |") {
		t.Error("dependencies.md has an empty cell")
	}
	// An indirect requirement ends in a comment.
	direct := regexp.MustCompile(`(?m)^(?:\t|require )(\S+) (v\S+)$`)
	for file, atLeast := range map[string]int{"go.mod": 20, "deploy/check/go.mod": 8,
		"deploy/check/libraries/go.mod": 1, "deploy/check/testcontainers/go.mod": 1,
		"cmd/bench/go.mod": 5} {
		modules := direct.FindAllStringSubmatch(read(t, file), -1)
		if len(modules) < atLeast {
			t.Fatalf("%s has %d direct requirements", file, len(modules))
		}
		for _, m := range modules {
			_, name, _ := strings.Cut(m[1], "/")
			switch m[1] {
			case "github.com/holdd/holdd":
				continue
			case "github.com/standard-webhooks/standard-webhooks/libraries":
				name = "standard-webhooks"
			}
			if !strings.Contains(page, name) || !strings.Contains(page, m[2]) {
				t.Errorf("dependencies.md does not describe %s %s of %s", m[1], m[2], file)
			}
		}
	}
}
