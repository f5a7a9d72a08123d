package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fullReport returns a report with a value for each panel of the chart.
func fullReport() *report {
	s := newSampleSet(&progressLog{startedAt: time.Now()})
	for i, p := range panels {
		names := p.names
		if names == nil {
			names = engineNames
		}
		for j, name := range names {
			s.addOf(p.figure, name, float64(10*(i+1)+j))
		}
	}
	return &report{samples: s, rounds: 3, took: 754 * time.Second, tables: []table{
		{title: "In both", header: tableRow{"", "took"}, rows: []tableRow{{"a", "1 s"}}, inDocs: true},
		{title: "Only in the results", header: tableRow{""}},
	}}
}

func writeTestFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func readTestFile(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const testSections = `# Title
<!-- make bench writes the figures from here: tables -->
old figures
<!-- to here -->
between
<!-- make bench writes the figures from here: comparison -->
<!-- to here -->
after
`

func TestPublish_WritesResultsChartAndDocumentation(t *testing.T) {
	t.Parallel()
	dir, file := t.TempDir(), writeTestFile(t, testSections)
	for range 2 { // the second time replaces what the first one wrote
		if err := fullReport().publish(dir, []string{file}); err != nil {
			t.Fatal(err)
		}
	}
	docs := readTestFile(t, file)
	if strings.Contains(docs, "old figures") || strings.Contains(docs, "Only in the results") ||
		strings.Count(docs, "In both:") != 1 || strings.Count(docs, "| drain, answers at once |") != 1 ||
		!strings.Contains(docs, "<!-- to here -->\nbetween\n") || !strings.HasSuffix(docs, "\nafter\n") {
		t.Errorf("the documentation is\n%s", docs)
	}
	results := readTestFile(t, filepath.Join(dir, "results.md"))
	if !strings.Contains(results, "medians of 3 rounds, measured in 12m34s") ||
		!strings.Contains(results, "## Only in the results") {
		t.Errorf("the results are\n%s", results)
	}
	chart := readTestFile(t, filepath.Join(dir, "chart.svg"))
	for _, p := range panels {
		if !strings.Contains(chart, ">"+p.title()+"<") {
			t.Errorf("the chart does not show %q", p.title())
		}
	}
}

// Half of the figures of one run beside half of another's would mislead.
func TestPublish_ChangesNothingWithoutAllParts(t *testing.T) {
	t.Parallel()
	for _, p := range panels {
		r, dir, file := fullReport(), t.TempDir(), writeTestFile(t, testSections)
		delete(r.samples.by, p.figure)
		err := r.publish(dir, []string{file})
		if err == nil || !strings.Contains(err.Error(), p.title()) {
			t.Errorf("without %q: %v", p.title(), err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 || readTestFile(t, file) != testSections {
			t.Errorf("without %q: something was written", p.title())
		}
	}
}

func TestPublish_RefusesDocumentationWithoutSections(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"no section", "<!-- make bench writes the figures from here: tables -->\nno end",
	} {
		if err := fullReport().publish(t.TempDir(), []string{writeTestFile(t, text)}); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
}

// The sections that the benchmark rewrites must stay in the documentation.
func TestRewriteFigures_FindsSectionsOfDocumentation(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../../README.md", "../../deploy/docs/performance.md"} {
		if _, err := fullReport().rewriteFigures(readTestFile(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// All parts together take less than a quarter of an hour, with the build.
func TestParts_FitIntoAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	var sum time.Duration
	for _, p := range allParts {
		if p.bound <= p.budget {
			t.Errorf("%s: bound %s is not above the budget %s", p.name, p.bound, p.budget)
		}
		if !p.extra {
			sum += p.budget
		}
		if p.name == "limit" && p.bound > 4*time.Minute {
			t.Errorf("limit may take %s", p.bound)
		}
	}
	if sum > 13*time.Minute {
		t.Errorf("the parts take %s, which leaves no time for the build", sum)
	}
}

func TestFigure_FormatGroupsThousands(t *testing.T) {
	for v, want := range map[float64]string{0: "0/s", 999: "999/s", 1000: "1,000/s",
		44465: "44,465/s", 1325479: "1,325,479/s"} {
		if got := scheduleHTTPRate.format(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
