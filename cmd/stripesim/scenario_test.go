package main

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

// runFiles runs `stripesim run` and returns its output.
func runFiles(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), append([]string{"run"}, args...), nil, &out, io.Discard)
	return out.String(), err
}

func writeScenario(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scenario.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestScenarios runs the examples.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("scenarios/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if out, err := runFiles(t, file); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A scenario also runs against a simulator that runs already.
func TestScenarios_URL(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1})
	server := httptest.NewServer(sim.ServerHandler())
	t.Cleanup(server.Close)
	if out, err := runFiles(t, "--url", server.URL, "scenarios/three-d-secure.yaml"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := sim.Totals(); len(got) != 1 || got[0].Captured != 11800 {
		t.Errorf("the simulator has %v", got)
	}
	var usage usageError
	if _, err := runFiles(t, "--url", server.URL, "scenarios/lost-answer.yaml"); !errors.As(err,
		&usage) {
		t.Errorf("a seed for a simulator that runs: %v", err)
	}
}

// A difference fails at its step, and the steps after it are not run.
func TestScenarios_Differences(t *testing.T) {
	const held = "steps:\n- {request: POST /_sim/holds, json: {amount: 1000}, save: {i: id}}\n"
	for name, row := range map[string]struct{ text, want string }{
		"value": {held + "- {request: 'GET /v1/payment_intents/${i}', " +
			"expect: {body: {amount: 1001}}}", "FAIL  2"},
		"missing value": {held + "- {request: 'GET /v1/payment_intents/${i}', " +
			"expect: {body: {colour: '*'}}}", "colour is null, want *"},
		"status": {"steps:\n- {request: GET /v1/payment_intents/pi_none, expect: {status: 200}}",
			"answered 404, want 200"},
		"refusal": {"steps:\n- request: GET /v1/payment_intents/pi_none",
			"answered 404, want success"},
		"header": {"steps:\n- {request: GET /v1/balance, expect: {headers: {Stripe-Version: x}}}",
			"header Stripe-Version"},
		"dropped": {"steps:\n- {request: GET /v1/balance, expect: {dropped: true}}",
			"want no answer"},
		"no answer": {"steps:\n- {request: POST /_sim/faults, json: {kind: drop_request}}\n" +
			"- request: GET /v1/balance", "no answer"},
		"nothing to save": {"steps:\n- {request: GET /v1/balance, save: {x: id}}",
			"the answer has no id"},
		"later steps": {"steps:\n- request: GET /v1/none\n- request: GET /v1/balance", "FAIL  1"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runFiles(t, writeScenario(t, row.text))
			if !errors.Is(err, errScenarioFailed) || !strings.Contains(out, row.want) ||
				!strings.HasSuffix(out, "\n") || strings.Count(out, "FAIL") != 1 {
				t.Errorf("%v\n%s\nwant %q", err, out, row.want)
			}
			if last := out[strings.LastIndex(out[:len(out)-1], "\n")+1:]; !strings.Contains(last,
				"FAIL") {
				t.Errorf("steps ran after the failure:\n%s", out)
			}
		})
	}
}

func TestScenarios_InvalidFiles(t *testing.T) {
	live := "sk_" + "live_" + strings.Repeat("1", 10)
	tooLong := "# " + strings.Repeat("x", maxScenarioBytes) + "\nsteps: [{a: 1h}]\n"
	tooMany := "steps:\n" + strings.Repeat("- advance: 1s\n", maxScenarioSteps+1)
	for text, want := range map[string]string{
		"name: x":                                                    "no steps",
		"steps: [{}]":                                                "either request or advance",
		"steps: [{advance: 1d, request: x}]":                         "either request or advance",
		"steps: [{advance: -1h}]":                                    "forward",
		"steps: [{advance: soon}]":                                   "invalid duration",
		"steps: [{advance: xd}]":                                     "invalid duration",
		"steps: [{request: /v1/balance}]":                            "want a method",
		"steps: [{request: PUT /v1/balance}]":                        "want a method",
		"steps: [{requests: GET /v1/balance}]":                       "requests not found",
		"api_version: x\nsteps: [{advance: 1h}]":                     "api_version",
		"steps: [{request: POST /v1/x, form: {a: b}, json: {a: b}}]": "one of them",
		"steps: [{request: GET /v1/balance, key: " + live + "}]":     "LIVE",
		"steps:\n- {request: POST /_sim/holds, save: {intent: id}}\n" +
			"- request: 'POST /v1/payment_intents/${intnt}/capture'": "line 3: undefined variable " +
			"${intnt}: no earlier step saves it",
		"steps:\n- request: 'GET /v1/payment_intents/${i}'\n  save: {i: id}": "line 2: undefined",
		"steps:\n- request: POST /_sim/faults\n  json:\n    payment_intent: '${i}'": "line 4: " +
			"undefined variable ${i}",
		"steps:\n- request: GET /v1/balance\n  expect: {body: {object: '${i}'}}": "line 3: " +
			"undefined variable ${i}",
		"steps:\n- {request: GET /v1/balance, save: {i: object}}\n---\nsteps:\n" +
			"- request: 'GET /v1/${i}'": "line 5: undefined variable ${i}",
		tooLong: "EOF", tooMany: "at most",
	} {
		_, err := runFiles(t, writeScenario(t, text))
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), live) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	for _, args := range [][]string{{}, {"none.yaml"}, {"--colour", "x.yaml"}} {
		if _, err := runFiles(t, args...); !errors.As(err, new(usageError)) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
