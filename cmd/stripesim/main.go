package main

import (
	"cmp"
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
	"runtime/debug"
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

// usageError is an invalid flag or environment variable.
type usageError string

func (e usageError) Error() string { return string(e) }

const webhookSecretsEnv = "STRIPESIM_WEBHOOK_SECRETS"

// flags are the flags that become Options only after a check.
type flags struct {
	listen     string
	deadline   time.Duration
	secretFile string
	verbose    bool
	version    bool
}

// run parses the flags and serves a simulator until ctx ends, or runs scenarios.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "run" {
		return runScenarios(ctx, args[1:], env, stdout)
	}
	f, o, err := parseFlags(args, stdout)
	if err != nil {
		return err
	}
	if f.version {
		return printVersion(stdout)
	}
	if o.Webhook.Secrets, err = readWebhookSecrets(env, f.secretFile); err != nil {
		return err
	}
	if err := rejectLiveKeys(env, append(o.Webhook.Secrets, args...)); err != nil {
		return err
	}
	if o.Webhook.URL != "" && len(o.Webhook.Secrets) == 0 {
		return usageError("--webhook-url needs a signing secret: set " + webhookSecretsEnv +
			" or --webhook-secret-file")
	}
	if f.deadline > 0 {
		o.AuthorizationWindow = func(stripesim.Card) time.Duration { return f.deadline }
	}
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	o.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return serve(ctx, o, f.listen, stdout, stderr)
}

func parseFlags(args []string, stdout io.Writer) (f flags, o stripesim.Options, err error) {
	fs := flag.NewFlagSet("stripesim", flag.ContinueOnError)
	fs.StringVar(&f.listen, "listen", "127.0.0.1:12113", "address to listen on")
	fs.Uint64Var(&o.Seed, "seed", 1, "seed of ids and of faults by probability")
	fs.Float64Var(&o.EndpointRate, "rate", 25,
		"calls a second for each account and endpoint; negative: no limit")
	fs.Float64Var(&o.OverallRate, "overall-rate", 100,
		"calls a second for each account; negative: no limit")
	fs.Float64Var(&o.Speed, "speed", 1, "seconds of the simulator's clock in one real second")
	fs.DurationVar(&o.ClockOffset, "clock-offset", 0,
		"offset of the simulator's clock at the start; negative: it is behind")
	fs.DurationVar(&f.deadline, "deadline", 0,
		"how long authorizations last; 0: the card networks' windows")
	fs.StringVar(&o.ExpiryReason, "expiry-reason", "automatic",
		"cancellation_reason of an expired authorization; newer API versions have expired")
	fs.DurationVar(&o.ServiceTime, "service-time", 0,
		"how long a change holds its PaymentIntent's lock")
	fs.StringVar(&o.APIVersion, "api-version", stripesim.NewestAPIVersion,
		"API version of calls without Stripe-Version; the default is a new account's")
	fs.StringVar(&o.Account, "account", "", "the platform's account id; empty: made from the seed")
	fs.StringVar(&o.Webhook.URL, "webhook-url", "",
		"URL that receives events; empty: events are at GET /v1/events only")
	fs.StringVar(&f.secretFile, "webhook-secret-file", "",
		"file with the webhook secrets, one a line; default: "+webhookSecretsEnv+
			" in the environment, comma-separated")
	fs.StringVar(&o.Webhook.APIVersion, "webhook-api-version", stripesim.APIVersion,
		"api_version of events")
	fs.BoolVar(&o.Webhook.Thin, "webhook-thin", false,
		"send thin events, which name their object and do not contain it")
	fs.StringVar(&o.PagesURL, "pages-url", "",
		"where browsers reach the pages that Stripe hosts; empty: at the address of the API")
	fs.BoolVar(&f.verbose, "verbose", false, "log every call")
	fs.BoolVar(&f.version, "version", false, "print the version, and those of Stripe's API")
	fs.Usage = func() {
		fmt.Fprintln(stdout, "stripesim simulates Stripe's API for tests. It moves no money and"+
			" accepts no live key.\n`stripesim run FILE…` runs scenarios; see `stripesim run "+
			"--help`.\n\nFlags:")
		fs.PrintDefaults()
		fmt.Fprint(stdout, "\n"+stripesim.ControlHelp)
	}
	if err := parse(fs, args, stdout); err != nil {
		return f, o, err
	}
	return f, o, checkOptions(&o, fs.Args())
}

