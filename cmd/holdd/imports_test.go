package main_test

import (
	"bytes"
	"encoding/json"
	"go/build"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/holdd/holdd"

// allowedImports say which modules and packages outside the standard library
// each package may import itself, and why no others.
var allowedImports = map[string]struct {
	may []string
	why string
}{
	"worker/hold":       {nil, "deciding is pure: no I/O, no library whose upgrade could change a decision"},
	"worker/retryafter": {nil, "a header is parsed, and what waits is the caller's"},
	"worker/clock":      {nil, "Redis' clock is one number"},
	"worker/health": {[]string{"worker/hold", "go.uber.org/zap"},
		"every part reports here, so it knows none of them"},
	"worker/event": {[]string{"worker/hold"}, "what is published depends on the hold alone"},
	"worker/commit": {[]string{"worker/event", "worker/hold", "go.uber.org/zap"},
		"every part writes through it, so it knows none of them"},
	"worker/changes": {nil, "it knows that something changed, not what"},
	"worker/execute": {[]string{"worker/hold"}, "one loop for every machine, whatever sends its calls"},
	"worker/bulkread": {[]string{"worker/execute", "worker/hold"},
		"what an answer leads to is the caller's"},
	"worker/audit": {[]string{"worker/hold", "worker/htmldoc"},
		"what an integration loses is computed from payments alone, without I/O"},
	"worker/auditread": {[]string{"worker/audit", "worker/execute", "worker/hold"},
		"an audit reads by list calls alone, whoever sends them"},
	"worker/htmldoc": {nil, "a page is built from texts"},
	"worker/gateway": {[]string{"worker/execute", "worker/hold", "github.com/stripe/stripe-go/v76",
		"github.com/go-json-experiment/json", "github.com/sony/gobreaker/v2", "go.uber.org/zap"},
		"the only code that talks to Stripe knows nothing of what the answers lead to"},
	"worker/query": {[]string{"worker/changes", "worker/clock", "worker/event", "worker/health", "worker/hold"},
		"questions are answered by reading the schedule alone"},
	"worker/intake": {[]string{"worker/bulkread", "worker/changes", "worker/clock", "worker/commit", "worker/event", "worker/execute", "worker/health",
		"worker/hold", "go.uber.org/zap"},
		"requests reach the engine through committed holds only"},
	"worker/authorize": {[]string{"worker/clock", "worker/commit", "worker/event", "worker/execute", "worker/health",
		"worker/hold", "go.uber.org/zap"},
		"an authorization reaches the engine through its committed hold only"},
	"worker/reconcile": {[]string{"worker/bulkread", "worker/changes", "worker/clock", "worker/commit", "worker/event", "worker/execute",
		"worker/health", "worker/hold", "github.com/robfig/cron/v3", "go.uber.org/zap"},
		"what Stripe says reaches the engine through committed holds only"},
	"worker/erase": {[]string{"worker/commit", "worker/event", "worker/health", "worker/hold", "go.uber.org/zap"},
		"what is erased of a hold is a decision of the domain"},
	"worker/repair": {[]string{"worker/clock", "worker/commit", "worker/health", "worker/hold", "go.uber.org/zap"},
		"a hold is rebuilt by the decisions of the domain"},
	"worker": {[]string{"worker/authorize", "worker/bulkread", "worker/changes", "worker/clock", "worker/commit", "worker/erase", "worker/event", "worker/execute",
		"worker/health", "worker/hold", "worker/intake", "worker/query", "worker/reconcile", "worker/repair",
		"github.com/robfig/cron/v3", "go.uber.org/zap"},
		"the engine knows neither Redis nor Stripe nor HTTP: it declares what it needs of them"},
	"worker/wiring": {[]string{"store", "worker", "worker/gateway", "worker/reconcile"},
		"the one place that knows the engine, the store and the gateway together"},
	"store": {[]string{"worker/hold", "github.com/redis/go-redis/v9", "google.golang.org/protobuf"},
		"the store keeps holds and decides nothing about them"},
	"worker/alert": {[]string{"worker/changes", "worker/event", "worker/execute", "worker/health", "worker/hold", "worker/retryafter", "go.uber.org/zap",
		"github.com/standard-webhooks/standard-webhooks/libraries"},
		"sinks know events, not where they are kept"},
	"worker/api/client": {[]string{"worker/event", "worker/hold", "worker/retryafter"},
		"whoever calls holdd compiles its requests and events and nothing else of it"},
	"worker/api": {[]string{"worker/api/client", "worker/event", "worker/health", "worker/hold", "worker/intake", "worker/query",
		"worker/reconcile", "worker/repair", "github.com/danielgtaylor/huma/v2", "github.com/go-json-experiment/json", "go.uber.org/zap"},
		"the API reaches holds through the parts of the worker only"},
	"worker/console": {[]string{"worker/event", "worker/health", "worker/hold", "worker/htmldoc", "worker/intake",
		"worker/query", "worker/reconcile", "go.uber.org/zap"},
		"pages read and change holds through the parts of the worker, as the API does"},
	"worker/cardholder": {[]string{"worker/health", "worker/hold", "go.uber.org/zap"},
		"a public page reads and changes holds through the desk alone"},
	"worker/tracing": {[]string{"worker/execute", "worker/hold", "worker/retryafter", "go.opentelemetry.io/otel", "go.opentelemetry.io/proto/otlp",
		"google.golang.org/protobuf", "github.com/go-logr/logr", "go.uber.org/zap"},
		"the one place that knows OpenTelemetry: the other parts declare the tracer that they need"},
	"worker/stripesim": {[]string{"golang.org/x/time/rate"}, "an independent judge shares no code with what it judges"},
	"config": {[]string{"github.com/spf13/pflag", "github.com/robfig/cron/v3", "go.yaml.in/yaml/v3"},
		"settings are copied into each part's options, so they depend on none"},
}

// forbiddenDependencies are packages that must not be linked into the
// production binary.
var forbiddenDependencies = []string{
	modulePath + "/worker/stripesim", modulePath + "/worker/simtest", modulePath + "/worker/envtest", modulePath + "/store/storetest", modulePath + "/cmd/holdd-dev",
	modulePath + "/worker/tracing/tracingtest", "google.golang.org/grpc", // gRPC would add 12 MB
	"github.com/alicebob/miniredis", "github.com/stripe/stripe-mock", "pgregory.net/rapid", "testing", "github.com/rogpeppe",
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Doc        string
	Name       string
	GoFiles    []string
}

func goList(t *testing.T, args ...string) (out []goPackage) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Doc,Name,GoFiles"}, args...)...)
	cmd.Dir = "../.."
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(b))); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestImports_OnlyAllowed(t *testing.T) {
	standard := map[string]bool{}
	for _, p := range goList(t, "std") {
		standard[p.ImportPath] = true
	}
	seen := 0
	for _, p := range goList(t, "./...") {
		allowed, ok := allowedImports[strings.TrimPrefix(p.ImportPath, modulePath+"/")]
		if !ok {
			continue
		}
		seen++
		for _, imp := range p.Imports {
			permitted := standard[imp] || slices.ContainsFunc(allowed.may, func(may string) bool {
				if !strings.Contains(strings.SplitN(may, "/", 2)[0], ".") {
					// a package of this module: exactly this one
					return imp == modulePath+"/"+may
				}
				return imp == may || strings.HasPrefix(imp, may+"/")
			})
			if !permitted {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, allowed.why)
			}
		}
	}
	if seen != len(allowedImports) {
		t.Errorf("%d of %d packages with rules were found", seen, len(allowedImports))
	}
}

