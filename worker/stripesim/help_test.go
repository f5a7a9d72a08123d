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

// key is a test key that opens nothing.
const key = "sk_test_simulated00000000"

// free has no limits.
func free(seed uint64) stripesim.Options {
	return stripesim.Options{Seed: seed, EndpointRate: -1, OverallRate: -1, SearchRate: -1, UpdatesPerHour: -1}
}

type client struct {
	t   testing.TB
	sim *stripesim.Sim
	rt  http.RoundTripper
}

func newClient(t testing.TB, o stripesim.Options) *client {
	s := stripesim.New(o)
	return &client{t, s, s.Transport()}
}

type answer struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// at walks the body: at("error.code").
func (a answer) at(path string) any {
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

func (a answer) str(path string) string { s, _ := a.at(path).(string); return s }
func (a answer) num(path string) int64  { f, _ := a.at(path).(float64); return int64(f) }
func (a answer) id() string             { return a.str("id") }

// ids of a list, in order.
func (a answer) ids() []string {
	var out []string
	l, _ := a.body["data"].([]any)
	for _, x := range l {
		out = append(out, x.(map[string]any)["id"].(string))
	}
	return out
}

func (c *client) request(ctx context.Context, method, path, form string, header ...string) *http.Request {
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
	r.Header.Set("Authorization", "Bearer "+key)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// try makes a call that may fail.
func (c *client) try(method, path, form string, header ...string) (answer, error) {
	c.t.Helper()
	return c.send(c.request(context.Background(), method, path, form, header...))
}

func (c *client) send(r *http.Request) (answer, error) {
	res, err := c.rt.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header, raw: b}
	if err := json.Unmarshal(b, &a.body); err != nil {
		return a, err
	}
	return a, nil
}

func (c *client) do(method, path, form string, header ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, form, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *client) get(path, query string) answer { c.t.Helper(); return c.do("GET", path, query) }

// ok is a call that must succeed.
func (c *client) ok(method, path, form string, header ...string) answer {
	c.t.Helper()
	a := c.do(method, path, form, header...)
	if a.status != 200 {
		c.t.Fatalf("%s %s %s: %d %s", method, path, form, a.status, a.raw)
	}
	return a
}

// refused is a call that must be refused in this way.
func (c *client) refused(status int, code, method, path, form string, header ...string) answer {
	c.t.Helper()
	a := c.do(method, path, form, header...)
	if a.status != status || a.str("error.code") != code {
		c.t.Fatalf("%s %s %s: %d %s, want %d %q", method, path, form, a.status, a.raw, status, code)
	}
	return a
}

func (c *client) hold(h stripesim.Hold) string {
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

func (c *client) state(id string) stripesim.IntentState {
	c.t.Helper()
	st, ok := c.sim.Intent(id)
	if !ok {
		c.t.Fatalf("%s: no such intent", id)
	}
	return st
}

// effects is the ledger of one intent, shortened: "authorized 1000, captured 700!" with ! for final.
func (c *client) effects(id string) string {
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

// types of an intent's events, oldest first, without what they have in common.
func (c *client) types(id string) string {
	c.t.Helper()
	var out []string
	for _, e := range c.ok("GET", "/v1/events", "limit=100").body["data"].([]any) {
		e := e.(map[string]any)
		o := e["data"].(map[string]any)["object"].(map[string]any)
		if o["id"] == id || o["payment_intent"] == id {
			out = append([]string{e["type"].(string)}, out...)
		}
	}
	return strings.Join(out, " ")
}

const manual = "amount=1000&currency=eur&capture_method=manual&payment_method_types[]=card&confirm=true&payment_method="

func path(id string, act ...string) string {
	return "/v1/payment_intents/" + strings.Join(append([]string{id}, act...), "/")
}

func q(s string) string { return url.QueryEscape(s) }

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