// parse parses flags and prints the help that was asked for. For an invalid flag, package flag
// prints all of the help, below which the error is not found.
func parse(fs *flag.FlagSet, args []string, stdout io.Writer) error {
	help := fs.Usage
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	fs.SetOutput(stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		return usageError(err.Error() + " (see --help)")
	}
	return nil
}

func printVersion(stdout io.Writer) error {
	release := "dev"
	if info, ok := debug.ReadBuildInfo(); ok {
		release = info.Main.Version
	}
	_, err := fmt.Fprintf(stdout, "stripesim %s, Stripe's API from %s to %s\n", release,
		stripesim.APIVersion, stripesim.NewestAPIVersion)
	return err
}

// checkOptions returns an error if a flag has an invalid value, or if arguments
// follow the flags.
func checkOptions(o *stripesim.Options, args []string) error {
	if len(args) > 0 {
		return usageError(fmt.Sprintf("unexpected argument %q: want flags, or run FILE (see --help)",
			args[0]))
	}
	if o.Speed <= 0 {
		return usageError(fmt.Sprintf("invalid --speed %v: want more than 0", o.Speed))
	}
	for _, version := range []string{o.APIVersion, o.Webhook.APIVersion} {
		if !stripesim.IsAPIVersion(version) {
			return usageError(fmt.Sprintf("invalid API version %q: want a version such as "+
				"2023-10-16 or %s", version, stripesim.NewestAPIVersion))
		}
	}
	return nil
}

// readWebhookSecrets returns the secrets in file, or else those in the
// environment.
func readWebhookSecrets(env []string, file string) (secrets []string, err error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError("--webhook-secret-file: " + err.Error())
		}
		return splitNonEmpty(string(b), "\n"), nil
	}
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, webhookSecretsEnv+"="); ok {
			secrets = splitNonEmpty(value, ",")
		}
	}
	return secrets, nil
}

// rejectLiveKeys returns an error if a live key is in the environment or in
// values.
func rejectLiveKeys(env, values []string) error {
	for _, e := range env {
		if name, value, _ := strings.Cut(e, "="); stripesim.IsLiveKey(value) {
			return usageError("the environment variable " + name + " holds a LIVE Stripe key:" +
				" unset it before you start a simulator")
		}
	}
	for _, s := range values {
		_, value, _ := strings.Cut(s, "=")
		if stripesim.IsLiveKey(s) || stripesim.IsLiveKey(value) {
			return usageError("a LIVE Stripe key was given: pass no live key to a simulator")
		}
	}
	return nil
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

// shutdownTimeout bounds how long calls in flight may delay the shutdown.
const shutdownTimeout = 5 * time.Second

// serve serves a simulator until ctx ends, and then prints a summary.
func serve(
	ctx context.Context, o stripesim.Options, address string, stdout, stderr io.Writer,
) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	o.PagesURL = cmp.Or(o.PagesURL, "http://"+l.Addr().String())
	sim := stripesim.New(o)
	server := newServer(sim, stderr)
	fmt.Fprintf(stdout,
		"stripesim: a SIMULATOR of Stripe (no money moves, livemode is always false)\n"+
			"stripesim: API http://%s  control http://%s/_sim/  account %s  API version %s\n",
		l.Addr(), l.Addr(), sim.Account(), o.APIVersion)

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

func newServer(sim *stripesim.Sim, stderr io.Writer) *http.Server {
	return &http.Server{Handler: sim.ServerHandler(), ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(stderr, nil), slog.LevelWarn)}
}

func printSummary(sim *stripesim.Sim, w io.Writer) {
	st := sim.Stats()
	var calls int64
	for _, n := range st.Calls {
		calls += n
	}
	fmt.Fprintf(
		w, "stripesim: %d calls, %d replayed, %d rate-limited, %d lock timeouts, %d webhooks "+
			"sent\n", calls, st.Replayed, st.RateLimited, st.LockTimeouts, st.WebhooksSent)
	for _, t := range sim.Totals() {
		fmt.Fprintf(
			w, "stripesim: %s (minor units) authorized %d = captured %d + released %d + expired "+
				"%d + held %d\n",
			t.Currency, t.Authorized, t.Captured, t.Released, t.Expired, t.Held)
	}
}
