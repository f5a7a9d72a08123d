package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api/client"
)

// clientOutcomes says of answers, named by status and code, whether they leave
// the outcome of a request unknown.
var clientOutcomes = []struct {
	answer  string
	unknown bool
}{
	{"0 closed", true},
	{"200 cut", true},
	{"401 token_invalid", true},
	{"402 card_declined", false},
	{"403 token_read_only", true},
	{"404 hold_not_found", false},
	{"404 html", true}, // of a proxy
	{"409 in_progress", true},
	{"409 too_late", false},
	{"422 in_the_past", false},
	{"429 html", true},
	{"500 internal_error", true},
	{"503 outcome_unknown", true},
	{"507 storage_full", true},
}

// answerAsNamed answers a request for a hold whose id names the answer.
func answerAsNamed(w http.ResponseWriter, r *http.Request) {
	number, code, _ := strings.Cut(filepath.Base(r.URL.Path), " ")
	status, err := strconv.Atoi(number)
	switch {
	case err != nil || status == 0:
		panic(http.ErrAbortHandler) // closes the connection
	case code == "html":
		http.Error(w, "<html>", status)
	case status == http.StatusOK:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"id":`)
	default:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, code)
	}
}

const (
	typeScriptOutcomes = `import { createClient, HolddError, unwrap } from "./dist/src/index.js";
const client = createClient({ baseUrl: process.env.HOLDD_URL, maxAttempts: 1 });
for (const id of process.argv.slice(2)) {
  await unwrap(client.GET("/v1/holds/{id}", { params: { path: { id } } })).catch((error) => {
    if (!(error instanceof HolddError)) throw error;
    console.log(id, error.outcomeUnknown);
  });
}
`
	pythonOutcomes = `import os, sys
from holdd_client import Client, HolddError
client = Client(os.environ["HOLDD_URL"], max_attempts=1)
for id in sys.argv[1:]:
    try:
        client.get_hold(id)
    except HolddError as error:
        print(id, str(error.outcome_unknown).lower())
`
)

// TestClients_AgreeOnUnknownOutcomes shows that the clients of all languages
// tell the same errors from those that decide a request.
func TestClients_AgreeOnUnknownOutcomes(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(answerAsNamed))
	t.Cleanup(server.Close)
	var answers []string
	want := ""
	for _, o := range clientOutcomes {
		answers = append(answers, o.answer)
		want += fmt.Sprintln(o.answer, o.unknown)
	}
	check := func(t *testing.T, cmd *exec.Cmd) {
		t.Helper()
		cmd.Args = append(cmd.Args, answers...)
		cmd.Env = append(os.Environ(), "HOLDD_URL="+server.URL, "PYTHONDONTWRITEBYTECODE=1",
			"PYTHONPATH="+absolutePath(t, clientsFolder, "python"))
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%v\n%swant\n%s", err, out, want)
		}
	}
	t.Run("typescript", func(t *testing.T) {
		dir := copyTypeScriptClient(t)
		runIn(t, dir, clientTool(t, "tsc"))
		program := filepath.Join(dir, "outcomes.mjs")
		if err := os.WriteFile(program, []byte(typeScriptOutcomes), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, exec.CommandContext(t.Context(), "node", program))
	})
	t.Run("python", func(t *testing.T) {
		check(t, exec.CommandContext(t.Context(), "python3", "-c", pythonOutcomes))
	})
	t.Run("go", func(t *testing.T) {
		c, err := client.New(server.URL, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		got := ""
		for _, answer := range answers {
			if _, err := c.Get(t.Context(), answer); err != nil {
				got += fmt.Sprintln(answer, client.IsOutcomeUnknown(err))
			}
		}
		if got != want {
			t.Errorf("%swant\n%s", got, want)
		}
	})
}
