package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const clientsPage = clientsFolder + "/README.md"

// readClientSnippet returns the block of a language, which the page has once.
func readClientSnippet(tb testing.TB, language string) string {
	tb.Helper()
	_, rest, ok := strings.Cut(read(tb, clientsPage), "\n```"+language+"\n")
	text, _, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		tb.Fatalf("%s has no block in %s", clientsPage, language)
	}
	return text + "\n"
}

// TestClients_ReadmeSnippetsRun type-checks the snippets of the clients' page and
// runs them as they are, with the address, PaymentIntent and time of this test.
func TestClients_ReadmeSnippetsRun(t *testing.T) {
	t.Parallel()
	// The third block has the commands that generate the clients.
	if n := strings.Count(read(t, clientsPage), "\n```"); n != 6 {
		t.Errorf("%s has %d fences, want 6: a block is not run", clientsPage, n)
	}
	w := newWorld(t, stripesim.Options{Seed: 10})
	r := w.startReplica(binaryPath(t, buildRelease))
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		language string
		build    func(t *testing.T, snippet string) *exec.Cmd
	}{
		{"ts", func(t *testing.T, snippet string) *exec.Cmd {
			dir := copyTypeScriptClient(t) // whose package a file in it imports by its name
			writeFile(t, filepath.Join(dir, "example.ts"), snippet)
			runIn(t, dir, clientTool(t, "tsc"))
			return exec.CommandContext(t.Context(), "node", filepath.Join(dir, "dist/example.js"))
		}},
		{"python", func(t *testing.T, snippet string) *exec.Cmd {
			dir := t.TempDir()
			from := os.DirFS(absolutePath(t, clientsFolder, "python"))
			if err := os.CopyFS(dir, from); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "example.py"), snippet)
			runIn(t, dir, clientTool(t, "pyright"), ".")
			return exec.CommandContext(t.Context(), "python3", "-B", filepath.Join(dir, "example.py"))
		}},
	} {
		t.Run(c.language, func(t *testing.T) {
			id := w.authorizeBookings(1)[0].id
			cmd := c.build(t, strings.NewReplacer("http://127.0.0.1:8420", r.url,
				"pi_3PxYzA2eZvKYlo2C1gQmT0aB", id, "2026-12-01T11:00:00+01:00", at).
				Replace(readClientSnippet(t, c.language)))
			out, err := cmd.CombinedOutput()
			if want := "scheduled " + at + "\n"; err != nil || string(out) != want {
				t.Errorf("%v\n%swant\n%s", err, out, want)
			}
			w.waitForState(r, id, hold.Scheduled, processTimeout)
		})
	}
}

func writeFile(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// TestClients_ReadmeNamesDependency checks the version of openapi-fetch that a
// copy of the TypeScript client needs.
func TestClients_ReadmeNamesDependency(t *testing.T) {
	var pkg struct{ Dependencies map[string]string }
	if err := json.Unmarshal([]byte(read(t, clientsFolder+"/typescript/package.json")), &pkg); err != nil {
		t.Fatal(err)
	}
	version := pkg.Dependencies["openapi-fetch"]
	if version == "" || !strings.Contains(read(t, clientsPage), "openapi-fetch@"+version+"`") {
		t.Errorf("%s does not name openapi-fetch %s", clientsPage, version)
	}
}
