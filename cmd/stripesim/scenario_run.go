package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// requestTimeout bounds one request of a scenario.
const requestTimeout = 30 * time.Second

// errScenarioFailed says that scenarios ended otherwise than they expect.
var errScenarioFailed = errors.New("failed scenarios")

// runScenarios runs the files of `stripesim run`. Each scenario gets a simulator
// of its own, unless --url names one.
func runScenarios(ctx context.Context, args, env []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("stripesim run", flag.ContinueOnError)
	target := fs.String("url", "", "a simulator that runs already; empty: a new one for each scenario")
	fs.Usage = func() {
		fmt.Fprintln(stdout, "stripesim run [--url URL] FILE… runs scenarios: requests, moves of "+
			"the clock, and what is\nexpected. It fails if one differs. deploy/docs/simulator.md "+
			"describes the files.\n\nFlags:")
		fs.PrintDefaults()
	}
	if err := parse(fs, args, stdout); err != nil {
		return err
	}
	if err := rejectLiveKeys(env, args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return usageError("no file: want stripesim run FILE")
	}
	failed := 0
	for _, path := range fs.Args() {
		all, err := readScenarios(path)
		if err != nil {
			return err
		}
		for _, s := range all {
			if *target != "" && (s.APIVersion != "" || s.Seed != 0) {
				return usageError(path + ": api_version and seed need a simulator of their own: " +
					"leave out --url")
			}
			ok, err := runScenario(ctx, s, path, *target, stdout)
			if err != nil {
				return err
			}
			if !ok {
				failed++
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d", errScenarioFailed, failed)
	}
	return nil
}

// runScenario runs the steps of one scenario until one differs, and reports
// whether none did.
func runScenario(
	ctx context.Context, s *scenario, path, target string, stdout io.Writer,
) (ok bool, err error) {
	if target == "" {
		var stop func()
		if target, stop, err = startScenarioSimulator(ctx, s); err != nil {
			return false, err
		}
		defer stop()
	}
	fmt.Fprintf(stdout, "%s: %s\n", path, s.Name)
	// net/http sends a request with an Idempotency-Key again by itself if a used
	// connection closes. A scenario wants to see that.
	transport := &http.Transport{DisableKeepAlives: true}
	r := &scenarioRunner{base: strings.TrimSuffix(target, "/"), vars: map[string]string{},
		client: &http.Client{Timeout: requestTimeout, Transport: transport}}
	for i := range s.Steps {
		if err := r.run(ctx, &s.Steps[i]); err != nil {
			fmt.Fprintf(stdout, "  FAIL %2d  %s: %v\n", i+1, s.Steps[i].title(), err)
			return false, nil
		}
		fmt.Fprintf(stdout, "  ok   %2d  %s\n", i+1, s.Steps[i].title())
	}
	return true, nil
}

// startScenarioSimulator serves a simulator without rate limits on a free port.
func startScenarioSimulator(ctx context.Context, s *scenario) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	url = "http://" + l.Addr().String()
	version := s.APIVersion
	if version == "" {
		version = stripesim.NewestAPIVersion
	}
	sim := stripesim.New(stripesim.Options{Seed: s.Seed, APIVersion: version, PagesURL: url,
		EndpointRate: -1, OverallRate: -1, SearchRate: -1, UpdatesPerHour: -1})
	server := newServer(sim, os.Stderr)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { sim.Run(ctx) })
	wg.Go(func() { _ = server.Serve(l) }) // it ends with stop
	return url, func() {
		cancel()
		server.Close()
		wg.Wait()
	}, nil
}

// scenarioRunner runs the steps of one scenario.
type scenarioRunner struct {
	base   string
	client *http.Client
	vars   map[string]string
}

// answer is what a request got. Without a status the connection closed.
type answer struct {
	status int
	header http.Header
	body   any
	cause  error
}

func (r *scenarioRunner) run(ctx context.Context, st *step) error {
	if st.Advance > 0 {
		body := map[string]any{"by": time.Duration(st.Advance).String()}
		a, err := r.send(ctx, &step{Request: "POST /_sim/advance", JSON: body})
		if err != nil {
			return err
		}
		return r.compare(a, expectation{})
	}
	a, err := r.send(ctx, st)
	if err != nil {
		return err
	}
	if err := r.compare(a, st.Expect); err != nil {
		return err
	}
	for name, path := range st.Save {
		v := valueAt(a.body, path)
		if v == nil {
			return fmt.Errorf("save %s: the answer has no %s", name, path)
		}
		r.vars[name] = formatScalar(v)
	}
	return nil
}

