package e2e_test

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
)

const callbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"

// maxExampleLines bounds an example: it is read before it is copied.
const maxExampleLines = 215

// exampleServices are the booking services of deploy/examples: their files, and
// the commands with which their READMEs start them.
var exampleServices = map[string]struct{ file, start string }{
	"booking-go":     {"main.go", "./booking"},
	"booking-python": {"booking.py", "python3 booking.py"},
	"booking-node":   {"booking.ts", "node dist/booking.js"},
}

// readExampleSnippets returns what the README of an example runs: how to copy it
// with its client, and requests to it.
func readExampleSnippets(t *testing.T, page, start string) (install, requests string) {
	t.Helper()
	text := read(t, filepath.Join(page, "README.md"))
	if !strings.Contains(text, "\n"+start+"\n") {
		t.Errorf("%s does not start %s", page, start)
	}
	blocks := strings.Split(text, "\n```sh\n")
	if len(blocks) != 3 {
		t.Fatalf("%s has %d snippets, want 2", page, len(blocks)-1)
	}
	install, _, _ = strings.Cut(blocks[1], "```")
	requests, _, _ = strings.Cut(blocks[2], "```")
	return install, requests
}

// installExample copies an example with its client as the README says, and
// returns the folder. Only npm may use the network.
func installExample(t *testing.T, page, install string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "hotel")
	install = strings.NewReplacer("../hotel", dir, "../holdd", absolutePath(t)).Replace(install)
	readmeSnippet{page, "sh", install}.run(t, "GOPROXY=off", "npm_config_audit=false",
		"npm_config_fund=false", "npm_config_update_notifier=false")
	return dir
}

// exampleService is a running example.
type exampleService struct {
	t    *testing.T
	url  string
	kill func()
}

// exampleBooking is what an example shows of a booking.
type exampleBooking struct {
	Status, Hold, Message string
	Captured              int64
	ClientSecret          string `json:"client_secret"`
}

// testMissingSecret starts an example without its secret: one line says so.
func testMissingSecret(t *testing.T, dir, start string) {
	t.Helper()
	command := strings.Fields(start)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOLDD_URL=http://127.0.0.1:1", "LISTEN=127.0.0.1:0",
		"HOLDD_CALLBACK_SECRET=")
	out, err := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(out)); err == nil || strings.Contains(text, "\n") ||
		!strings.HasSuffix(text, "HOLDD_CALLBACK_SECRET is not set: see README.md") {
		t.Errorf("without the secret: %v\n%s", err, text)
	}
}

func startExample(t *testing.T, dir, start, holddURL string) *exampleService {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	command, out := strings.Fields(start), &lockedBuffer{}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = dir, out, out, ownProcess()
	cmd.Env = append(os.Environ(), "HOLDD_URL="+holddURL, "LISTEN="+address,
		"HOLDD_CALLBACK_SECRET="+callbackSecret)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &exampleService{t: t, url: "http://" + address, kill: sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // one that has ended shows below
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", start, out.String())
		}
	})}
	t.Cleanup(s.kill)
	storetest.WaitUntil(t, processTimeout, "the example listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return s
}

func (s *exampleService) send(method, path, body string) (b exampleBooking) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path,
		strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(text, &b) != nil {
		s.t.Fatalf("%s %s: %s %s %v", method, path, res.Status, text, err)
	}
	return b
}

func (s *exampleService) card(reference, method string) exampleBooking {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"payment_method": method, "amount": 12500,
		"currency": "eur", "checkout_at": formatTime(afterNow(48 * time.Hour))})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.send(http.MethodPost, "/bookings/"+reference+"/card", string(body))
}

func (s *exampleService) waitForStatus(reference, status string) (b exampleBooking) {
	s.t.Helper()
	storetest.WaitUntil(s.t, processTimeout, reference+" is "+status, func() bool {
		b = s.send(http.MethodGet, "/bookings/"+reference, "")
		return b.Status == status
	})
	return b
}

// postEvent posts a callback and returns the status of the answer.
func (s *exampleService) postEvent(id string, at time.Time, signature, body string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/holdd-events",
		strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// TestExamples runs each booking service of deploy/examples with the built
// binary, a real Redis and the simulator.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, example := range exampleServices {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := filepath.Join("deploy/examples", name)
			text := read(t, filepath.Join(page, example.file))
			if n := strings.Count(text, "\n"); n > maxExampleLines {
				t.Errorf("%s has %d lines, want %d at most", example.file, n, maxExampleLines)
			}
			install, requests := readExampleSnippets(t, page, example.start)
			dir := installExample(t, page, install)
			testMissingSecret(t, dir, example.start)
			e := startExampleWorld(t, dir, example.start)
			held := e.testBookings(t)
			e.testReadme(t, page, requests)
			if n := len(e.ledgerOf(stripesim.EffectAuthorized)); n != 4 {
				t.Errorf("%d authorizations for four bookings", n)
			}
			event := checkSignatures(t, e.exampleService, held.Hold)
			e.testRepeatedEvent(t, event)
			e.testUnreadableBooking(t)
			e.testRestart(t)
			e.testRepeatedEvent(t, event)
		})
	}
}

