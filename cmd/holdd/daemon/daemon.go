package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/wiring"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Options are the settings and what can't be a setting.
type Options struct {
	Settings *config.Settings
	Logger   *zap.Logger
	Version  string
	// Level is that of Logger, for operators to change at run time; nil: they
	// can't.
	Level *zap.AtomicLevel
	// Ready is called once with the address that is listened on, in the form
	// that a client takes. May be nil.
	Ready func(url string)
	// Transport replaces the network to Stripe, for a simulator in the same
	// process. May be nil.
	Transport http.RoundTripper
	// DialRedis replaces the network to Redis, for one in the same process. May
	// be nil.
	DialRedis func(ctx context.Context, network, addr string) (net.Conn, error)
}

// ErrSetting is wrapped by errors of [Run] that only another setting mends.
var ErrSetting = store.ErrInvalidSetting

// apiShutdownTimeout is how long requests that are being answered may take once
// the daemon stops.
const apiShutdownTimeout = 5 * time.Second

// startTimeout bounds what has to be asked of Redis before anything runs.
const startTimeout = 15 * time.Second

// Run is the daemon: it returns when ctx has ended and everything has stopped,
// or with the error that kept it from starting or running.
func Run(ctx context.Context, o Options) (err error) {
	s, log := o.Settings, o.Logger
	for _, warning := range s.Warnings() {
		log.Warn(warning)
	}
	tokens, err := readTokens(s.TokensFile)
	if err != nil {
		return err
	}
	stripe, err := gateway.New(gateway.Options{
		APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()), BaseURL: s.StripeAPIBase,
		Concurrency: s.Concurrency, Timeout: s.CallTimeout, Transport: o.Transport,
	})
	if err != nil {
		return err
	}
	defer stripe.Close()

	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	st, warnings, err := store.Open(startCtx, store.Options{
		URL: s.RedisURL.Reveal(), Partitions: s.Partitions, Livemode: stripe.Livemode(),
		AllowUnsafe: s.AllowUnsafeRedis,
		Rates:       newBudget(s, stripe.Livemode()), MaxEvents: s.EventsMax, Dialer: o.DialRedis,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	for _, warning := range warnings {
		log.Warn(warning)
	}

	redis.SetLogger(redisLogger{log})
	metrics := newMetrics()
	replica := newReplicaName()
	notifier, err := alert.New(alertOptions(s, st, replica, stripe.Livemode(),
		o.Version, log, metrics))
	if err != nil {
		return fmt.Errorf("%w%w", err, ErrSetting)
	}
	metrics.initSinkSeries(notifier.SinkNames())
	budget := newBudget(s, stripe.Livemode())
	w, err := wiring.NewWorker(st, stripe, worker.Options{
		Rules: hold.Rules{ExpiryMargin: s.ExpiryMargin, Thresholds: s.AlertThresholds,
			Mirror: s.MirrorTerms},
		Schedules: worker.Schedules{Capture: s.ScheduleCapture, Expiry: s.ScheduleExpiry,
			Report: s.ScheduleReport, Purge: s.SchedulePurge, Reconcile: s.ScheduleReconcile},
		ReadRate:    budget.Read,
		WriteRate:   budget.Write,
		TotalRate:   budget.Total,
		Concurrency: s.Concurrency, Lease: s.Lease, CallTimeout: s.CallTimeout,
		Grace: s.ShutdownGrace, Retention: s.Retention,
		Livemode: stripe.Livemode(), Replica: replica, Logger: log,
		Observer:      workerObserver{metrics, notifier},
		DecodeRequest: api.ParseScheduleRequest,
	})
	if err != nil {
		return err
	}
	handler, err := api.New(api.Options{
		Holds: holds(w), Reconciler: w.Reconciler, Authorizer: w.Authorizer, Deliveries: notifier,
		Livemode: stripe.Livemode(), Version: o.Version, Tokens: tokens, Metrics: metrics.handler(),
		Logger: log, LogLevel: o.Level,
		Webhook: newWebhook(s, w.Webhooks),
	})
	if err != nil {
		return err
	}
	metrics.registerUnauthorized(handler.UnauthorizedRequests)
	metrics.registerBuildInfo(o.Version, stripe.Livemode(), newBudget(s, stripe.Livemode()))
	metrics.registry.MustRegister(newForecastCollector(w.Readiness, w.Planner))
	metrics.registerInvalidSignatures(handler.InvalidSignatures)
	listener, err := api.Listen(s.Listen)
	if err != nil {
		return err
	}
	server := api.NewServer(handler, log)

	// The worker outlives the listener by design, so it has a context of its
	// own.
	workerCtx, stopWorker := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorker()
	workerDone := make(chan error, 1)
	go func() { workerDone <- w.Run(workerCtx) }()
	notifierDone := make(chan struct{})
	go func() { defer close(notifierDone); notifier.Run(workerCtx) }()
	apiDone := make(chan error, 1)
	go func() { apiDone <- server.Serve(listener) }()

	url := listenURL(listener.Addr())
	log.Info("holdd is up", zap.String("version", o.Version), zap.String("listen", url),
		zap.Bool("livemode", stripe.Livemode()),
		zap.Int("partitions", s.Partitions), zap.Int("concurrency", s.Concurrency))
	if o.Ready != nil {
		o.Ready(url)
	}

	select {
	case <-ctx.Done():
		log.Info("stopping: calls under way are finished, the rest is given back")
	case err = <-apiDone:
		err = fmt.Errorf("the API stopped: %w", err)
	case err = <-workerDone:
		workerDone <- err
	}
	shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiShutdownTimeout)
	defer cancel()
	if e := server.Shutdown(shutdownCtx); e != nil {
		err = errors.Join(err, server.Close())
	}
	stopWorker()
	err = errors.Join(err, <-workerDone)
	<-notifierDone
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// newBudget is what all replicas together may send. A sandbox has as much over
// all as for one kind of request; real accounts have four times as much.
func newBudget(s *config.Settings, livemode bool) store.Rates {
	total := s.Rate
	if livemode {
		total = 4 * s.Rate
	}
	return store.Rates{Write: s.Rate, Read: s.RateRead, Total: total}
}

// workerObserver tells the alerts as well how things are.
type workerObserver struct {
	*metrics
	notifier *alert.Notifier
}

func (r workerObserver) ReadinessChecked(checks []health.Check) {
	r.notifier.ReadinessChecked(checks)
}

// alertOptions say where to.
func alertOptions(
	s *config.Settings, st *store.Store, replica string, livemode bool, version string,
	log *zap.Logger, m *metrics,
) alert.Options {
	o := alert.Options{Stores: alert.Stores{Events: st, Leases: st, Requeued: st,
		SystemEvents: st, Sinks: st}, Replica: replica, Logger: log, Observer: m,
		PingURL: s.PingURL.Reveal(), RunbookURL: s.RunbookURL, Livemode: livemode, Version: version}
	if zone, err := time.LoadLocation(s.AlertTimeZone); err == nil { // checked with the settings
		o.TimeZone = zone
	}
	for _, u := range s.NotifyURLs {
		o.NotifyURLs = append(o.NotifyURLs, u.Reveal())
	}
	if s.CallbackURL != "" {
		minSeverity, _ := alert.ParseSeverity(s.CallbackSeverity) // all is none
		o.Callback = &alert.Callback{URL: s.CallbackURL, Secret: s.CallbackSecret.Reveal(),
			MinSeverity: minSeverity}
	}
	return o
}

// newWebhook takes Stripe's events if there are secrets to know them by.
func newWebhook(s *config.Settings, w *intake.Webhooks) *api.WebhookOptions {
	if len(s.StripeWebhookSecrets) == 0 {
		return nil
	}
	secrets := make([]string, len(s.StripeWebhookSecrets))
	for i, secret := range s.StripeWebhookSecrets {
		secrets[i] = secret.Reveal()
	}
	return &api.WebhookOptions{
		VerifyAndParse: func(body []byte, signature string) (hold.StripeEvent, error) {
			return gateway.ParseEvent(body, signature, secrets, 0)
		},
		ApplyEvent: w.ApplyStripeEvent,
	}
}

func readTokens(path string) (t *api.Tokens, err error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokens_file can't be read: %w%w", err, ErrSetting)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t, err = api.ParseTokens(f)
	if err != nil {
		return nil, fmt.Errorf("tokens_file %s: %w%w", path, err, ErrSetting)
	}
	return t, nil
}

// newReplicaName is unique among replicas and across restarts, and tells an
// operator where to look.
func newReplicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + strings.ToLower(rand.Text()[:6])
}

func listenURL(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix://" + a.String()
	}
	return "http://" + a.String()
}

// holds are the parts of the worker that the API serves.
func holds(w *worker.Worker) api.HoldService {
	return api.HoldService{Scheduler: w.Scheduler, Changer: w.Changer, Reader: w.Reader,
		Planner: w.Planner, ReadinessChecker: w.Readiness}
}

// redisLogger takes what go-redis says of its connections. The worker says once
// when Redis is away and when it is back; this is the detail.
type redisLogger struct{ log *zap.Logger }

func (l redisLogger) Printf(_ context.Context, format string, v ...any) {
	l.log.Debug("redis client: " + fmt.Sprintf(format, v...))
}
