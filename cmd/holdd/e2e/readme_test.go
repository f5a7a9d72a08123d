package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// moduleRoot is the root folder of the module.
const moduleRoot = "../../.."

// Pages whose blocks are run.
const (
	readmePage   = "README.md"
	requestsPage = "deploy/docs/requests.md"
)

// readmeSnippet is a block of a page.
type readmeSnippet struct{ heading, language, text string }

// readSnippets returns the blocks of one section of a page. A block may be
// indented.
func readSnippets(tb testing.TB, page, section string) (out []readmeSnippet) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(moduleRoot, page))
	if err != nil {
		tb.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n## "+section+"\n")
	if !ok {
		tb.Fatalf("%s has no section %q", page, section)
	}
	if i := strings.Index(text, "\n## "); i >= 0 {
		text = text[:i+1]
	}
	under, indent, in := "", "", -1
	for line := range strings.Lines(text) {
		fence, isFence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case in < 0 && strings.HasPrefix(line, "### "):
			under = strings.TrimSpace(line[4:])
		case in < 0 && isFence:
			indent = line[:strings.Index(line, "```")]
			out = append(out, readmeSnippet{under, strings.TrimSpace(fence), ""})
			in = len(out) - 1
		case isFence:
			in = -1
		case in >= 0:
			out[in].text += strings.TrimPrefix(line, indent)
		}
	}
	return out
}

// run runs a snippet, which must succeed, and returns its standard output.
func (s readmeSnippet) run(tb testing.TB, env ...string) string {
	tb.Helper()
	out, errs, err := s.tryRun(tb, env...)
	if err != nil {
		tb.Fatalf("%s, in %s: %v (make languages installs what is missing)\n%s\n%s%s", s.heading,
			s.language, err, s.text, out, errs)
	}
	return out
}

