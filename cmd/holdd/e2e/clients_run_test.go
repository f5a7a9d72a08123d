package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdd/holdd/worker/stripesim"
)

const clientCallbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"

// TestClients_AgainstBinary runs the example of each client: it schedules,
// lists, is refused, captures, and receives the callback. The first answer to
// the schedule request is 503, and that to the capture is lost.
func TestClients_AgainstBinary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reference string
		command         func(t *testing.T) *exec.Cmd
	}{
		{"typescript", "TS-2071", func(t *testing.T) *exec.Cmd {
			dir := copyTypeScriptClient(t)
			runIn(t, dir, clientTool(t, "tsc"))
			return exec.CommandContext(t.Context(), "node", filepath.Join(dir, "dist/example.js"))
		}},
		{"python", "PY-2071", func(t *testing.T) *exec.Cmd {
			return exec.CommandContext(t.Context(), "python3", "-B",
				absolutePath(t, clientsFolder, "python/example.py"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) { runClientExample(t, c.reference, c.command(t)) })
	}
}

func runClientExample(t *testing.T, reference string, cmd *exec.Cmd) {
	w := newWorld(t, stripesim.Options{Seed: 9})
	tokens := filepath.Join(t.TempDir(), "tokens")
	token := "booking-token-of-the-clients-tests"
	line := []byte("booking operate " + token + "\n")
	if err := os.WriteFile(tokens, line, 0o600); err != nil {
		t.Fatal(err)
	}
	out := &lockedBuffer{}
	relay := &callbackRelay{t: t, program: out}
	receiver := httptest.NewServer(relay)
	t.Cleanup(receiver.Close)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_CALLBACK_URL="+receiver.URL,
		"HOLDD_CALLBACK_SECRET="+clientCallbackSecret, "HOLDD_TOKENS_FILE="+tokens)
	network := newUnreliableProxy(t, r.url)
	b := w.authorizeBookings(1)[0]
	cmd.Env = append(os.Environ(), "HOLDD_URL="+network.url, "HOLDD_TOKEN="+token,
		"HOLDD_CALLBACK_SECRET="+clientCallbackSecret, "PI="+b.id,
		"AT="+formatTime(time.Now().Add(time.Hour)))
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, ownProcess()
	cmd.WaitDelay = processTimeout
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	_, got, _ := strings.Cut(out.String(), "\n") // after the line with the port
	want := fmt.Sprintf("scheduled scheduled %d\nlisted %s\nrefused 409 hold_exists %s\ncaptured %s\n",
		b.amount, reference, "https://github.com/holdd/holdd/blob/main/deploy/docs/errors.md#hold_exists",
		reference)
	if got != want {
		t.Errorf("the example printed\n%swant\n%s", got, want)
	}
	network.check(t, reference)
	relay.check(t)
	if n := w.countCaptures(); n != 1 {
		t.Errorf("%d captures", n)
	}
	for _, e := range w.sim.Ledger() {
		if e.Kind == stripesim.EffectCaptured && e.Amount != 9900 {
			t.Errorf("captured %d", e.Amount)
		}
	}
}

// unreliableProxy answers the first schedule request with 503, and loses the
// response to the first capture.
type unreliableProxy struct {
	url   string
	proxy *httputil.ReverseProxy

	mu   sync.Mutex
	keys map[string][]string // Idempotency-Key of the POSTs to a path
}

