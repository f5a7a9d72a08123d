package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write deploy/docs/errors.md and deploy/clients/openapi.json anew")

// codesWithoutResponse are codes that no response of the API has.
var codesWithoutResponse = map[string]string{
	"unexpected_response": "of the clients, at the end of the page",
	"near_deadline":       "of a warning",
	"renewal_too_short":   "of a warning",
	"entry_too_large":     "of a rejected entry of the inbox",
	"entry_without_hold":  "of a rejected entry of the inbox",
	"entry_unreadable":    "of a rejected entry of the inbox",
}

// TestProblemCatalog_IsComplete compares the catalog with the constants of the
// code: each constant that the code uses has an entry, and each entry a
// constant that the code uses.
func TestProblemCatalog_IsComplete(t *testing.T) {
	codes, uses := readProblemCodes(t)
	if len(codes) < 80 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	inCatalog := map[string]bool{}
	for _, k := range problemCatalog {
		if inCatalog[string(k.code)] {
			t.Errorf("%s is listed twice", k.code)
		}
		inCatalog[string(k.code)] = true
		if k.status < 400 || k.title == "" || k.cause == "" || k.action == "" {
			t.Errorf("%s: status, title, cause or action is missing", k.code)
		}
		if strings.HasSuffix(k.title, ".") || !strings.HasSuffix(k.cause, ".") ||
			!strings.HasSuffix(k.action, ".") {
			t.Errorf("%s: a title has no full stop, cause and action have one", k.code)
		}
	}
	for name, code := range codes {
		switch {
		case codesWithoutResponse[code] != "":
			if inCatalog[code] {
				t.Errorf("%s has an entry, but is %s", code, codesWithoutResponse[code])
			}
		case uses[name] == 0:
			t.Errorf("no code uses %s", name)
		case !inCatalog[code]:
			t.Errorf("%s (%s) has no entry", code, name)
		}
		delete(inCatalog, code)
	}
	for code := range inCatalog {
		t.Errorf("%s has an entry and no constant", code)
	}
}

// readProblemCodes returns the constants of type ProblemCode by their names, and
// how often the code uses each beside its declaration and its documentation.
func readProblemCodes(t *testing.T) (codes map[string]string, uses map[string]int) {
	t.Helper()
	codes, uses = map[string]string{}, map[string]int{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") ||
			strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		base := filepath.Base(path)
		isDocumentation := base == "problem_catalog.go" || base == "wire.go" || strings.HasPrefix(base, "openapi")
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if isProblemCodeType(n.Type) && len(n.Values) == len(n.Names) {
					for i, name := range n.Names {
						if v, ok := n.Values[i].(*ast.BasicLit); ok {
							codes[name.Name], _ = strconv.Unquote(v.Value)
							uses[name.Name]-- // its declaration
						}
					}
				}
			case *ast.Ident:
				if !isDocumentation {
					uses[n.Name]++
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return codes, uses
}

func isProblemCodeType(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "ProblemCode"
	case *ast.SelectorExpr:
		return e.Sel.Name == "ProblemCode"
	}
	return false
}

// TestErrorsPage_IsUpToDate compares the page to which the type of a problem
// leads with the catalog.
func TestErrorsPage_IsUpToDate(t *testing.T) {
	const page = "../../deploy/docs/errors.md"
	if !strings.HasSuffix(ErrorsURL, strings.TrimPrefix(page, "../../")) {
		t.Fatalf("%s is not the page %s", ErrorsURL, page)
	}
	compareOrWrite(t, page, renderErrorsPage())
}

// TestOpenAPI_FileIsUpToDate compares the document of which the clients are
// generated with the one that the API serves.
func TestOpenAPI_FileIsUpToDate(t *testing.T) {
	var parts struct {
		HoldScheduler
		HoldChanger
		HoldReader
		Planner
		ReadinessChecker
	}
	// The file has no version: it would change with each release.
	a, err := New(Options{Version: "unreleased", Holds: HoldServices{Scheduler: parts,
		Changer: parts, Reader: parts, Planner: parts, ReadinessChecker: parts}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a.mux.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	var b bytes.Buffer
	if err := json.Indent(&b, w.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	compareOrWrite(t, "../../deploy/clients/openapi.json", b.String()+"\n")
}

func compareOrWrite(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err == nil && string(got) == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not up to date: go test ./worker/api -run UpToDate -update", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func renderErrorsPage() string {
	var b strings.Builder
	b.WriteString(`# Errors

Every error of the API is an RFC 9457 problem (` + "`application/problem+json`" + `). Its ` + "`type`" + ` is the address of this page with the
code as fragment. Branch on ` + "`code`" + `, which is stable; ` + "`detail`" + ` is for people. ` + "`GET /docs`" + ` of a holdd shows the same table.

A program can treat them by their status: after 429, 503, 507 and ` + "`in_progress`" + ` it waits for ` + "`Retry-After`" + ` and sends the same
request again, with the same ` + "`Idempotency-Key`" + `; any other 4xx stays until the request or the hold changes.

<!-- written by go test ./worker/api -run UpToDate -update -->
`)
	status := 0
	for _, k := range problemCatalog {
		if k.status != status {
			status = k.status
			fmt.Fprintf(&b, "\n## %d\n", status)
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s. %s\n\n%s\n", k.code, k.title, k.cause, k.action)
	}
	b.WriteString(`
## Of the clients

The commands and the clients have these codes of their own. No response of the API has them.

### unexpected_response

Unexpected response. The answer is not one of a holdd of this version, such as that of a proxy. The request may have
taken effect.

Check the address of holdd and what is between, then send the same request again with the same ` + "`Idempotency-Key`" + `.

### unreachable

holdd gave no readable answer. The connection failed, or the answer was cut off. The request may have taken effect. Only
the clients for TypeScript and Python have this code.

Wait, then send the same request again with the same ` + "`Idempotency-Key`" + `.
`)
	return b.String()
}
