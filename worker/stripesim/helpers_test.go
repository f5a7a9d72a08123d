package stripesim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

// testAPIKey is not the key of a real account.
const testAPIKey = "sk_test_simulated00000000"

// unlimitedOptions returns options without rate limits.
func unlimitedOptions(seed uint64) stripesim.Options {
	return stripesim.Options{Seed: seed, EndpointRate: -1, OverallRate: -1,
		SearchRate: -1, UpdatesPerHour: -1}
}

type testClient struct {
	t         testing.TB
	sim       *stripesim.Sim
	transport http.RoundTripper
}

func newTestClient(t testing.TB, o stripesim.Options) *testClient {
	s := stripesim.New(o)
	return &testClient{t, s, s.Transport()}
}

type testResponse struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// valueAt returns the value at a path of the body, such as "error.code".
func (a testResponse) valueAt(path string) any {
	var v any = a.body
	for _, p := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			var i int
			fmt.Sscan(p, &i)
			if i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a testResponse) stringAt(path string) string { s, _ := a.valueAt(path).(string); return s }
func (a testResponse) numberAt(path string) int64 {
	f, _ := a.valueAt(path).(float64)
	return int64(f)
}
func (a testResponse) id() string { return a.stringAt("id") }

// ids returns the ids of a list, in order.
func (a testResponse) ids() []string {
	var out []string
	l, _ := a.body["data"].([]any)
	for _, x := range l {
		out = append(out, x.(map[string]any)["id"].(string))
	}
	return out
}

func (c *testClient) newRequest(
	ctx context.Context, method, path, form string, header ...string,
) *http.Request {
	c.t.Helper()
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader(form)
	} else if form != "" {
		path += "?" + form
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://api.stripe.com"+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testAPIKey)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// tryCall makes a call that may fail.
func (c *testClient) tryCall(method, path, form string, header ...string) (testResponse, error) {
	c.t.Helper()
	return c.send(c.newRequest(context.Background(), method, path, form, header...))
}

func (c *testClient) send(r *http.Request) (testResponse, error) {
	res, err := c.transport.RoundTrip(r)
	if err != nil {
		return testResponse{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return testResponse{}, err
	}
	a := testResponse{status: res.StatusCode, header: res.Header, raw: b}
	if err := json.Unmarshal(b, &a.body); err != nil {
		return a, err
	}
	for _, v := range openAPIViolations(r, a) {
		c.t.Errorf("%s %s: %s", r.Method, r.URL.Path, v)
	}
	return a, nil
}

func (c *testClient) call(method, path, form string, header ...string) testResponse {
	c.t.Helper()
	a, err := c.tryCall(method, path, form, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *testClient) get(path, query string) testResponse {
	c.t.Helper()
	return c.call("GET", path, query)
}

// mustSucceed is a call that must succeed.
func (c *testClient) mustSucceed(method, path, form string, header ...string) testResponse {
	c.t.Helper()
	a := c.call(method, path, form, header...)
	if a.status != 200 {
		c.t.Fatalf("%s %s %s: %d %s", method, path, form, a.status, a.raw)
	}
	return a
}

// mustFail is a call that must fail with this status and code.
func (c *testClient) mustFail(
	status int, code, method, path, form string, header ...string,
) testResponse {
	c.t.Helper()
	a := c.call(method, path, form, header...)
	if a.status != status || a.stringAt("error.code") != code {
		c.t.Fatalf("%s %s %s: %d %s, want %d %q", method, path, form, a.status, a.raw, status, code)
	}
	return a
}

func (c *testClient) authorize(h stripesim.Hold) string {
	c.t.Helper()
	if h.Amount == 0 {
		h.Amount = 1000
	}
	id, err := c.sim.Authorize(h)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *testClient) intentState(id string) stripesim.IntentState {
	c.t.Helper()
	st, ok := c.sim.Intent(id)
	if !ok {
		c.t.Fatalf("%s: no such intent", id)
	}
	return st
}

// formatEffects returns the ledger of one intent in short: "authorized 1000,
// captured 700!", where ! marks a final effect.
func (c *testClient) formatEffects(id string) string {
	var out []string
	for _, e := range c.sim.Ledger() {
		if e.Intent == id {
			s := fmt.Sprintf("%s %d", e.Kind, e.Amount)
			if e.Final {
				s += "!"
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

// eventTypes returns the types of an intent's events, oldest first.
func (c *testClient) eventTypes(id string) string {
	c.t.Helper()
	var out []string
	for _, e := range c.mustSucceed("GET", "/v1/events", "limit=100").body["data"].([]any) {
		e := e.(map[string]any)
		o := e["data"].(map[string]any)["object"].(map[string]any)
		if o["id"] == id || o["payment_intent"] == id {
			out = append([]string{e["type"].(string)}, out...)
		}
	}
	return strings.Join(out, " ")
}

const manualCaptureForm = "amount=1000&currency=eur&capture_method=manual&payment_method_types[]=card&confirm=true&payment_method="

func intentPath(id string, act ...string) string {
	return "/v1/payment_intents/" + strings.Join(append([]string{id}, act...), "/")
}

func queryEscape(s string) string { return url.QueryEscape(s) }

func assertEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
