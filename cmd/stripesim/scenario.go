package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdd/holdd/worker/stripesim"
)

const (
	maxScenarioBytes = 1 << 20
	maxScenarioSteps = 1000
)

// scenario is a list of requests, moves of the clock, and what is expected.
type scenario struct {
	Name       string `yaml:"name"`
	APIVersion string `yaml:"api_version"` // of requests without Stripe-Version
	Seed       uint64 `yaml:"seed"`
	Steps      []step `yaml:"steps"`
}

// step is a request or a move of the clock.
type step struct {
	Name    string         `yaml:"name"`
	Advance scenarioTime   `yaml:"advance"`
	Request string         `yaml:"request"` // method and path
	Key     string         `yaml:"key"`     // API key; empty: a secret one
	Headers stringMap      `yaml:"headers"`
	Form    map[string]any `yaml:"form"` // nested maps become name[key]
	JSON    map[string]any `yaml:"json"` // for the control endpoints
	Expect  expectation    `yaml:"expect"`
	Save    stringMap      `yaml:"save"` // variable: path in the answer
}

type stringMap = map[string]string

// expectation is what an answer must have. The zero value expects success.
type expectation struct {
	Status  int            `yaml:"status"`
	Dropped bool           `yaml:"dropped"` // no answer: the connection closes
	Headers stringMap      `yaml:"headers"`
	Body    map[string]any `yaml:"body"` // by path, such as error.code or data.0.id
}

// scenarioTime is a duration that may be in days: 7d, 90m, 6d23h.
type scenarioTime time.Duration

func (d *scenarioTime) UnmarshalYAML(n *yaml.Node) error {
	rest := n.Value
	var days int
	if before, after, ok := strings.Cut(rest, "d"); ok {
		var err error
		if days, err = strconv.Atoi(before); err != nil {
			return fmt.Errorf("line %d: invalid duration %q: want one such as 7d or 90m", n.Line,
				n.Value)
		}
		rest = after
	}
	var parsed time.Duration
	if rest != "" {
		var err error
		if parsed, err = time.ParseDuration(rest); err != nil {
			return fmt.Errorf("line %d: invalid duration %q: want one such as 7d or 90m", n.Line,
				n.Value)
		}
	}
	*d = scenarioTime(time.Duration(days)*24*time.Hour + parsed)
	return nil
}

// readScenarios reads and checks a file. It may have several YAML documents, each
// of which is a scenario.
func readScenarios(path string) ([]*scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError(err.Error())
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxScenarioBytes))
	if err != nil {
		return nil, usageError(err.Error())
	}
	var all []*scenario
	d, nodes := yaml.NewDecoder(bytes.NewReader(b)), yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	for {
		s, doc := &scenario{}, &yaml.Node{}
		err := d.Decode(s)
		if errors.Is(err, io.EOF) && len(all) > 0 {
			return all, nil
		}
		if err == nil {
			err = s.check()
		}
		if err == nil {
			err = nodes.Decode(doc)
		}
		if err == nil {
			err = checkVariables(doc)
		}
		if err != nil {
			return nil, usageError(fmt.Sprintf("%s: %v", path, err))
		}
		all = append(all, s)
	}
}

func (s *scenario) check() error {
	switch {
	case len(s.Steps) == 0:
		return errors.New("no steps: want at least one")
	case len(s.Steps) > maxScenarioSteps:
		return fmt.Errorf("%d steps: want at most %d", len(s.Steps), maxScenarioSteps)
	case s.APIVersion != "" && !stripesim.IsAPIVersion(s.APIVersion):
		return fmt.Errorf("invalid api_version %q: want a version such as %s", s.APIVersion,
			stripesim.NewestAPIVersion)
	}
	for i, st := range s.Steps {
		if err := st.check(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (st *step) check() error {
	method, path, _ := strings.Cut(st.Request, " ")
	switch {
	case (st.Request == "") == (st.Advance == 0):
		return errors.New("want either request or advance")
	case st.Advance < 0:
		return errors.New("invalid advance: the clock only moves forward")
	case st.Request == "":
		return nil
	case method != "GET" && method != "POST" && method != "DELETE" ||
		!strings.HasPrefix(path, "/"):
		return fmt.Errorf("invalid request %q: want a method and a path, such as "+
			"GET /v1/charges", st.Request)
	case st.Form != nil && st.JSON != nil:
		return errors.New("form and json: want one of them")
	case stripesim.IsLiveKey(st.Key):
		return errors.New("a LIVE key: pass no live key to a simulator")
	}
	return nil
}

// title is what a report calls the step.
func (st *step) title() string {
	switch {
	case st.Name != "":
		return st.Name
	case st.Request != "":
		return st.Request
	}
	return "advance " + time.Duration(st.Advance).String()
}
