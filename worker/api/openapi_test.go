package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api"
)

type openAPIDocument struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Summary     string `json:"summary"`
		RequestBody *struct {
			Content map[string]struct {
				Schema  map[string]any `json:"schema"`
				Example any            `json:"example"`
			} `json:"content"`
		} `json:"requestBody"`
		Responses map[string]struct {
			Content map[string]struct {
				Example  any            `json:"example"`
				Examples map[string]any `json:"examples"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			AdditionalProperties any            `json:"additionalProperties"`
			Properties           map[string]any `json:"properties"`
		} `json:"schemas"`
	} `json:"components"`
	Security []any `json:"security"`
}

func TestOpenAPI(t *testing.T) {
	m := newFakeHolds()
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), Version: "1.2.3"})
	a := sendRequest(t, "GET", s.URL+"/openapi.json", "")
	var doc openAPIDocument
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v %s", err, a.body)
	}
	want := []string{
		"post /v1/holds", "get /v1/holds", "post /v1/holds:batch", "get /v1/holds/{id}", "patch /v1/holds/{id}", "post /v1/holds/{id}/cardholder_link", "post /v1/holds/{id}/capture", "post /v1/holds/{id}/cancel",
		"post /v1/holds/{id}/increment",
		"post /v1/holds/{id}/pause", "post /v1/holds/{id}/resume", "post /v1/holds/{id}/acknowledge", "post /v1/holds/{id}/repair", "delete /v1/holds/{id}/personal_data", "get /v1/plan", "get /v1/log-level", "put /v1/log-level", "post /v1/reconcile", "get /v1/reconcile", "get /v1/deliveries", "get /v1/deliveries/dead", "post /v1/deliveries/replay", "post /v1/authorizations", "post /v1/authorizations/{id}/confirm", "get /healthz", "get /readyz", "get /metrics", "get /openapi.json", "get /docs",
	}
	var got []string
	for path, item := range doc.Paths {
		for method, op := range item {
			got = append(got, method+" "+path)
			if op.Summary == "" {
				t.Errorf("%s %s has no summary", method, path)
			}
			if !strings.HasPrefix(path, "/v1/") {
				continue
			}
			if op.RequestBody != nil && (op.RequestBody.Content["application/json"].Example == nil || op.RequestBody.Content["application/json"].Schema["$ref"] == nil) {
				t.Errorf("%s %s: %+v", method, path, op.RequestBody)
			}
			for status, r := range op.Responses {
				if c := r.Content["application/json"]; status[0] == '2' && c.Example == nil {
					t.Errorf("%s %s %s has no example", method, path, status)
				}
				if c := r.Content["application/problem+json"]; status[0] != '2' && len(c.Examples) == 0 {
					t.Errorf("%s %s %s has no examples", method, path, status)
				}
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("routes: %v", got)
	}
	for name, strict := range map[string]bool{"ScheduleRequest": true, "Patch": true, "Capture": true, "ScheduleRequests": true, "Hold": false, "Problem": false, "ListPage": false} {
		if s, ok := doc.Components.Schemas[name]; !ok || (s.AdditionalProperties == false) != strict || len(s.Properties) == 0 {
			t.Errorf("%s: %v %+v", name, ok, s)
		}
	}
	// Every reference has its schema.
	for _, ref := range regexp.MustCompile(`#/components/schemas/([A-Za-z]+)`).FindAllStringSubmatch(a.body, -1) {
		if _, ok := doc.Components.Schemas[ref[1]]; !ok {
			t.Errorf("%s is missing", ref[0])
		}
	}
	if len(doc.Security) != 2 { // a token, or nothing
		t.Errorf("%v", doc.Security)
	}
	// The API accepts the example of a body, apart from its time.
	example := doc.Paths["/v1/holds"]["post"].RequestBody.Content["application/json"].Example.(map[string]any)
	example["capture_at"] = m.now.Format("2006-01-02T15:04")
	example["time_zone"] = "UTC"
	b, _ := json.Marshal(example)
	if a := sendRequest(t, "POST", s.URL+"/v1/holds", string(b)); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}

	withTokens, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()), Tokens: parseTestTokens(t)})
	if a := sendRequest(t, "GET", withTokens.URL+"/openapi.json", ""); !strings.Contains(a.body, `"scheme":"bearer"`) || !strings.Contains(a.body, `"security":[{"token":[]`) {
		t.Errorf("no security: %s", a.body[:200])
	}
}

// The page loads nothing, and its policy admits no script but its own.
func TestDocsPage(t *testing.T) {
	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds()), Version: "1.2.3 <beta>"})
	a := sendRequest(t, "GET", s.URL+"/docs", "")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d %v", a.status, a.header)
	}
	for _, not := range []string{`href="http`, "src=", "url(", "@import", "<beta>", "<link", "<img",
		" onclick", " onsubmit", "javascript:"} {
		if strings.Contains(a.body, not) {
			t.Errorf("the page has %s", not)
		}
	}
	policy := a.header.Get("Content-Security-Policy")
	if n := strings.Count(a.body, "<script"); n != 1 || strings.Contains(policy, "unsafe") {
		t.Errorf("%d scripts, policy %s", n, policy)
	}
	for _, tag := range []string{"script", "style"} {
		_, text, _ := strings.Cut(a.body, "<"+tag+">")
		text, _, _ = strings.Cut(text, "</"+tag+">")
		sum := sha256.Sum256([]byte(text))
		if want := tag + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'"; !strings.Contains(policy, want) {
			t.Errorf("the policy %s does not have %s", policy, want)
		}
	}
	for _, what := range []string{"/v1/holds:batch", "/v1/holds/{id}/acknowledge", "after_deadline", "expiring_within", "1.2.3 &lt;beta&gt;", `id="schema-Hold"`} {
		if !strings.Contains(a.body, what) {
			t.Errorf("the page has no %s", what)
		}
	}
	if strings.Contains(a.body, "nil&gt;") || strings.Contains(a.body, "u003cnil") {
		t.Error("a sample has a value that is missing")
	}
	for _, link := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
		if !strings.Contains(a.body, `id="`+link[1]+`"`) {
			t.Errorf("#%s leads nowhere", link[1])
		}
	}
}
