package simtest

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var (
	runMutants = flag.Bool("mutants", false,
		"remove one guard of the system after the other and expect a failure")
	mutantPattern = flag.String("mutant", "", "only those that match this pattern")
)

// mutant is the system without one of its guards.
type mutant struct {
	name, guard, file string
	mutatedSource     string // the file without the guard
	// test is the package and the name of the test that fails without the
	// guard. Empty: a simulated world fails. The simulation has only cards, so
	// the windows and amounts of other methods and currencies need a test.
	test string
}

func loadMutants(t *testing.T) (all []mutant) {
	files, err := filepath.Glob("testdata/mutants/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m := mutant{name: strings.TrimSuffix(filepath.Base(f), ".txt")}
		for l := range strings.Lines(string(a.Comment)) {
			k, v, _ := strings.Cut(strings.TrimSpace(l), ": ")
			switch k {
			case "guard":
				m.guard = v
			case "file":
				m.file = v
			case "test":
				m.test = v
				checkTestExists(t, f, v)
			default:
				t.Fatalf("%s: what is %q?", f, l)
			}
		}
		src, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		m.mutatedSource = string(src)
		for i := 0; i+1 < len(a.Files); i += 2 {
			search, replace := string(a.Files[i].Data), string(a.Files[i+1].Data)
			at := findIgnoringSpace(m.mutatedSource, search)
			if len(at) != 1 {
				t.Errorf("%s: the guard is %d times in %s, should be there once: bring the search text in line with the code",
					f, len(at), m.file)
				continue
			}
			m.mutatedSource = m.mutatedSource[:at[0][0]] + strings.TrimSpace(replace) +
				m.mutatedSource[at[0][1]:]
		}
		all = append(all, m)
	}
	return all
}

// checkTestExists checks that the test that a mutant names is in its package.
func checkTestExists(t *testing.T, mutantFile, test string) {
	pkg, name, _ := strings.Cut(test, " ")
	files, _ := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "func "+name+"(") {
			return
		}
	}
	t.Errorf("%s: %s has no test %q", mutantFile, pkg, name)
}

// findIgnoringSpace returns where src contains text, ignoring white space.
func findIgnoringSpace(src, text string) (found [][2]int) {
	var compact strings.Builder
	var offsets []int // of each byte of compact in src
	for i := range len(src) {
		if !strings.ContainsRune(" \t\n", rune(src[i])) {
			compact.WriteByte(src[i])
			offsets = append(offsets, i)
		}
	}
	text = strings.Join(strings.Fields(text), "")
	for from := 0; ; from++ {
		i := strings.Index(compact.String()[from:], text)
		if i < 0 || text == "" {
			return found
		}
		from += i
		found = append(found, [2]int{offsets[from], offsets[from+len(text)-1] + 1})
	}
}

var seedBeginsPattern = regexp.MustCompile(`seed (\d+) begins`)

// TestMutants checks that a run, or the test that a mutant names, fails without
// any single guard of the system. It takes minutes. Without -mutants it only
// checks that the text of each mutant is in the code.
func TestMutants(t *testing.T) {
	all := loadMutants(t)
	if !*runMutants || t.Failed() {
		return
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if ok, _ := path.Match(*mutantPattern, m.name); *mutantPattern != "" && !ok {
			continue
		}
		dir := t.TempDir()
		changed, overlay, bin := filepath.Join(dir, filepath.Base(m.file)),
			filepath.Join(dir, "overlay.json"), filepath.Join(dir, "simtest")
		if err := os.WriteFile(changed, []byte(m.mutatedSource), 0o600); err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(map[string]map[string]string{
			"Replace": {filepath.Join(root, m.file): changed}})
		if err := os.WriteFile(overlay, text, 0o600); err != nil {
			t.Fatal(err)
		}
		pkg, test, _ := strings.Cut(m.test, " ")
		if out, err := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay",
			overlay, "-o", bin, filepath.Join(root, pkgOrSimtest(pkg))).CombinedOutput(); err != nil {
			t.Errorf("%s doesn't compile: %v\n%s", m.name, err, out)
			continue
		}
		began := time.Now()
		var out []byte
		var tried int
		if m.test != "" {
			out, err = runNamedTest(bin, filepath.Join(root, pkg), test)
		} else {
			out, tried, err = findFailingWorld(t, bin, strings.HasPrefix(m.name, "intake-"))
		}
		os.Remove(bin)
		switch {
		case err == nil:
			fmt.Printf("MISSED  %-26s %s (%d seeds)\n", m.name, m.guard, tried)
			t.Errorf("%s: %s: nothing breaks in %d seeds without it", m.name, m.guard, tried)
		default:
			fmt.Printf("caught  %-26s %s: %s (%d tried, %s)\n", m.name, m.guard,
				failureSummary(string(out)), tried, time.Since(began).Round(time.Second))
		}
	}
}

func pkgOrSimtest(pkg string) string { return cmp.Or(pkg, "worker/simtest") }

// runNamedTest runs one test of a package without the guard.
func runNamedTest(bin, dir, test string) (out []byte, err error) {
	cmd := exec.Command(bin, "-test.run", "^"+test+"$", "-test.v")
	cmd.Dir = dir
	out, err = cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "--- FAIL: "+test) {
		return out, nil // it did not run
	}
	return out, err
}

var seedFailsPattern = regexp.MustCompile(`: seed (\d+): `)

// findFailingWorld runs the regression plans, then the seeds, until one fails
// without the guard and passes with it.
func findFailingWorld(
	t *testing.T, bin string, intakeOnly bool,
) (out []byte, tried int, err error) {
	// without some guards a world goes on and on
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	out, err = exec.CommandContext(ctx, bin, "-test.run", "^TestRegressions$",
		"-every", "1", "-hunt").CombinedOutput()
	cancel()
	if err != nil {
		return out, 1, err
	}
	for from, end := *firstSeed, *firstSeed+uint64(*seedCount); from < end; {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		out, err = exec.CommandContext(ctx, bin, "-test.run", "^TestSeeds$", "-hunt", "-ways="+
			strconv.FormatBool(intakeOnly), "-seeds", fmt.Sprint(end-from), "-seed",
			fmt.Sprint(from)).CombinedOutput()
		cancel()
		tried += len(seedBeginsPattern.FindAllString(string(out), -1))
		m := seedFailsPattern.FindSubmatch(out)
		if err == nil || m == nil {
			return out, tried, err
		}
		seed, _ := strconv.ParseUint(string(m[1]), 10, 64)
		if len(runPlan(t, drawPlan(seed)).breaches) == 0 {
			return out, tried, err
		}
		from, err = seed+1, nil // it fails either way
	}
	return out, tried, err
}

// failureSummary is the line that names the breach.
func failureSummary(out string) string {
	for l := range strings.Lines(out) {
		if i := strings.Index(l, ": seed "); i >= 0 {
			return strings.TrimSpace(l[i+2:])
		}
	}
	for l := range strings.Lines(out) {
		if _, b, ok := strings.Cut(l, "BREACH "); ok {
			return "a regression plan: " + strings.TrimSpace(b)
		}
	}
	for l := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(l, "--- FAIL: "); ok {
			return "the test " + strings.Fields(name)[0]
		}
	}
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") {
			return strings.TrimSpace(l)
		}
	}
	return "the run does not end"
}