// expandVars replaces each ${name}. checkVariables refused unknown names.
func (r *scenarioRunner) expandVars(s string) string {
	return variablePattern.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := r.vars[m[2:len(m)-1]]; ok {
			return v
		}
		return m
	})
}

// send sends a step's request.
func (r *scenarioRunner) send(ctx context.Context, st *step) (a answer, err error) {
	method, path, _ := strings.Cut(r.expandVars(st.Request), " ")
	var body []byte
	contentType := "application/x-www-form-urlencoded"
	form := url.Values{}
	r.addToForm(form, "", st.Form)
	switch {
	case st.JSON != nil:
		contentType = "application/json"
		if body, err = json.Marshal(st.JSON); err != nil {
			return a, err
		}
		body = []byte(r.expandVars(string(body)))
	case method == "POST":
		body = []byte(form.Encode())
	case len(form) > 0:
		path += "?" + form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	key := st.Key
	if key == "" {
		key = "sk_test_scenario"
	}
	req.Header.Set("Authorization", "Bearer "+r.expandVars(key))
	req.Header.Set("Content-Type", contentType)
	for name, v := range st.Headers {
		req.Header.Set(name, r.expandVars(v))
	}
	return r.do(req), nil
}

func (r *scenarioRunner) do(req *http.Request) answer {
	res, err := r.client.Do(req)
	if err != nil {
		return answer{cause: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return answer{cause: err}
	}
	a := answer{status: res.StatusCode, header: res.Header}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // amounts stay integers
	if d.Decode(&a.body) != nil {
		a.body = string(b) // such as a proxy's page
	}
	return a
}

// addToForm adds nested values as name[key] and lists as name[].
func (r *scenarioRunner) addToForm(form url.Values, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if name != "" {
				key = name + "[" + key + "]"
			}
			r.addToForm(form, key, inner)
		}
	case []any:
		for _, inner := range v {
			r.addToForm(form, name+"[]", inner)
		}
	default:
		form.Add(name, r.expandVars(formatScalar(v)))
	}
}

// compare returns the first difference between an answer and what is expected.
func (r *scenarioRunner) compare(a answer, want expectation) error {
	if want.Dropped {
		if a.cause == nil {
			return fmt.Errorf("it was answered %d, want no answer", a.status)
		}
		return nil
	}
	if a.cause != nil {
		return fmt.Errorf("no answer: %w", a.cause)
	}
	if want.Status != 0 && a.status != want.Status || want.Status == 0 && a.status/100 != 2 {
		wanted := "success"
		if want.Status != 0 {
			wanted = strconv.Itoa(want.Status)
		}
		return fmt.Errorf("it was answered %d, want %s: %s", a.status, wanted, excerpt(a.body))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		if got := a.header.Get(name); got != r.expandVars(want.Headers[name]) {
			return fmt.Errorf("header %s is %q, want %q", name, got, want.Headers[name])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(want.Body)) {
		got, wanted := formatScalar(valueAt(a.body, path)), r.expandVars(formatScalar(want.Body[path]))
		if wanted == "*" && got != "null" {
			continue
		}
		if got != wanted {
			return fmt.Errorf("%s is %s, want %s", path, got, wanted)
		}
	}
	return nil
}

// excerpt returns the message of an error, or the begin of another body.
func excerpt(body any) string {
	if m := valueAt(body, "error.message"); m != nil {
		return formatScalar(m)
	}
	s := formatScalar(body)
	return s[:min(len(s), 200)]
}

// valueAt returns the value at a path such as data.0.id; # is a list's length.
func valueAt(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			if name == "#" {
				v = len(x)
				continue
			}
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// formatScalar writes a value as a form and a report do.
func formatScalar(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case time.Time: // YAML reads an unquoted date as one
		return v.Format(time.RFC3339)
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(b)
	}
	return fmt.Sprint(v)
}