// callbackForwarder passes holdd's callbacks on to an example, once it runs.
type callbackForwarder struct{ to atomic.Pointer[url.URL] }

func (f *callbackForwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := f.to.Load()
	if to == nil {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
}

// lossyProxy passes requests on to holdd. It loses the answer to the first
// authorization, cuts off the answer to the first capture, and loses all answers
// to requests with the key lost.
type lossyProxy struct {
	proxy *httputil.ReverseProxy
	url   string
	lost  atomic.Value // of string

	mu   sync.Mutex
	keys map[string][]string // of requests, by path
}

func (p *lossyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, key := r.URL.Path, r.Header.Get("Idempotency-Key")
	p.mu.Lock()
	p.keys[path] = append(p.keys[path], key)
	isFirst := len(p.keys[path]) == 1
	p.mu.Unlock()
	answer := httptest.NewRecorder()
	switch {
	case key == p.lost.Load(), path == "/v1/authorizations" && isFirst:
		p.proxy.ServeHTTP(answer, r)
	case strings.HasSuffix(path, "/capture") && isFirst:
		p.proxy.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2]) // the caller repeats
	default:
		p.proxy.ServeHTTP(w, r)
		return
	}
	panic(http.ErrAbortHandler) // closes the connection
}

func startLossyProxy(t *testing.T, to string) *lossyProxy {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	// Rewrite adds no X-Forwarded-For, with which holdd refuses requests.
	p := &lossyProxy{keys: map[string][]string{}, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}}
	p.lost.Store("none")
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// checkRepeated checks that the first request to a path was repeated once with
// its key.
func (p *lossyProxy) checkRepeated(t *testing.T, path string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.keys[path]; len(k) < 2 || k[0] == "" || k[0] != k[1] {
		t.Errorf("keys of %s: %q", path, k)
	}
}

// exampleWorld is holdd and an example that send to each other.
type exampleWorld struct {
	*world
	*exampleService
	dir       string // of the example
	network   *lossyProxy
	callbacks callbackForwarder
	restart   func() *exampleService
}

func startExampleWorld(t *testing.T, dir, start string) *exampleWorld {
	t.Helper()
	e := &exampleWorld{world: newWorld(t, unlimitedStripeOptions), dir: dir}
	server := httptest.NewServer(&e.callbacks)
	t.Cleanup(server.Close)
	r := e.startReplica(binaryPath(t, buildRelease), "HOLDD_CALLBACK_URL="+
		server.URL+"/holdd-events", "HOLDD_CALLBACK_SECRET="+callbackSecret)
	e.network = startLossyProxy(t, r.url)
	e.restart = func() *exampleService { return startExample(t, dir, start, e.network.url) }
	e.exampleService = e.restart()
	to, err := url.Parse(e.exampleService.url)
	if err != nil {
		t.Fatal(err)
	}
	e.callbacks.to.Store(to)
	return e
}

// testBookings captures a booking, which it returns, cancels another one, and
// authorizes a third after the bank's dialog.
func (e *exampleWorld) testBookings(t *testing.T) exampleBooking {
	t.Helper()
	held := e.card("BK-1", "pm_card_visa")
	if held.Status != "authorized" || !strings.HasPrefix(held.Hold, "pi_") {
		t.Fatalf("%+v", held)
	}
	e.network.checkRepeated(t, "/v1/authorizations")
	if again := e.card("BK-1", "pm_card_visa"); again.Hold != held.Hold {
		t.Errorf("a second click authorizes again: %+v", again)
	}
	b := e.send(http.MethodPost, "/bookings/BK-1/capture", `{"amount":9900}`)
	if b.Message != "" {
		t.Errorf("%+v", b)
	}
	e.network.checkRepeated(t, "/v1/holds/"+held.Hold+"/capture")
	if b := e.waitForStatus("BK-1", "captured"); b.Captured != 9900 {
		t.Errorf("%+v", b)
	}

	b = e.card("BK-2", "pm_card_chargeCustomerFail")
	if b.Status != "declined" || b.Message == "" {
		t.Errorf("%+v", b)
	}
	if b := e.card("BK-2", "pm_card_mastercard"); b.Status != "authorized" {
		t.Errorf("another card: %+v", b)
	}
	e.send(http.MethodPost, "/bookings/BK-2/cancel", `{}`)
	e.waitForStatus("BK-2", "canceled")

	if b := e.card("BK-3", ""); b.Status != "refused" || b.Message == "" {
		t.Errorf("no card: %+v", b)
	}
	b = e.card("BK-3", "pm_card_threeDSecure2Required")
	if b.Status != "requires_action" || b.ClientSecret == "" {
		t.Fatalf("%+v", b)
	}
	if b := e.send(http.MethodGet, "/bookings/BK-3", ""); b.ClientSecret != "" {
		t.Errorf("the client secret is stored: %+v", b)
	}
	if err := e.sim.Dashboard().CompleteAction(b.Hold); err != nil {
		t.Fatal(err)
	}
	if b := e.send(http.MethodPost, "/bookings/BK-3/card", `{}`); b.Status != "authorized" {
		t.Errorf("after the bank's dialog: %+v", b)
	}
	return held
}