// tryRun runs a snippet unchanged in the folder of the README. From the
// environment of the test it gets only PATH.
func (s readmeSnippet) tryRun(tb testing.TB, env ...string) (stdout, stderr string, err error) {
	tb.Helper()
	var cmd *exec.Cmd
	switch s.language {
	case "sh":
		cmd = exec.Command("sh", "-eu", "-c", s.text)
	case "python":
		cmd = exec.Command("python3", "-I", writeTempFile(tb, "snippet.py", s.text))
	case "js":
		cmd = exec.Command("node", writeTempFile(tb, "snippet.mjs", s.text))
	case "go":
		cmd = exec.Command("go", "run", writeTempFile(tb, "main.go", s.text))
	default:
		tb.Fatalf("nothing is known of the language %q", s.language)
	}
	cmd.Dir, cmd.SysProcAttr, cmd.WaitDelay = moduleRoot, ownProcess(), processTimeout
	for _, k := range []string{"PATH", "HOME", "GOPATH", "GOMODCACHE", "GOCACHE", "GOFLAGS",
		"GOPROXY", "GOTOOLCHAIN", "PYENV_ROOT"} {
		if v, ok := os.LookupEnv(k); ok {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// stripesimProcess is cmd/stripesim as its users run it. Its account is new, so
// that it has the newest API version.
type stripesimProcess struct {
	tb  testing.TB
	url string
}

func startStripesim(tb testing.TB, flags []string, env ...string) *stripesimProcess {
	tb.Helper()
	bin := filepath.Join(tb.TempDir(), "stripesim")
	if b, err := exec.Command("go", "build", "-o", bin,
		"github.com/holdd/holdd/cmd/stripesim").CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, b)
	}
	out := &lockedBuffer{}
	cmd := exec.Command(bin, append([]string{"--listen", "127.0.0.1:0", "--rate", "-1",
		"--overall-rate", "-1", "--api-version", stripesim.NewestAPIVersion,
		"--webhook-api-version", stripesim.NewestAPIVersion}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = append([]string{}, env...), out, out,
		ownProcess()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // one that has ended already shows below
		if err := cmd.Wait(); err != nil || tb.Failed() {
			tb.Logf("stripesim: %v\n%s", err, out.String())
		}
	})
	s := &stripesimProcess{tb: tb}
	address := regexp.MustCompile(`API (http://[0-9.:]+)`)
	storetest.WaitUntil(tb, processTimeout, "stripesim is up", func() bool {
		if m := address.FindStringSubmatch(out.String()); m != nil {
			s.url = m[1]
		}
		return s.url != ""
	})
	return s
}

// lockedBuffer takes what a process writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *lockedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *lockedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// callControl asks the simulator's control endpoints.
func (s *stripesimProcess) callControl(method, path, body string, into any) {
	s.tb.Helper()
	req, err := http.NewRequestWithContext(s.tb.Context(), method, s.url+path,
		strings.NewReader(body))
	if err != nil {
		s.tb.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || into != nil &&
		json.Unmarshal(b, into) != nil {
		s.tb.Fatalf("%s %s: %s %s %v", method, path, res.Status, b, err)
	}
}

func (s *stripesimProcess) authorizeHold() string {
	s.tb.Helper()
	var in struct{ ID string }
	s.callControl(http.MethodPost, "/_sim/holds",
		`{"amount":12000,"currency":"eur","payment_method":"pm_card_visa"}`, &in)
	return in.ID
}

// TestReadmeFirstHold runs the README's steps from the first hold on, with the
// simulator's address instead of Stripe's and the built binary instead of
// make's.
func TestReadmeFirstHold(t *testing.T) {
	t.Parallel()
	var steps []string
	for _, s := range readSnippets(t, readmePage, "Install and place a first hold") {
		if s.language == "sh" {
			steps = append(steps, s.text)
		}
	}
	if len(steps) != 2 {
		t.Fatalf("the README has %d steps to run, want 2", len(steps))
	}
	w := newWorld(t, unlimitedStripeOptions) // its Redis; its Stripe stays unused
	sim := startStripesim(t, nil)
	r := w.startReplica(binaryPath(t, buildRelease), "STRIPE_API_BASE="+sim.url)
	dir := t.TempDir()
	text := strings.NewReplacer("https://api.stripe.com", sim.url, "http://127.0.0.1:8420", r.url,
		".build/holdd", binaryPath(t, buildRelease), "intent.json",
		filepath.Join(dir, "intent.json")).
		Replace(strings.Join(steps, "\n"))
	out := readmeSnippet{"first hold", "sh", text}.run(t, "STRIPE_API_KEY="+
		apiKey, "HOLDD_URL="+r.url)
	if !strings.Contains(out, `"state":"scheduled"`) || !strings.Contains(out, "BK-2071") {
		t.Errorf("the first hold says %q", out)
	}
	declined := strings.ReplaceAll(text, "pm_card_visa", "pm_card_chargeCustomerFail")
	out, _, err := readmeSnippet{"first hold", "sh", declined}.tryRun(t, "STRIPE_API_KEY="+apiKey)
	if err == nil || !strings.Contains(out, "card_declined") || strings.Contains(out, "BK-2071") {
		t.Errorf("a declined first hold says %q, %v", out, err)
	}
}

// TestReadme_CurlsFailOnErrors shows that a refused request ends the snippet
// with Stripe's or holdd's error.
func TestReadme_CurlsFailOnErrors(t *testing.T) {
	curl := regexp.MustCompile(`(?m)^ *curl .*$`)
	for _, page := range []string{readmePage, requestsPage, "deploy/docs/personal-data.md",
		"deploy/docs/long-stays.md",
		"deploy/examples/booking-go/README.md", "deploy/examples/booking-node/README.md",
		"deploy/examples/booking-python/README.md"} {
		lines := curl.FindAllString(read(t, page), -1)
		if len(lines) == 0 {
			t.Errorf("%s has no curl", page)
		}
		for _, line := range lines {
			if !strings.Contains(line, " --fail-with-body ") {
				t.Errorf("%s: no --fail-with-body: %s", page, line)
			}
		}
	}
}

// TestReadmeRequests runs the snippets of requests.md for each source, on the
// built binary, a real Redis, and the simulator as a process. The hold is
// scheduled, and captured at its time.
func TestReadmeRequests(t *testing.T) {
	t.Parallel()
	blocks := readSnippets(t, requestsPage, "Sources")
	w, d := newWorldWithWebhooks(t, unlimitedStripeOptions) // its Redis; its Stripe stays unused
	sim := startStripesim(t, []string{"--webhook-url", d.server.URL + api.WebhookPath},
		"STRIPESIM_WEBHOOK_SECRETS="+signingSecret)
	secrets := "STRIPE_WEBHOOK_SECRETS=" + signingSecret + ",whsec_e2e_the_old_one"
	r := w.startReplica(binaryPath(t, buildRelease), append(highBudgetSettings, secrets,
		"STRIPE_API_BASE="+sim.url, "HOLDD_SCHEDULE_RECONCILE=@every 5h")...)
	d.forwardTo(r)
	w.waitForFirstReconcile(r)
	stop := d.server.Close // events that nobody waits for any more
	t.Cleanup(stop)

	// The binary that the page names is where it says, for those who stand
	// beside it.
	bin := t.TempDir()
	if err := os.Symlink(binaryPath(t, buildRelease), filepath.Join(bin, "holdd")); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(6 * time.Hour).Truncate(time.Second)
	zone := time.FixedZone("", 3600)
	env := func(pi string) []string {
		return []string{"HOLDD_URL=" + r.url, "REDIS_URL=" + w.redis.URL(), "STRIPE_API_BASE=" +
			sim.url, "STRIPE_API_KEY=" + apiKey, secrets, "PI=" + pi,
			"AT=" + at.In(zone).Format(time.RFC3339)}
	}
	scheduled := func(pi, by string) {
		t.Helper()
		v := w.waitForState(r, pi, hold.Scheduled, processTimeout)
		if v.Reference != "BK-2071" || v.CaptureAt == nil || !v.CaptureAt.Equal(at) ||
			v.History[0].By != by {
			t.Errorf("%+v", v)
		}
	}
	newest := func() string {
		var all []stripesim.IntentState
		sim.callControl(http.MethodGet, "/_sim/intents", "", &all)
		return all[len(all)-1].ID
	}
	ran := map[string]int{}
	var due []string
	for _, s := range blocks {
		name := s.heading + ": " + s.language
		ran[name]++
		switch {
		case s.language == "": // to be read
		case name == "curl: sh", s.language == "python", s.language == "js", s.language == "go":
			pi := sim.authorizeHold()
			out := s.run(t, env(pi)...)
			if !strings.Contains(out, "scheduled") {
				t.Errorf("%s says %q", name, out)
			}
			scheduled(pi, "api")
			due = append(due, pi)
		case strings.HasPrefix(name, "Redis"):
			pi := sim.authorizeHold()
			s.run(t, env(pi)...)
			scheduled(pi, "inbox")
			due = append(due, pi)
		case strings.HasPrefix(name, "Stripe metadata") &&
			strings.Contains(s.text, "holdd reconcile"):
			// all that is changed: where make build has put it
			s.text = strings.ReplaceAll(s.text, ".build/", bin+"/")
			s.run(t, env("")...)
		case strings.HasPrefix(name, "Stripe metadata"):
			s.run(t, env("")...)
			scheduled(newest(), "stripe")
			due = append(due, newest())
		case strings.HasPrefix(name, "Authorizations") && strings.Contains(s.text, "/confirm"):
			a, err := r.client.Authorize(t.Context(), "readme-three-d-secure",
				newAuthorizeRequest("pm_card_threeDSecure2Required", at))
			if err != nil || a.Status != "requires_action" {
				t.Fatalf("%s %v", a.Status, err)
			}
			sim.callControl(http.MethodPost, "/_sim/dashboard/"+a.ID+"/complete_action", "", nil)
			s.run(t, env(a.ID)...)
			scheduled(a.ID, "api")
		case strings.HasPrefix(name, "Authorizations"):
			s.run(t, env("")...)
			s.run(t, env("")...) // a double click
			scheduled(newest(), "api")
			due = append(due, newest())
		case strings.HasPrefix(name, "Webhooks"):
			// that of its placing as well: a look that it asks for could meet
			// the capture first
			d.dropAll.Store(true)
			pi := sim.authorizeHold()
			w.scheduleAll(r, []hold.ScheduleRequest{{PaymentIntent: pi, CaptureAt: formatTime(at)}})
			sim.callControl(http.MethodPost, "/_sim/dashboard/"+pi+"/capture", `{}`, nil)
			if out := s.run(t, env(pi)...); !strings.Contains(out, `{"result":"queued"}`) {
				t.Errorf("%s says %q", name, out)
			}
			if v := w.waitForState(r, pi, hold.Captured, processTimeout); v.Cause != "elsewhere" {
				t.Errorf("%+v", v)
			}
		default:
			t.Errorf("nobody runs the block under %q in %q", s.heading, s.language)
		}
	}
	for name, n := range map[string]int{"curl: sh": 1, "Python: python": 1, "Node: js": 1,
		"Go: go": 1, "Redis inbox: sh": 1, "Webhooks: sh": 1,
		"Stripe metadata: sh": 2, "Authorizations: sh": 2} {
		if ran[name] != n {
			t.Errorf("%q was run %d times of %d: requests.md shows no such block", name, ran[name],
				n)
		}
	}
	if len(due) != 7 {
		t.Errorf("%d holds", len(due))
	}
	now := formatTime(afterNow(time.Second))
	for _, pi := range due {
		if _, err := r.client.Patch(t.Context(), pi, hold.Patch{CaptureAt: &now}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, pi := range due {
		w.waitForState(r, pi, hold.Captured, processTimeout)
	}
	checkNoErrorsLogged(t, r)
}

// TestReadme_WebhookEventsHandled sends each event that requests.md lists.
func TestReadme_WebhookEventsHandled(t *testing.T) {
	t.Parallel()
	var types []string
	for _, s := range readSnippets(t, requestsPage, "Sources") {
		if s.heading == "Webhooks" && s.language == "" {
			types = append(types, strings.Fields(s.text)...)
		}
	}
	if len(types) != 16 || !slices.Contains(types, "review.closed") {
		t.Fatalf("requests.md lists %v", types)
	}
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease), webhookSettings...)
	pi := w.authorizeHold(stripesim.Hold{Amount: 10_000})
	w.scheduleAll(
		r, []hold.ScheduleRequest{{PaymentIntent: pi, CaptureAt: formatTime(afterNow(time.Hour))}})
	objects := map[string]string{
		// the amount differs from the hold's, so the intent is read
		"payment_intent": `{"id":"` + pi + `","object":"payment_intent","status":"requires_capture",` +
			`"amount":10000,"amount_capturable":9000,"currency":"eur","created":1}`,
		"charge": `{"id":"ch_1","object":"charge","payment_intent":"` + pi + `"}`,
		"review": `{"id":"prv_1","object":"review","open":false,"reason":"approved","payment_intent":"` + pi + `"}`,
	}
	for i, typ := range append(types, "charge.refunded", "invoice.paid") {
		family, _, _ := strings.Cut(typ, ".")
		object := objects[family]
		if object == "" {
			object = `{}`
		}
		body := fmt.Appendf(
			nil, `{"id":"evt_%d","object":"event","type":%q,"created":1,"livemode":false,"data":{"object":%s}}`, i, typ, object)
		if family == "v1" {
			body = fmt.Appendf(nil, `{"id":"evt_%d","object":"v2.core.event","type":%q,`+
				`"created":"2026-01-01T00:00:00Z","livemode":false,`+
				`"related_object":{"id":%q,"type":"payment_intent"}}`, i, typ, pi)
		}
		status, text := postWebhook(t, r, body, stripesim.Sign(body, time.Now(), signingSecret))
		handled := strings.Contains(text, "queued") || strings.Contains(text, "changed") ||
			strings.Contains(text, "settled")
		if status != http.StatusOK || handled != (i < len(types)) {
			t.Errorf("%s: %d %s", typ, status, text)
		}
	}
}

// postWebhook posts a webhook and returns the answer.
func postWebhook(tb testing.TB, r *replica, body []byte, signature string) (int, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, r.url+
		api.WebhookPath, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Stripe-Signature", signature)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(b)
}
