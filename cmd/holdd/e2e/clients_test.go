package e2e_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	clientsFolder = "deploy/clients"
	// clientToolsFolder has the tools that make clients installs.
	clientToolsFolder = ".build/clients"
	oasdiff           = "github.com/oasdiff/oasdiff@v1.38.0"
)

func absolutePath(tb testing.TB, parts ...string) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{moduleRoot}, parts...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// clientTool returns the path of an npm package's program.
func clientTool(tb testing.TB, name string) string {
	tb.Helper()
	path := absolutePath(tb, clientToolsFolder, "node_modules/.bin", name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%v: make clients installs it", err)
	}
	return path
}

// tryRunIn runs a program in a folder and returns all its output.
func tryRunIn(tb testing.TB, dir, program string, args ...string) (string, error) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), program, args...)
	cmd.Dir, cmd.WaitDelay = dir, processTimeout
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "REDOCLY_TELEMETRY=off",
		"REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func runIn(tb testing.TB, dir, program string, args ...string) {
	tb.Helper()
	if out, err := tryRunIn(tb, dir, program, args...); err != nil {
		tb.Fatalf("%s %v: %v\n%s", filepath.Base(program), args, err, out)
	}
}

// readOpenAPI returns the document of which the clients are generated.
func readOpenAPI(tb testing.TB) (document map[string]any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(read(tb, clientsFolder+"/openapi.json")), &document); err != nil {
		tb.Fatal(err)
	}
	return document
}

func writeDocument(tb testing.TB, document map[string]any) string {
	tb.Helper()
	b, err := json.Marshal(document)
	if err != nil {
		tb.Fatal(err)
	}
	return writeTempFile(tb, "openapi.json", string(b))
}

// dig returns the object at a path of keys.
func dig(tb testing.TB, object map[string]any, keys ...string) map[string]any {
	tb.Helper()
	for _, key := range keys {
		next, ok := object[key].(map[string]any)
		if !ok {
			tb.Fatalf("the document has no object %s of %v", key, keys)
		}
		object = next
	}
	return object
}

// TestOpenAPI_LintersReportNothing lints the document as its readers would. They
// report an example that does not match its schema.
func TestOpenAPI_LintersReportNothing(t *testing.T) {
	t.Parallel()
	redocly := []string{clientTool(t, "redocly"), "lint", "--config",
		absolutePath(t, clientsFolder, "redocly.yaml")}
	spectral := []string{clientTool(t, "spectral"), "lint", "--fail-severity", "hint", "-r",
		absolutePath(t, clientsFolder, "spectral.yaml")}
	lint := func(linter []string, document string) (string, error) {
		return tryRunIn(t, t.TempDir(), linter[0], append(linter[1:len(linter):len(linter)],
			document)...)
	}
	for _, linter := range [][]string{redocly, spectral} {
		if out, err := lint(linter, absolutePath(t, clientsFolder, "openapi.json")); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		document := readOpenAPI(t)
		paths := dig(t, document, "paths")
		maps.DeleteFunc(paths, func(path string, _ any) bool { return path != "/v1/holds" })
		body := dig(t, document, "paths", "/v1/holds", "post", "requestBody", "content",
			"application/json")
		dig(t, body, "example")["capture_amount"] = "much"
		callback := dig(t, document, "webhooks", "holdEvent", "post", "requestBody", "content",
			"application/json")
		dig(t, callback, "example", "data", "hold")["revision"] = "first"
		out, err := lint(linter, writeDocument(t, document))
		if err == nil || !strings.Contains(out, "capture_amount") ||
			!strings.Contains(out, "revision") {
			t.Errorf("%s misses the wrong examples: %v\n%s", filepath.Base(linter[0]), err, out)
		}
	}
}

// oasdiffLevels are changes that oasdiff reports without failing, and that break
// the code of a generated client.
const oasdiffLevels = `api-operation-id-removed err
api-schema-removed err
optional-response-header-removed err
response-optional-property-removed err
`