// testReadme sends the requests of the README.
func (e *exampleWorld) testReadme(t *testing.T, page, requests string) {
	t.Helper()
	requests = strings.ReplaceAll(requests, "http://127.0.0.1:3000", e.exampleService.url)
	readmeSnippet{page, "sh", requests}.run(t)
	if b := e.waitForStatus("BK-2071", "captured"); b.Captured != 9900 {
		t.Errorf("the commands of the README: %+v", b)
	}
}

// testUnreadableBooking asks for a booking that the example cannot read. The answer says so, and no
// card is authorized, because the booking may have had an attempt.
func (e *exampleWorld) testUnreadableBooking(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(e.dir, "bookings", "BAD-1.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := len(e.ledgerOf(stripesim.EffectAuthorized))
	for path, body := range map[string]string{
		"/bookings/BAD-1":      "",
		"/bookings/BAD-1/card": `{"payment_method":"pm_card_visa","amount":12500,"currency":"eur"}`,
	} {
		method := http.MethodPost
		if body == "" {
			method = http.MethodGet
		}
		req, err := http.NewRequestWithContext(t.Context(), method, e.exampleService.url+path,
			strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			continue
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusInternalServerError || len(text) == 0 {
			t.Errorf("%s %s: %s %s %v", method, path, res.Status, text, err)
		}
	}
	if n := len(e.ledgerOf(stripesim.EffectAuthorized)) - before; n != 0 {
		t.Errorf("%d authorizations of a booking that cannot be read", n)
	}
}

// testRestart kills the example while the outcome of an authorization is
// unknown to it. The next click finds it, although it names another card.
func (e *exampleWorld) testRestart(t *testing.T) {
	t.Helper()
	e.callbacks.to.Store(nil) // a callback would tell
	before := len(e.ledgerOf(stripesim.EffectAuthorized))
	e.network.lost.Store("BK-4-card-1")
	if b := e.card("BK-4", "pm_card_visa"); b.Status != "pending" || b.Message == "" {
		t.Errorf("without an answer: %+v", b)
	}
	e.kill()
	e.exampleService = e.restart()
	e.network.lost.Store("none")
	if b := e.card("BK-4", "pm_card_mastercard"); b.Status != "authorized" {
		t.Errorf("after the restart: %+v", b)
	}
	if n := len(e.ledgerOf(stripesim.EffectAuthorized)) - before; n != 1 {
		t.Errorf("%d authorizations for one booking", n)
	}
}

// testRepeatedEvent posts an event again that was applied before.
func (e *exampleWorld) testRepeatedEvent(t *testing.T, event func(*exampleService) int) {
	t.Helper()
	if status := event(e.exampleService); status/100 != 2 {
		t.Errorf("a repeat: %d", status)
	}
	if b := e.send(http.MethodGet, "/bookings/BK-1", ""); b.Status != "canceled" {
		t.Errorf("an id counts twice: %+v", b)
	}
}

// ledgerOf returns the effects of one kind.
func (w *world) ledgerOf(kind stripesim.EffectKind) (out []stripesim.Effect) {
	for _, e := range w.sim.Ledger() {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// checkSignatures posts callbacks that holdd did not send, or did not send now,
// and one that cancels BK-1. It returns a function that posts its id again, with
// another state.
func checkSignatures(
	t *testing.T, s *exampleService, holdID string,
) (repeat func(*exampleService) int) {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"id":"evt_1","type":"hold.canceled","data":{"hold":{"id":"` + holdID +
		`","reference":"BK-1","state":"canceled"}}}`
	sign := func(id string, at time.Time) string {
		signature, err := hook.Sign(id, at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	now := time.Now()
	old := now.Add(-time.Hour)
	for name, status := range map[string]int{
		"forged":           s.postEvent("evt_1", now, "v1,"+strings.Repeat("A", 43)+"=", body),
		"another id":       s.postEvent("evt_2", now, sign("evt_1", now), body),
		"an event renamed": s.postEvent("evt_2", now, sign("evt_2", now), body),
		"changed":          s.postEvent("evt_1", now, sign("evt_1", now), body+" "),
		"an hour old":      s.postEvent("evt_1", old, sign("evt_1", old), body),
		"unsigned":         s.postEvent("evt_1", now, "", body),
	} {
		if status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, status)
		}
	}
	if b := s.waitForStatus("BK-1", "captured"); b.Captured != 9900 {
		t.Errorf("a forged callback counts: %+v", b)
	}
	both := "v1,bm90IHRoaXMgb25l " + sign("evt_1", now) // of two secrets, while one is rotated
	if status := s.postEvent("evt_1", now, both, body); status/100 != 2 {
		t.Errorf("a valid callback: %d", status)
	}
	s.waitForStatus("BK-1", "canceled")
	body = strings.ReplaceAll(body, "canceled", "captured")
	return func(s *exampleService) int {
		return s.postEvent("evt_1", now, sign("evt_1", now), body)
	}
}
