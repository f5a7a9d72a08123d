package daemon

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/tracing"
	"github.com/holdd/holdd/worker/wiring"
)

// daemonParts are the parts of a daemon, connected and not yet started.
type daemonParts struct {
	o       *Options
	tokens  *api.Tokens // nil: requests need none
	stripe  *gateway.Gateway
	store   *store.Store
	account *accountChecker

	replica  string
	tracer   *tracing.Tracer // nil: traces are off
	metrics  *metrics
	redis    *health.Reporter
	watcher  *changes.Watcher
	secrets  *webhookSecrets
	sessions *consoleTokens

	notifier *swappableNotifier
	engine   *worker.Engine
	pages    *console.Console // nil: the settings switch it off
	handler  *api.API
	servers  []*listeningServer // the first is that of the API
}

// buildPartsAndListen builds the parts and listens on the addresses of the settings.
func buildPartsAndListen(
	o *Options, tokens *api.Tokens, stripe *gateway.Gateway, st *store.Store,
	account *accountChecker, replica string, tracer *tracing.Tracer,
) (*daemonParts, error) {
	d := &daemonParts{
		o: o, tokens: tokens, stripe: stripe, store: st, account: account,
		replica: replica, tracer: tracer, metrics: newMetrics(),
		redis:   health.NewRedisHealthReporter(o.Logger),
		watcher: changes.NewWatcher(st),
		secrets: &webhookSecrets{}, sessions: &consoleTokens{},
	}
	d.secrets.set(o.Settings)
	d.sessions.Store(tokens)
	for _, build := range []func() error{
		d.buildNotifier, d.buildEngine, d.buildConsoleAndAPI, d.registerMetrics, d.listen,
	} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *daemonParts) buildNotifier() error {
	first, err := d.newNotifier(d.o.Settings)
	if err != nil {
		return fmt.Errorf("%w%w", err, ErrSetting)
	}
	d.notifier = newSwappableNotifier(first)
	return nil
}

// newNotifier returns the notifier of the settings.
func (d *daemonParts) newNotifier(s *config.Settings) (*alert.Notifier, error) {
	o := newAlertOptions(d.o, s, d.store, d.replica, d.stripe.Livemode(), d.metrics, d.redis,
		d.watcher)
	if d.tracer != nil {
		o.Tracer = d.tracer
	}
	return alert.New(o)
}

func (d *daemonParts) buildEngine() (err error) {
	o := newWorkerOptions(d.o, d.replica, d.stripe.Livemode(),
		workerObserver{d.metrics, d.notifier}, d.redis, d.watcher, d.store, d.account.known.Load)
	if d.tracer != nil {
		o.Tracer = d.tracer
	}
	d.engine, err = wiring.NewEngine(d.store, d.stripe, o)
	return err
}

// buildConsoleAndAPI builds the console and the API, which serves it.
func (d *daemonParts) buildConsoleAndAPI() (err error) {
	d.o.refusals, d.o.apiStage = api.NewRefusalLog(d.o.Logger), d.redis.AddStage("api", nil)
	d.o.apiStage.SetFailureTTL(apiFailureTTL)
	livemode := d.stripe.Livemode()
	d.pages, err = newConsole(d.o, d.engine, d.notifier, d.store, d.redis, livemode, d.sessions)
	if err != nil {
		return err
	}
	o := newAPIOptions(d.o, d.engine, d.notifier, d.store, livemode, d.tokens, d.metrics,
		d.secrets, d.pages)
	if d.tracer != nil {
		o.Tracer = d.tracer
	}
	d.handler, err = api.New(o)
	return err
}

func (d *daemonParts) registerMetrics() error {
	livemode := d.stripe.Livemode()
	d.metrics.initDroppedEventCounters(d.notifier.SinkNames())
	d.metrics.registerConstMetrics(d.o.Version, livemode,
		newStripeRateLimits(d.o.Settings, livemode))
	d.metrics.registerAPICounters(d.handler)
	d.metrics.registerScrapeTimeGauges(d.engine, d.store, d.redis)
	return nil
}

func (d *daemonParts) listen() (err error) {
	if d.servers, err = newListeningServers(d.o, d.handler); err != nil {
		return err
	}
	d.metrics.registerClosedConnectionsCounter(d.servers)
	if d.pages != nil { // its streams would delay the shutdown
		d.servers[0].server.RegisterOnShutdown(d.pages.Close)
	}
	return nil
}

// newReloader returns the reloader of the settings for the parts.
func (d *daemonParts) newReloader() *settingsReloader {
	return &settingsReloader{o: d.o, current: d.o.Settings, tokens: d.tokens, handler: d.handler,
		stripe: d.stripe, account: d.account, secrets: d.secrets, sessions: d.sessions,
		notifier: d.notifier, newNotifier: d.newNotifier, metrics: d.metrics,
		recordAct: d.engine.RecordAct}
}

// newReplicaName returns the host's name with a random suffix, which is unique
// among replicas and across restarts.
func newReplicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + strings.ToLower(rand.Text()[:6])
}
