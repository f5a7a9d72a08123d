package stripesim_test

import (
	"bytes"
	"cmp"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
	"go.yaml.in/yaml/v3"

	"github.com/holdd/holdd/worker/stripesim"
)

// recordedCase is a case of testdata/recorded.yaml, which describes the format.
type recordedCase struct {
	Fact       string
	Source     string
	Malformed  bool
	Given      []string
	GivenKey   string `yaml:"given_key"` // Idempotency-Key of the last given request
	Request    string
	Key        string // Idempotency-Key of the request
	Status     int
	Answer     map[string]any
	Then       string
	ThenAnswer map[string]any `yaml:"then_answer"`
	Events     string
}

func loadRecordedCases(t *testing.T) []recordedCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/recorded.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Forms map[string]string
		Cases []recordedCase
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		for name, form := range file.Forms {
			c.Request = strings.ReplaceAll(c.Request, "$"+name, form)
			for k := range c.Given {
				c.Given[k] = strings.ReplaceAll(c.Given[k], "$"+name, form)
			}
		}
	}
	return file.Cases
}

// recordedRequest is a request of a case.
type recordedRequest struct{ name, method, path, form string }

var requestPattern = regexp.MustCompile(`^(?:(\w+) = )?(GET|POST) (/v1/\S+)(?: (\S+))?$`)

func parseRequest(step string) (r recordedRequest, ok bool) {
	m := requestPattern.FindStringSubmatch(step)
	if m == nil {
		return r, false
	}
	return recordedRequest{m[1], m[2], m[3], m[4]}, true
}

// replay is a simulator that a case runs on, with the ids of its objects.
type replay struct {
	*testClient
	ids map[string]string
}

func (r *replay) fill(s string) string {
	for name, id := range r.ids {
		s = strings.ReplaceAll(s, "{"+name+"}", id)
		if st, ok := r.sim.Intent(id); ok {
			s = strings.ReplaceAll(s, "{"+name+".charge}", st.Charge)
		}
	}
	return s
}

func (r *replay) send(step, key string) testResponse {
	r.t.Helper()
	q, ok := parseRequest(step)
	if !ok {
		r.t.Fatalf("invalid request %q: want METHOD /v1/path form", step)
	}
	var header []string
	if key != "" {
		header = []string{"Idempotency-Key", key}
	}
	path := r.fill(q.path)
	if responseSchema(q.method, path, 400) == nil {
		r.t.Errorf("the OpenAPI document has no %s %s", q.method, path)
	}
	a := r.call(q.method, path, r.fill(q.form), header...)
	if q.name != "" {
		r.ids[q.name] = a.id()
	}
	return a
}

// perform performs a given step.
func (r *replay) perform(step, key string) {
	r.t.Helper()
	words := append(strings.Fields(step), "", "", "")
	switch words[0] {
	case "advance":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			r.t.Fatal(err)
		}
		r.sim.Advance(d)
	case "complete_action":
		if err := r.sim.Dashboard().CompleteAction(r.ids[words[1]]); err != nil {
			r.t.Fatal(err)
		}
	case "authorize":
		r.ids[words[1]] = r.authorize(stripesim.Hold{Amount: 5000, PaymentMethodType: words[2]})
	case "fault":
		status, _ := strconv.Atoi(words[2])
		if _, err := r.sim.Faults.AddFaultRule(stripesim.FaultRule{Times: 1, Fault: stripesim.Fault{
			Kind: stripesim.FaultKind(words[1]), Status: status, Code: words[3]}}); err != nil {
			r.t.Fatal(err)
		}
	default:
		r.send(step, key)
	}
}

func (r *replay) assertAnswer(a testResponse, want map[string]any) {
	r.t.Helper()
	for path, v := range want {
		got := a.valueAt(path)
		if name, ok := strings.CutPrefix(path, "header."); ok {
			if got = nil; a.header.Get(name) != "" {
				got = a.header.Get(name)
			}
		}
		switch w := v.(type) {
		case string:
			v = r.fill(w)
		case int:
			v = float64(w)
		}
		if v == "present" && got != nil {
			continue
		}
		if got != v {
			r.t.Errorf("%s: %v, want %v", path, got, v)
		}
	}
}

// TestRecorded replays what Stripe was recorded or is documented to answer.
func TestRecorded(t *testing.T) {
	for _, c := range loadRecordedCases(t) {
		t.Run(c.Fact, func(t *testing.T) {
			if !slices.Contains([]string{"D", "R", "T", "B"}, c.Source) || len(c.Answer) == 0 {
				t.Fatalf("source %q, %d expectations", c.Source, len(c.Answer))
			}
			r := &replay{newTestClient(t, unlimitedOptions(1)), map[string]string{}}
			for i, step := range c.Given {
				key := ""
				if i == len(c.Given)-1 {
					key = c.GivenKey
				}
				r.perform(step, key)
			}
			a := r.send(c.Request, c.Key)
			if a.status != c.Status {
				t.Fatalf("status %d, want %d: %s", a.status, c.Status, a.raw)
			}
			r.assertAnswer(a, c.Answer)
			if c.Then != "" {
				r.assertAnswer(r.send(c.Then, ""), c.ThenAnswer)
			}
			if c.Events != "" {
				assertEqual(t, "events", r.eventTypes(r.ids["intent"]), c.Events)
			}
		})
	}
}

// newStripeMock returns stripe-mock. It prints each request, so standard output
// is discarded.
func newStripeMock(t *testing.T) *server.StubServer {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := os.Stdout
	os.Stdout = null
	t.Cleanup(func() {
		os.Stdout = out
		null.Close()
	})
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, openAPI(), false, false)
	if err != nil {
		t.Fatal(err)
	}
	return stub
}

// TestRecorded_StripeMockAcceptsRequests checks that Stripe's own server knows
// every parameter of the recorded requests, and rejects those that are
// malformed.
func TestRecorded_StripeMockAcceptsRequests(t *testing.T) {
	mock := newStripeMock(t)
	placeholder := regexp.MustCompile(`\{[\w.]+\}`)
	for _, c := range loadRecordedCases(t) {
		for _, step := range append(c.Given, c.Request, cmp.Or(c.Then, c.Request)) {
			q, ok := parseRequest(placeholder.ReplaceAllString(step, "pi_123"))
			if !ok {
				continue // a step beside requests
			}
			body, target := q.form, q.path
			if q.method == "GET" {
				body, target = "", q.path+"?"+q.form
			}
			r := httptest.NewRequest(q.method, target, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+testAPIKey)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			mock.HandleRequest(w, r)
			wantOK := !c.Malformed || step != c.Request
			if (w.Code == http.StatusOK) != wantOK {
				t.Errorf("%s: %s: %d %s", c.Fact, step, w.Code, w.Body)
			}
		}
	}
}
