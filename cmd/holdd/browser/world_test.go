package browser_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// Tokens of the tests. The simulator's holds are not real money.
const (
	operatorToken = "operator-token-of-the-browser-tests"
	secondToken   = "second-operator-of-the-browser-tests"
	readerToken   = "reader-token-of-the-browser-tests"
)

// world is a daemon with its Redis and its Stripe.
type world struct {
	t      *testing.T
	url    string
	sim    *stripesim.Sim
	client *api.Client
	// stripeURL serves the simulator's API, pages and script.
	stripeURL string
	holds     int
}

// worldOptions vary a world.
type worldOptions struct {
	tokens   bool     // visitors must sign in
	settings []string // as in the environment
	stripe   stripesim.Options
	doctor   func(context.Context) []console.DoctorCheck // nil: no checks
}

// startWorld starts a daemon that ends with the test.
func startWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	redis := miniredis.NewMiniRedis()
	redis.ClockTTL(true)
	if err := redis.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	w := &world{t: t}
	stripeMux := http.NewServeMux()
	stripe := httptest.NewServer(stripeMux)
	t.Cleanup(stripe.Close)
	w.stripeURL, o.stripe.PagesURL = stripe.URL, stripe.URL
	w.sim = stripesim.New(o.stripe)
	stripeMux.Handle("/", w.sim.Handler())
	stripeMux.Handle(stripesim.PagesPath, w.sim.PagesHandler())
	stripeMux.Handle("/v3/", w.sim.PagesHandler())
	env := append([]string{"STRIPE_API_KEY=sk_test_browser", "STRIPE_API_BASE=" + stripe.URL,
		"REDIS_URL=redis://" + redis.Addr() + "/0", "HOLDD_LISTEN=127.0.0.1:0",
		"HOLDD_ALERT_TIME_ZONE=Europe/Paris"}, o.settings...)
	token := ""
	if o.tokens {
		token = operatorToken
		path := filepath.Join(t.TempDir(), "tokens")
		lines := fmt.Sprintf("anna operate %s\nbert operate %s\nreader read %s\n",
			operatorToken, secondToken, readerToken)
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		env = append(env, "HOLDD_TOKENS_FILE="+path)
	}
	settings, err := config.Load(nil, env, "")
	if err != nil {
		t.Fatal(err)
	}
	w.run(daemon.Options{Settings: settings, Version: "test", Doctor: o.doctor,
		Logger: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))})
	if w.client, err = api.NewClient(w.url, token); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// run runs the daemon until the test ends.
func (w *world) run(o daemon.Options) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	o.Ready = func(url string) { ready <- url }
	go func() { ended <- daemon.Run(ctx, o) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the daemon ended with %v", err)
		}
	})
	select {
	case w.url = <-ready:
	case err := <-ended:
		ended <- nil
		w.t.Fatalf("the daemon did not start: %v", err)
	}
}

// schedule authorizes an amount and schedules its hold.
func (w *world) schedule(amount int64, req hold.ScheduleRequest) hold.View {
	w.t.Helper()
	id, err := w.sim.Authorize(stripesim.Hold{Amount: amount, Currency: "eur",
		PaymentMethod: "pm_card_visa"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.holds++
	req.PaymentIntent = id
	if req.Reference == "" {
		req.Reference = fmt.Sprintf("BK-%04d", 2000+w.holds)
	}
	v, _, err := w.client.Schedule(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// get returns a hold as the API shows it.
func (w *world) get(id string) hold.View {
	w.t.Helper()
	v, err := w.client.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// waitForRead waits until holds are read at Stripe: until then their amounts are
// unknown.
func (w *world) waitForRead(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		storetest.WaitUntil(w.t, stateTimeout, "the holds are read", func() bool {
			return w.get(id).Verified
		})
	}
}

// stateTimeout bounds how long a hold may take to get into a state.
const stateTimeout = time.Minute

// waitForState waits until a hold has a state.
func (w *world) waitForState(id, state string) hold.View {
	w.t.Helper()
	for end := time.Now().Add(stateTimeout); ; time.Sleep(50 * time.Millisecond) {
		v := w.get(id)
		if v.State == state {
			return v
		}
		if time.Now().After(end) {
			w.t.Fatalf("hold %s is %s (%s), want %s", id, v.State, v.Cause, state)
		}
	}
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }

// page requests a page as a browser without a session does.
func (w *world) page(path string) *http.Response {
	w.t.Helper()
	r, err := http.Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.Body.Close() })
	return r
}
