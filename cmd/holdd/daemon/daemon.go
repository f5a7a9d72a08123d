package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	redisclient "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Options are the settings and the parts of a daemon that are not settings.
type Options struct {
	Settings *config.Settings
	Logger   *zap.Logger
	Version  string
	// Level is the level of Logger, which operators may change at run time.
	// Nil: they cannot.
	Level *zap.AtomicLevel
	// Reload reads the settings again. Nil: the settings stay.
	Reload func() (*config.Settings, error)
	// ReloadSignal receives the operator's requests to reload. May be nil.
	ReloadSignal <-chan os.Signal
	// Doctor runs the checks of "holdd doctor" for the console. May be nil.
	Doctor func(ctx context.Context) []console.DoctorCheck
	// Ready is called once with the URL of the API. May be nil.
	Ready func(url string)
	// Transport replaces the network to Stripe, for a simulator in the same
	// process. May be nil.
	Transport http.RoundTripper
	// DialRedis replaces the network to Redis, for a Redis in the same process.
	// May be nil.
	DialRedis func(ctx context.Context, network, addr string) (net.Conn, error)

	refusals *api.RefusalLog // of API and console
	apiStage *health.Stage
}

// ErrSetting is wrapped by errors of [Run] that only another setting fixes.
var ErrSetting = store.ErrInvalidSetting

const (
	startTimeout       = 15 * time.Second // for the store's checks of Redis
	apiShutdownTimeout = 5 * time.Second  // for requests in progress
	// apiFailureTTL is how long failed requests make a replica not ready. Then
	// it gets requests again.
	apiFailureTTL = 2 * time.Minute
)

// Run runs the daemon. It returns when ctx has ended and all parts have
// stopped, or with the error that kept the daemon from starting or running.
func Run(ctx context.Context, o Options) (err error) {
	logWarnings(o.Logger, o.Settings.Warnings())
	tokens, err := loadTokensFile(o.Settings.TokensFile)
	if err != nil {
		return err
	}
	stripe, err := gateway.New(newGatewayOptions(&o))
	if err != nil {
		return err
	}
	defer stripe.CloseIdleConnections()
	st, err := openStore(ctx, &o, stripe.Livemode())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()

	account := &accountChecker{stripe: stripe, store: st, log: o.Logger}
	accountKnown, err := account.checkOrRecordAccount(ctx)
	if err != nil {
		return err
	}
	replica := newReplicaName()
	tracer := openTracer(ctx, &o, replica, stripe.Address())
	defer tracer.Close()
	d, err := buildPartsAndListen(&o, tokens, stripe, st, account, replica, tracer)
	if err != nil {
		return err
	}
	p := startParts(ctx, d)
	if !accountKnown {
		go func() { p.accountDone <- account.retryCheckUntilAnswered(ctx) }()
	}
	if o.Reload != nil {
		go d.newReloader().run(ctx)
	}
	reportStarted(&o, d.servers, stripe.Livemode())
	return p.stopParts(ctx, o.Logger, p.waitUntilEnd(ctx, o.Logger))
}

func logWarnings(log *zap.Logger, warnings []string) {
	for _, warning := range warnings {
		log.Warn(warning)
	}
}

// loadTokensFile reads the tokens file. It returns nil for an empty path.
func loadTokensFile(path string) (t *api.Tokens, err error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read tokens_file: %w%w", err, ErrSetting)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t, err = api.ParseTokens(f)
	if err != nil {
		return nil, fmt.Errorf("invalid tokens_file %s: %w%w", path, err, ErrSetting)
	}
	return t, nil
}

// openStore opens the store and sends go-redis' messages to the log.
func openStore(ctx context.Context, o *Options, livemode bool) (*store.Store, error) {
	redisclient.SetLogger(redisLogger{o.Logger}) // before its first message
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	st, warnings, err := store.Open(ctx, newStoreOptions(o, livemode))
	if err != nil {
		return nil, err
	}
	logWarnings(o.Logger, warnings)
	return st, nil
}

// redisLogger logs go-redis' messages about connections at the level debug. The
// worker logs when Redis becomes unavailable and when it is back.
type redisLogger struct{ log *zap.Logger }

func (l redisLogger) Printf(_ context.Context, format string, v ...any) {
	l.log.Debug("redis client: " + fmt.Sprintf(format, v...))
}

// runningParts is the running parts of the daemon.
type runningParts struct {
	servers      []*listeningServer
	stopWorker   context.CancelFunc // stops the notifier as well
	workerDone   chan error
	notifierDone chan struct{}
	serverDone   chan error
	accountDone  chan error // receives nil, or that the key is of another account
}

// startParts starts the worker, the notifier, and then the server, so that the
// API accepts no request before the worker runs. The worker has a context of
// its own, because it outlives the server.
func startParts(ctx context.Context, d *daemonParts) *runningParts {
	workerCtx, stopWorker := context.WithCancel(context.WithoutCancel(ctx))
	p := &runningParts{servers: d.servers, stopWorker: stopWorker,
		workerDone: make(chan error, 1), notifierDone: make(chan struct{}),
		serverDone: make(chan error, len(d.servers)), accountDone: make(chan error, 1)}
	go func() { p.workerDone <- d.engine.Run(workerCtx) }()
	go func() { defer close(p.notifierDone); d.notifier.Run(workerCtx) }()
	for _, s := range d.servers {
		go func() { p.serverDone <- s.server.Serve(s.listener) }()
	}
	return p
}

// waitUntilEnd returns when ctx has ended, or with the error of a part that
// failed.
func (p *runningParts) waitUntilEnd(ctx context.Context, log *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			log.Info("stopping: finishing calls in flight, returning other claims")
			return nil
		case err := <-p.serverDone:
			return fmt.Errorf("the API stopped: %w", err)
		case err := <-p.workerDone:
			p.workerDone <- nil
			return err
		case err := <-p.accountDone:
			if err != nil {
				return err
			}
		}
	}
}

// stopParts stops the server first, so that the API accepts no request that the
// worker would not see. cause is the error that ends the daemon, if any.
func (p *runningParts) stopParts(ctx context.Context, log *zap.Logger, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiShutdownTimeout)
	defer cancel()
	for _, s := range p.servers {
		if err := s.server.Shutdown(ctx); err != nil {
			cause = errors.Join(cause, s.server.Close())
		}
	}
	p.stopWorker()
	cause = errors.Join(cause, <-p.workerDone)
	<-p.notifierDone
	if cause == nil {
		log.Info("stopped")
	}
	return cause
}