// TestOpenAPI_NoBreakingChange compares the document with that of the last
// release: a client that was generated then works with this holdd.
func TestOpenAPI_NoBreakingChange(t *testing.T) {
	t.Parallel()
	levels := writeTempFile(t, "levels", oasdiffLevels)
	compare := func(document string) (string, error) {
		return tryRunIn(t, t.TempDir(), "go", "run", oasdiff, "breaking", "--fail-on", "WARN",
			"--severity-levels", levels,
			absolutePath(t, clientsFolder, "openapi.released.json"), document)
	}
	if out, err := compare(absolutePath(t, clientsFolder, "openapi.json")); err != nil {
		t.Errorf("the API breaks clients of the last release: %v\n%s", err, out)
	}
	schema := func(document map[string]any, name string) map[string]any {
		return dig(t, document, "components", "schemas", name)
	}
	for _, row := range []struct {
		rule, subject string
		change        func(document map[string]any)
	}{
		{"api-path-removed-without-deprecation", "/v1/plan", func(d map[string]any) {
			delete(dig(t, d, "paths"), "/v1/plan")
		}},
		{"request-property-became-required", "reference", func(d map[string]any) {
			request := schema(d, "ScheduleRequest")
			request["required"] = append(request["required"].([]any), "reference")
		}},
		{"request-property-removed", "capture_at", func(d map[string]any) {
			delete(dig(t, schema(d, "ScheduleRequest"), "properties"), "capture_at")
		}},
		{"request-parameter-removed", "reference", func(d map[string]any) {
			list := dig(t, d, "paths", "/v1/holds", "get")
			list["parameters"] = slices.DeleteFunc(list["parameters"].([]any), func(p any) bool {
				return p.(map[string]any)["name"] == "reference"
			})
		}},
		{"response-required-property-removed", "state", func(d map[string]any) {
			delete(dig(t, schema(d, "Hold"), "properties"), "state")
		}},
		{"response-optional-property-removed", "next_at", func(d map[string]any) {
			delete(dig(t, schema(d, "Hold"), "properties"), "next_at")
		}},
		{"api-operation-id-removed", "listHolds", func(d map[string]any) {
			dig(t, d, "paths", "/v1/holds", "get")["operationId"] = "findHolds"
		}},
	} {
		document := readOpenAPI(t)
		row.change(document)
		out, err := compare(writeDocument(t, document))
		if err == nil || !strings.Contains(out, "["+row.rule+"]") ||
			!strings.Contains(out, row.subject) {
			t.Errorf("%s of %s is not reported: %v\n%s", row.rule, row.subject, err, out)
		}
	}
	document := readOpenAPI(t)
	dig(t, schema(document, "Hold"), "properties")["colour"] = map[string]any{"type": "string"}
	if out, err := compare(writeDocument(t, document)); err != nil {
		t.Errorf("a property may be added: %v\n%s", err, out)
	}
}

// TestClients_AreGenerated generates the clients anew.
func TestClients_AreGenerated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		file    string
		command []string
	}{
		{"typescript/src/schema.ts", []string{clientTool(t, "openapi-typescript"),
			absolutePath(t, clientsFolder, "openapi.json"), "-o"}},
		{"python/holdd_client/api.py", []string{"python3",
			absolutePath(t, clientsFolder, "python/generate.py")}},
	} {
		to := filepath.Join(dir, filepath.Base(c.file))
		runIn(t, dir, c.command[0], append(c.command[1:], to)...)
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(moduleRoot, clientsFolder, c.file)
		old, err := os.ReadFile(file)
		if err == nil && bytes.Equal(b, old) {
			continue
		}
		if !*update {
			t.Errorf("%s is not up to date: go test ./cmd/holdd/e2e -run Clients_AreGenerated "+
				"-update", c.file)
			continue
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// copyTypeScriptClient returns a folder with the client and its example.
func copyTypeScriptClient(tb testing.TB) string {
	tb.Helper()
	dir, from := tb.TempDir(), absolutePath(tb, clientsFolder, "typescript")
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS(filepath.Join(from, "src"))); err != nil {
		tb.Fatal(err)
	}
	for _, name := range []string{"package.json", "tsconfig.json", "example.ts"} {
		text := read(tb, filepath.Join(clientsFolder, "typescript", name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	modules := absolutePath(tb, clientToolsFolder, "node_modules")
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// TestClients_TypesAreChecked checks that the type checkers accept the clients
// and find a wrong use of them.
func TestClients_TypesAreChecked(t *testing.T) {
	t.Parallel()
	t.Run("typescript", func(t *testing.T) {
		dir := copyTypeScriptClient(t)
		runIn(t, dir, clientTool(t, "tsc"), "--noEmit", "--incremental")
		replaceInFile(t, filepath.Join(dir, "example.ts"), "{ amount: 9900 }", `{ amount: "99" }`)
		out, err := tryRunIn(t, dir, clientTool(t, "tsc"), "--noEmit", "--incremental")
		if err == nil || !strings.Contains(out, "'string' is not assignable") {
			t.Errorf("a wrong type passes: %v\n%s", err, out)
		}
	})
	t.Run("python", func(t *testing.T) {
		dir := t.TempDir()
		from := os.DirFS(absolutePath(t, clientsFolder, "python"))
		if err := os.CopyFS(dir, from); err != nil {
			t.Fatal(err)
		}
		runIn(t, dir, clientTool(t, "pyright"), ".")
		replaceInFile(t, filepath.Join(dir, "example.py"), `{"amount": 9900}`, `{"amount": "99"}`)
		out, err := tryRunIn(t, dir, clientTool(t, "pyright"), ".")
		if err == nil || !strings.Contains(out, `is not assignable to "Capture"`) {
			t.Errorf("a wrong type passes: %v\n%s", err, out)
		}
	})
}

func replaceInFile(tb testing.TB, path, old, replacement string) {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		tb.Fatalf("%s does not have %s", path, old)
	}
	b = bytes.ReplaceAll(b, []byte(old), []byte(replacement))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}