// TestClient_DependsOnStandardLibrary checks what a program gets that imports
// the client.
func TestClient_DependsOnStandardLibrary(t *testing.T) {
	own := 0
	for _, p := range goList(t, "-deps", "./worker/api/client") {
		switch p.ImportPath {
		case modulePath + "/worker/api/client", modulePath + "/worker/event",
			modulePath + "/worker/hold", modulePath + "/worker/retryafter":
			own++
		default:
			if !p.Standard {
				t.Errorf("the client depends on %s", p.ImportPath)
			}
		}
	}
	if own != 4 {
		t.Errorf("%d packages of holdd, want client, event, hold and retryafter", own)
	}
}

func TestBinary_LinksNoTestCode(t *testing.T) {
	deps := goList(t, "-deps", "./cmd/holdd")
	if len(deps) < 50 {
		t.Fatalf("only %d packages", len(deps))
	}
	for _, p := range deps {
		for _, n := range forbiddenDependencies {
			if p.ImportPath == n || strings.HasPrefix(p.ImportPath, n+"/") {
				t.Errorf("cmd/holdd links %s", p.ImportPath)
			}
		}
	}
}

func TestPackages_HaveDocComments(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if len(p.GoFiles) == 0 {
			continue // tests alone
		}
		if len(p.Doc) < 25 {
			t.Errorf("%s has no doc comment that explains it", p.ImportPath)
		}
	}
}

// TestTestFiles_AreBuilt finds test files that go test ignores because of their
// name: _js_test.go, for one, is a test for GOOS=js alone.
func TestTestFiles_AreBuilt(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "node_modules" || len(name) > 2 && name[0] == '.'):
			return fs.SkipDir
		case !strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "_linux_test.go"):
			return nil
		}
		seen++
		built, err := build.Default.MatchFile(filepath.Split(path))
		if built || err != nil {
			return err
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("\n//go:build ")) &&
			!bytes.HasPrefix(b, []byte("//go:build ")) {
			t.Errorf("%s is never built: its name ends in a GOOS or GOARCH (%v)", path, err)
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("%d test files, %v", seen, err)
	}
}