func newUnreliableProxy(t *testing.T, holddURL string) *unreliableProxy {
	t.Helper()
	target, err := url.Parse(holddURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &unreliableProxy{keys: map[string][]string{}, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// ServeHTTP implements [http.Handler].
func (p *unreliableProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	if r.Method == http.MethodPost {
		p.keys[r.URL.Path] = append(p.keys[r.URL.Path], r.Header.Get("Idempotency-Key"))
	}
	isFirst := len(p.keys[r.URL.Path]) == 1
	p.mu.Unlock()
	switch {
	case isFirst && r.URL.Path == "/v1/holds" && r.Method == http.MethodPost:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	case isFirst && strings.HasSuffix(r.URL.Path, "/capture"):
		p.proxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler) // closes the connection
	default:
		p.proxy.ServeHTTP(w, r)
	}
}

// check checks that repeated requests kept their keys.
func (p *unreliableProxy) check(t *testing.T, reference string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	schedule := p.keys["/v1/holds"] // repeated, and then the one that is refused
	if len(schedule) != 3 || schedule[0] == "" || schedule[0] != schedule[1] ||
		schedule[1] == schedule[2] {
		t.Errorf("keys of schedule requests: %v", schedule)
	}
	capture := p.keys["/v1/holds/"+reference+"/capture"]
	if len(capture) != 2 || capture[0] == "" || capture[0] != capture[1] {
		t.Errorf("keys of captures: %v", capture)
	}
}

// callbackRelay passes callbacks to the program. Before the first one it sends
// some that holdd did not send.
type callbackRelay struct {
	t       *testing.T
	program *lockedBuffer // its output, with its port

	mu     sync.Mutex
	forged bool
	passed int
}

var listeningPattern = regexp.MustCompile(`(?m)^listening (\d+)$`)

// ServeHTTP implements [http.Handler].
func (c *callbackRelay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	port := listeningPattern.FindStringSubmatch(c.program.String())
	if port == nil {
		// An event of holdd's start may come before the program listens.
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	to := "http://127.0.0.1:" + port[1]
	if !c.forged {
		c.forged = true
		c.sendForgeries(to, body, r.Header)
	}
	// While a secret is changed there are several signatures.
	h := r.Header.Clone()
	h.Set("Webhook-Signature", "v1,AAAA v2,x "+h.Get("Webhook-Signature"))
	status := c.send(to, body, h)
	c.passed++
	w.WriteHeader(status)
}

func (c *callbackRelay) sendForgeries(to string, body []byte, genuine http.Header) {
	hook, err := standardwebhooks.NewWebhook(clientCallbackSecret)
	if err != nil {
		c.t.Fatal(err)
	}
	other, err := standardwebhooks.NewWebhook("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		c.t.Fatal(err)
	}
	id := genuine.Get("Webhook-Id")
	signed := func(by *standardwebhooks.Webhook, id string, at time.Time) http.Header {
		signature, err := by.Sign(id, at, body)
		if err != nil {
			c.t.Error(err)
		}
		h := genuine.Clone()
		h.Set("Webhook-Id", id)
		h.Set("Webhook-Timestamp", fmt.Sprint(at.Unix()))
		h.Set("Webhook-Signature", signature)
		return h
	}
	unsigned := genuine.Clone()
	unsigned.Del("Webhook-Signature")
	changed := bytes.Replace(body, []byte(`"amount":`), []byte(`"amount":1`), 1)
	for what, f := range map[string]struct {
		body   []byte
		header http.Header
	}{
		"another body":      {changed, genuine},
		"another secret":    {body, signed(other, id, time.Now())},
		"an old one":        {body, signed(hook, id, time.Now().Add(-6*time.Minute))},
		"one of the future": {body, signed(hook, id, time.Now().Add(6*time.Minute))},
		"another id":        {body, signed(hook, "evt_other", time.Now())},
		"no signature":      {body, unsigned},
	} {
		if status := c.send(to, f.body, f.header); status != http.StatusBadRequest {
			c.t.Errorf("%s: the program answered %d", what, status)
		}
	}
}

func (c *callbackRelay) send(to string, body []byte, h http.Header) int {
	req, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0
	}
	req.Header = h
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Error(err)
		return http.StatusBadGateway
	}
	res.Body.Close()
	return res.StatusCode
}

func (c *callbackRelay) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forged || c.passed < 2 {
		t.Errorf("%d callbacks passed", c.passed)
	}
}
