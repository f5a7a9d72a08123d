package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(usageError)):
		fmt.Fprintln(os.Stderr, "stripesim:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "stripesim:", err)
		os.Exit(1)
	}
}

// usageError is a setting that cannot be used.
type usageError string

func (e usageError) Error() string { return string(e) }

const webhookSecretsEnv = "STRIPESIM_WEBHOOK_SECRETS"

// run is the whole program; it returns when ctx ends.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("stripesim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	listen := fs.String("listen", "127.0.0.1:12111", "address to listen on")
	seed := fs.Uint64("seed", 1, "seed of ids and of faults by probability")
	rate := fs.Float64("rate", 25,
		"calls a second for each account and endpoint; negative: no limit")
	overall := fs.Float64("overall-rate", 100,
		"calls a second for each account; negative: no limit")
	speed := fs.Float64("speed", 1, "how many seconds of the simulator's clock pass in one")
	clock := fs.Duration("clock-offset", 0,
		"the simulator's clock against the machine's at the start; negative: it is behind")
	deadline := fs.Duration("deadline", 0,
		"how long authorizations last; 0: as the card networks say")
	service := fs.Duration("service-time", 0, "how long a change holds its PaymentIntent's lock")
	account := fs.String("account", "", "the platform's account id; empty: made from the seed")
	url := fs.String("webhook-url", "",
		"where events are sent; empty: nowhere (they are at GET /v1/events anyway)")
	secretFile := fs.String("webhook-secret-file", "",
		"file with the webhook secrets, one a line; else "+webhookSecretsEnv+
			" in the environment, comma-separated")
	apiVersion := fs.String("webhook-api-version", stripesim.APIVersion, "api_version of events")
	verbose := fs.Bool("verbose", false, "log every call")
	fs.Usage = func() {
		fmt.Fprintln(stderr,
			"stripesim is a stateful stand-in for Stripe's API, for tests. It moves no money and takes no live key.\n\nFlags:")
		fs.PrintDefaults()
		fmt.Fprint(stderr, "\n"+stripesim.ControlHelp)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError(err.Error())
	}
	if fs.NArg() > 0 {
		return usageError(fmt.Sprintf("%q is not a flag; everything is set by flags, see --help",
			fs.Arg(0)))
	}
	if *speed <= 0 {
		return usageError("--speed must be above 0")
	}
	var secrets []string
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if stripesim.IsLiveKey(value) {
			return usageError("the environment variable " + name +
				" holds a LIVE Stripe key. Unset it: a simulator has no business near it")
		}
		if name == webhookSecretsEnv {
			secrets = splitNonEmpty(value, ",")
		}
	}
	if *secretFile != "" {
		b, err := os.ReadFile(*secretFile)
		if err != nil {
			return usageError("--webhook-secret-file: " + err.Error())
		}
		secrets = splitNonEmpty(string(b), "\n")
	}
	for _, s := range append(secrets, args...) {
		_, value, _ := strings.Cut(s, "=")
		if stripesim.IsLiveKey(s) || stripesim.IsLiveKey(value) {
			return usageError("a LIVE Stripe key was given. A simulator has no business near it")
		}
	}
	if *url != "" && len(secrets) == 0 {
		return usageError("--webhook-url needs a secret to sign with: set " + webhookSecretsEnv +
			" or --webhook-secret-file")
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	o := stripesim.Options{
		Seed: *seed, EndpointRate: *rate, OverallRate: *overall, Speed: *speed, ClockOffset: *clock,
		ServiceTime: *service, Account: *account,
		Webhook: stripesim.Webhook{URL: *url, Secrets: secrets, APIVersion: *apiVersion},
		Logger:  slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
	}
	if *deadline > 0 {
		o.AuthorizationWindow = func(stripesim.Card) time.Duration { return *deadline }
	}
	sim := stripesim.New(o)
	return serve(ctx, sim, *listen, stdout, stderr)
}

func splitNonEmpty(s, sep string) []string {
	var out []string
	for _, p := range strings.Split(s, sep) {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// shutdownTimeout is how long calls under way may take to end.
const shutdownTimeout = 5 * time.Second

func serve(
	ctx context.Context, sim *stripesim.Sim, address string, stdout, stderr io.Writer,
) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", sim.Handler())
	mux.Handle("/_sim/", sim.ControlHandler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(stderr, nil), slog.LevelWarn)}
	fmt.Fprintf(stdout,
		"stripesim: a SIMULATOR of Stripe (no money moves, livemode is always false)\n"+
			"stripesim: API http://%s  control http://%s/_sim/  account %s  API version %s\n",
		l.Addr(),
		l.Addr(), sim.Account(), stripesim.APIVersion)

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { sim.Run(ctx) })
	failed := make(chan error, 1)
	wg.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	end, done := context.WithTimeout(context.Background(), shutdownTimeout)
	defer done()
	if server.Shutdown(end) != nil {
		server.Close()
	}
	wg.Wait()
	printSummary(sim, stdout)
	return err
}

func printSummary(sim *stripesim.Sim, w io.Writer) {
	st := sim.Stats()
	var calls int64
	for _, n := range st.Calls {
		calls += n
	}
	fmt.Fprintf(
		w, "stripesim: %d calls, %d replayed, %d rate-limited, %d lock timeouts, %d webhooks sent\n", calls, st.Replayed, st.RateLimited, st.LockTimeouts, st.WebhooksSent)
	for _, t := range sim.Totals() {
		fmt.Fprintf(
			w, "stripesim: %s (minor units) authorized %d = captured %d + released %d + expired %d + held %d\n",
			t.Currency, t.Authorized, t.Captured, t.Released, t.Expired, t.Held)
	}
}
