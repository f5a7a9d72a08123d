package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/zap"

	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	apiAddress = "127.0.0.1:8420"
	simAddress = "127.0.0.1:12111"
	// testKey is no secret: the simulator takes any key that starts so.
	testKey = "sk_test_holdd_dev"
	// simShutdownTimeout is how long a newcomer's request at the simulator may
	// take to end.
	simShutdownTimeout = 2 * time.Second
)

// Lengths of time in days: what the card networks, the hotel and the settings
// would have.
const (
	authorizationDays = 7.0
	shortDays         = 3.0 // an authorization in the stories about deadlines
	warnDays          = 2.0
	marginDays        = 1.0
)

// daysKey is the metadata by which the hotel tells the simulator how long an
// authorization lasts, in days.
const daysKey = "authorization_days"

// runDemo runs all parts until ctx or the time asked for ends, and tells
// whether the books agree with Stripe's ledger.
func runDemo(ctx context.Context, o options, stdout io.Writer) (agrees bool, err error) {
	day := func(days float64) time.Duration { return time.Duration(days * float64(o.dayLength)) }

	sim := stripesim.New(stripesim.Options{Seed: o.seed, AuthorizationWindow: func(
		c stripesim.Card) time.Duration {
		days, err := strconv.ParseFloat(c.Metadata[daysKey], 64)
		if err != nil || days <= 0 {
			days = authorizationDays
		}
		return day(days)
	}})
	simURL, stopSim, err := serveSim(sim)
	if err != nil {
		return false, err
	}
	defer stopSim()

	redis := miniredis.NewMiniRedis()
	redis.ClockTTL(true)
	if err := redis.StartAddr("127.0.0.1:0"); err != nil {
		return false, fmt.Errorf("the embedded Redis can't listen: %w", err)
	}
	defer redis.Close()

	t := newPrinter(stdout)
	b := newBookingLedger(sim, t)
	s, err := daemonSettings(o, simURL, redis.Addr())
	if err != nil {
		return false, err
	}
	stopDaemon, url, err := startDaemon(ctx, daemon.Options{
		Settings: s, Logger: zap.New(&logCore{ledger: b, printer: t}), Version: "dev",
		Transport: sim.Transport(),
	})
	if err != nil {
		return false, fmt.Errorf("holdd does not start: %w", err)
	}
	client, err := api.NewClient(url, "")
	if err != nil {
		return false, errors.Join(err, stopDaemon(nil))
	}
	defer client.Close()
	t.printBanner(o, serviceURLs{api: url, sim: simURL, redis: redis.Addr()})

	began := time.Now()
	open, stopClient := context.WithCancel(ctx)
	defer stopClient()
	if o.runFor > 0 {
		open, stopClient = context.WithTimeout(ctx, o.runFor)
		defer stopClient()
	}
	h := newDemoClient(o, sim, client, b, t)
	// A daemon that dies ends the show; the summary is told all the same.
	err = stopDaemon(func(died <-chan struct{}) {
		go func() {
			select {
			case <-died:
				stopClient()
			case <-open.Done():
			}
		}()
		h.run(open)
		t.printNote("the hotel closes; holdd finishes what is under way …")
	})
	lasted := time.Since(began)
	stopSim()
	agrees = b.printSummary(lasted)
	return agrees, err
}

// daemonSettings are those of the real daemon, given as an operator would, in
// the environment.
func daemonSettings(o options, simURL, redisAddress string) (*config.Settings, error) {
	s, err := config.Load(nil, []string{
		"STRIPE_API_KEY=" + testKey,
		"STRIPE_API_BASE=" + simURL,
		"REDIS_URL=redis://" + redisAddress + "/0",
		"HOLDD_LISTEN=" + addressOrFreePort(apiAddress),
	}, "")
	if err != nil {
		return nil, fmt.Errorf("the built-in settings are refused: %w", err)
	}
	// Real ones are a minute at least, since less leaves no time to act. Here a
	// day has seconds.
	s.ExpiryMargin = time.Duration(marginDays * float64(o.dayLength))
	s.AlertThresholds = []time.Duration{time.Duration(warnDays * float64(o.dayLength))}
	return s, nil
}

// startDaemon returns once the API is listened on. stop runs what is given,
// with a channel that closes should the daemon end meanwhile, then stops the
// daemon gracefully and returns its error.
func startDaemon(
	ctx context.Context, o daemon.Options,
) (stop func(meanwhile func(died <-chan struct{})) error, url string, err error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ready, died := make(chan string, 1), make(chan struct{})
	var ended error // written before died is closed
	o.Ready = func(url string) { ready <- url }
	go func() {
		defer close(died)
		ended = daemon.Run(running, o)
	}()
	select {
	case url = <-ready:
	case <-died:
		cancel()
		return nil, "", cmp.Or(ended, errors.New("it ended before it listened"))
	}
	return func(meanwhile func(<-chan struct{})) error {
		defer cancel()
		if meanwhile != nil {
			meanwhile(died)
		}
		cancel()
		<-died
		return ended
	}, url, nil
}

// serveSim puts the simulator on loopback, for people; stop may be called more
// than once.
func serveSim(sim *stripesim.Sim) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", simAddress)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", nil, fmt.Errorf("the simulator can't listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", sim.Handler())
	mux.Handle("/_sim/", sim.ControlHandler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { sim.Run(ctx) })
	wg.Go(func() { _ = server.Serve(l) }) // only people use it: without it the show goes on
	return "http://" + l.Addr().String(), sync.OnceFunc(func() {
		cancel()
		end, done := context.WithTimeout(context.Background(), simShutdownTimeout)
		defer done()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
		wg.Wait()
	}), nil
}

// addressOrFreePort is the address wanted, or one with any free port if
// somebody else has it.
func addressOrFreePort(wanted string) string {
	l, err := net.Listen("tcp", wanted)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return wanted
}
