package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/holdd/holdd/worker/stripesim"
)

const docsPage = "../../deploy/docs/simulator.md"

func readDocs(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// codeBlocks returns the page's blocks of a language.
func codeBlocks(page, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(
		page, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestDocs_Commands runs the page's commands against one simulator, in order.
func TestDocs_Commands(t *testing.T) {
	s := httptest.NewServer(stripesim.New(stripesim.Options{Seed: 1,
		APIVersion: stripesim.NewestAPIVersion}).ServerHandler())
	t.Cleanup(s.Close)
	blocks := codeBlocks(readDocs(t), "sh")
	if len(blocks) < 3 {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	for _, block := range blocks {
		script := strings.ReplaceAll(block, "http://127.0.0.1:12113", s.URL)
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, block, out)
		} else if strings.Contains(block, "no answer") && !strings.Contains(string(out),
			"no answer") {
			t.Errorf("the capture was answered:\n%s", out)
		}
	}
}

func TestDocs_Scenario(t *testing.T) {
	blocks := codeBlocks(readDocs(t), "yaml")
	if len(blocks) == 0 {
		t.Fatal("the page has no scenario")
	}
	for _, block := range blocks {
		if out, err := runFiles(t, writeScenario(t, block)); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// startStripeMock serves stripe-mock, which writes to the standard output.
func startStripeMock(t *testing.T) (url string) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = null
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(stub.HandleRequest))
	t.Cleanup(func() {
		s.Close()
		os.Stdout = stdout
		null.Close()
	})
	return s.URL
}

// TestDocs_Comparison runs each row of the comparison against the simulator and
// stripe-mock. A row says the same of a simulator that runs already.
func TestDocs_Comparison(t *testing.T) {
	page, mock := readDocs(t), startStripeMock(t)
	all, err := readScenarios("testdata/comparison.yaml")
	if err != nil {
		t.Fatal(err)
	}
	result := func(s *scenario, url string) string {
		ok, err := runScenario(t.Context(), s, "", url, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return "yes"
		}
		return "no"
	}
	running := httptest.NewServer(stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1,
		OverallRate: -1, APIVersion: stripesim.NewestAPIVersion}).ServerHandler())
	t.Cleanup(running.Close)
	for _, s := range slices.Concat(all, all) {
		if own, other := result(s, ""), result(s, running.URL); own != other {
			t.Errorf("%s: %s of one that runs already, want %s", s.Name, other, own)
		}
	}
	for _, s := range all {
		row := fmt.Sprintf("\n| %s | %s | %s | ", s.Name, result(s, ""), result(s, mock))
		if !strings.Contains(page, row) {
			t.Errorf("%s has no row %q", docsPage, row)
		}
	}
	_, table, _ := strings.Cut(page, "\n| what it can do |")
	if rows := strings.Count(table, "\n| "); rows != len(all)+1 { // and the memory
		t.Errorf("the table has %d rows, want %d and the memory", rows, len(all))
	}
}
