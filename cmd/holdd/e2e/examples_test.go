package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
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
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
)

const callbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"

// maxExampleLines bounds an example: it is read before it is copied.
const maxExampleLines = 200

// exampleServices are the booking services of deploy/examples. build makes what
// start runs; it returns the command.
var exampleServices = map[string]struct {
	file  string
	build func(t *testing.T, dir string) []string
}{
	"booking-go": {"main.go", func(t *testing.T, dir string) []string {
		bin := filepath.Join(t.TempDir(), "booking")
		runIn(t, dir, "go", "build", "-o", bin, ".")
		return []string{bin}
	}},
	"booking-python": {"booking.py", func(*testing.T, string) []string {
		return []string{"python3", "-B", "booking.py"}
	}},
	"booking-node": {"booking.ts", func(t *testing.T, dir string) []string {
		work := t.TempDir() // the tree gets no node_modules
		for _, name := range []string{"booking.ts", "package.json", "package-lock.json",
			"tsconfig.json"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(work, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		runIn(t, work, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		runIn(t, work, "npm", "run", "build")
		return []string{"node", filepath.Join(work, "dist", "booking.js")}
	}},
}

// exampleService is a running example.
type exampleService struct {
	t   *testing.T
	url string
}

// exampleBooking is what an example shows of a booking.
type exampleBooking struct {
	Status, Hold, Message string
	Captured              int64
	ClientSecret          string `json:"client_secret"`
}

func startExample(t *testing.T, dir string, command []string, holddURL string) *exampleService {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd, out := exec.Command(command[0], command[1:]...), &lockedBuffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = dir, out, out, ownProcess()
	cmd.Env = append(os.Environ(), "HOLDD_URL="+holddURL, "LISTEN="+address,
		"HOLDD_CALLBACK_SECRET="+callbackSecret)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // one that has ended shows below
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", command[0], out.String())
		}
	})
	storetest.WaitUntil(t, processTimeout, "the example listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return &exampleService{t, "http://" + address}
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
			dir := filepath.Join(moduleRoot, "deploy/examples", name)
			text := read(t, filepath.Join("deploy/examples", name, example.file))
			if n := strings.Count(text, "\n"); n > maxExampleLines {
				t.Errorf("%s has %d lines, want %d at most", example.file, n, maxExampleLines)
			}
			testExample(t, "deploy/examples/"+name, dir, example.build(t, dir))
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

// lossyProxy passes requests on to holdd, and loses the answer to the first
// authorization.
type lossyProxy struct {
	*httputil.ReverseProxy
	lost atomic.Bool
}

func (p *lossyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/authorizations" && p.lost.CompareAndSwap(false, true) {
		p.ReverseProxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler) // closes the connection
	}
	p.ReverseProxy.ServeHTTP(w, r)
}

func startLossyProxy(t *testing.T, to string) (address string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	// Rewrite adds no X-Forwarded-For, with which holdd refuses requests.
	p := &lossyProxy{ReverseProxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		server.Close()
		if !p.lost.Load() {
			t.Error("no answer was lost")
		}
	})
	return server.URL
}

// startExampleWithHoldd starts holdd and an example that sends to each other.
func startExampleWithHoldd(
	t *testing.T, dir string, command []string,
) (w *world, s *exampleService) {
	w = newWorld(t, unlimitedStripeOptions)
	var forwarder callbackForwarder
	server := httptest.NewServer(&forwarder)
	t.Cleanup(server.Close)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_CALLBACK_URL="+
		server.URL+"/holdd-events", "HOLDD_CALLBACK_SECRET="+callbackSecret)
	s = startExample(t, dir, command, startLossyProxy(t, r.url))
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	forwarder.to.Store(to)
	return w, s
}

// testExample uses the example of a folder of deploy/examples.
func testExample(t *testing.T, page, dir string, command []string) {
	w, s := startExampleWithHoldd(t, dir, command)
	// The answer is lost, and the repeat has the same key.
	held := s.card("BK-1", "pm_card_visa")
	if held.Status != "held" || !strings.HasPrefix(held.Hold, "pi_") {
		t.Fatalf("%+v", held)
	}
	if again := s.card("BK-1", "pm_card_visa"); again.Hold != held.Hold {
		t.Errorf("a second click authorizes again: %+v", again)
	}
	s.send(http.MethodPost, "/bookings/BK-1/capture", `{"amount":9900}`)
	if b := s.waitForStatus("BK-1", "captured"); b.Captured != 9900 {
		t.Errorf("%+v", b)
	}

	if b := s.card("BK-2", "pm_card_chargeCustomerFail"); b.Status != "declined" || b.Message == "" {
		t.Errorf("%+v", b)
	}
	if b := s.card("BK-2", "pm_card_mastercard"); b.Status != "held" {
		t.Errorf("another card: %+v", b)
	}
	s.send(http.MethodPost, "/bookings/BK-2/cancel", `{}`)
	s.waitForStatus("BK-2", "canceled")

	b := s.card("BK-3", "pm_card_threeDSecure2Required")
	if b.Status != "requires_action" || b.ClientSecret == "" {
		t.Fatalf("%+v", b)
	}
	if err := w.sim.Dashboard().CompleteAction(b.Hold); err != nil {
		t.Fatal(err)
	}
	if b := s.send(http.MethodPost, "/bookings/BK-3/card", `{}`); b.Status != "held" {
		t.Errorf("after the bank's dialog: %+v", b)
	}

	_, snippet, _ := strings.Cut(read(t, filepath.Join(page, "README.md")), "\n```sh\n")
	snippet, _, _ = strings.Cut(snippet, "```")
	snippet = strings.ReplaceAll(snippet, "http://127.0.0.1:3000", s.url)
	readmeSnippet{page, "sh", snippet}.run(t)
	if b := s.waitForStatus("BK-2071", "captured"); b.Captured != 9900 {
		t.Errorf("the commands of the README: %+v", b)
	}
	if n := len(w.ledgerOf(stripesim.EffectAuthorized)); n != 4 {
		t.Errorf("%d authorizations for four bookings", n)
	}
	checkSignatures(t, s, held.Hold)
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

// checkSignatures posts callbacks that holdd did not send, or did not send now.
func checkSignatures(t *testing.T, s *exampleService, holdID string) {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"type":"hold.canceled","data":{"hold":{"id":"` + holdID +
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
		"forged":      s.postEvent("evt_1", now, "v1,"+strings.Repeat("A", 43)+"=", body),
		"another id":  s.postEvent("evt_2", now, sign("evt_1", now), body),
		"changed":     s.postEvent("evt_1", now, sign("evt_1", now), body+" "),
		"an hour old": s.postEvent("evt_1", old, sign("evt_1", old), body),
		"unsigned":    s.postEvent("evt_1", now, "", body),
	} {
		if status != http.StatusUnauthorized {
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
	body = string(bytes.ReplaceAll([]byte(body), []byte("canceled"), []byte("captured")))
	if status := s.postEvent("evt_1", now, sign("evt_1", now), body); status/100 != 2 {
		t.Errorf("a repeat: %d", status)
	}
	if b := s.send(http.MethodGet, "/bookings/BK-1", ""); b.Status != "canceled" {
		t.Errorf("an id counts twice: %+v", b)
	}
}
