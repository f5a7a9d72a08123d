package daemon

import (
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/erase"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// The functions of this file copy the settings into the options of each part.

func newGatewayOptions(o *Options) gateway.Options {
	s := o.Settings
	return gateway.Options{
		APIKey: gateway.APIKey(s.StripeAPIKey.Reveal()), Context: s.StripeContext,
		BaseURL:     s.StripeAPIBase,
		Concurrency: s.Concurrency, Timeout: s.CallTimeout, Transport: o.Transport,
	}
}

func newStoreOptions(o *Options, livemode bool) store.Options {
	s := o.Settings
	return store.Options{
		URL: s.RedisURL.Reveal(), Partitions: s.Partitions, Livemode: livemode,
		AllowUnsafe: s.AllowUnsafeRedis, Rates: newStripeRateLimits(s, livemode),
		MaxEventBytes: s.EventsMaxSize,
		AuditEntries:  s.AuditStream, Dialer: o.DialRedis,
	}
}

// newStripeRateLimits returns what all replicas together may send. Stripe
// limits a sandbox to as many requests in total as of one kind, and a live
// account to four times as many.
func newStripeRateLimits(s *config.Settings, livemode bool) store.RateLimitOptions {
	total := s.Rate
	if livemode {
		total = 4 * s.Rate
	}
	return store.RateLimitOptions{Write: s.Rate, Read: s.RateRead, Total: total}
}

func newDecisionRules(s *config.Settings) hold.DecisionRules {
	return hold.DecisionRules{ExpiryMargin: s.ExpiryMargin, Thresholds: s.AlertThresholds,
		Mirror: s.MirrorTerms, CancellationReason: s.CancellationReason}
}

func newWorkerOptions(
	o *Options, replica string, livemode bool, observer workerObserver,
	redis *health.Reporter, watcher *changes.Watcher, inspector worker.RedisInspector,
	accountKnown func() bool,
) worker.Options {
	s, rates := o.Settings, newStripeRateLimits(o.Settings, livemode)
	return worker.Options{
		Rules: newDecisionRules(s),
		Schedules: worker.CronSchedules{Capture: s.ScheduleCapture, Expiry: s.ScheduleExpiry,
			Report: s.ScheduleReport, Purge: s.SchedulePurge, Reconcile: s.ScheduleReconcile},
		ReadRate: rates.Read, WriteRate: rates.Write, TotalRate: rates.Total,
		Concurrency: s.Concurrency, Lease: s.Lease, CallTimeout: s.CallTimeout,
		Grace: s.ShutdownGrace, Retention: s.Retention,
		Livemode: livemode, Replica: replica, Logger: o.Logger, Observer: observer,
		Health: redis, Changes: watcher, RedisInspector: inspector, AccountKnown: accountKnown,
		DecodeRequest: api.DecodeScheduleRequest, CardholderLink: newCardholderLinkFunc(s),
		Deliveries: observer.notifier,
	}
}

// workerObserver is the metrics, and passes readiness to the notifier as well.
type workerObserver struct {
	*metrics
	notifier *swappableNotifier
}

func (w workerObserver) ReadinessChecked(checks []health.ReadinessCheckResult) {
	w.notifier.ReadinessChecked(checks)
}

func newAlertOptions(
	o *Options, s *config.Settings, st *store.Store, replica string, livemode bool, m *metrics,
	redis *health.Reporter, watcher *changes.Watcher,
) alert.Options {
	a := alert.Options{Stores: alert.Stores{Events: st, Leases: st, Requeued: st,
		SystemEvents: st, Sinks: st}, Replica: replica, Logger: o.Logger, Observer: m,
		Health: redis, Changes: watcher,
		PingURL: s.PingURL.Reveal(), RunbookURL: s.RunbookURL, Livemode: livemode,
		Version: o.Version}
	if zone, err := time.LoadLocation(s.AlertTimeZone); err == nil { // checked by config
		a.TimeZone = zone
	}
	for _, u := range s.NotifyURLs {
		a.NotifyURLs = append(a.NotifyURLs, u.Reveal())
	}
	if s.CallbackURL != "" {
		minSeverity, _ := alert.ParseSeverity(s.CallbackSeverity) // "all" is no severity: 0
		a.Callback = &alert.CallbackEndpoint{URL: s.CallbackURL, Secret: s.CallbackSecret.Reveal(),
			MinSeverity: minSeverity}
	}
	return a
}

func newAPIOptions(
	o *Options, w *worker.Engine, notifier *swappableNotifier, requests api.IdempotencyStore,
	livemode bool, tokens *api.Tokens, m *metrics, secrets *webhookSecrets, pages *console.Console,
) api.Options {
	a := api.Options{
		Holds: api.HoldServices{Scheduler: w.Scheduler, Changer: w.Changer, Reader: w.Reader,
			Planner: w.Planner, ReadinessChecker: w.Readiness},
		Reconciler: w.Reconciler, Authorizer: w.Authorizer, Deliveries: notifier,
		Repairer:         w.Repairer,
		Eraser:           w.Eraser,
		Requests:         requests,
		Webhook:          newWebhookOptions(o.Settings, secrets, w.Webhooks),
		WebhookElsewhere: o.Settings.WebhookListen != "", Livemode: livemode, Version: o.Version,
		Cardholder: newCardholderOptions(o, w.Cardholder, livemode),
		Rules:      newDecisionRules(o.Settings),
		Tokens:     tokens, Metrics: m.newHTTPHandler(), Logger: o.Logger, LogLevel: o.Level,
		Refusals: o.refusals, Stage: o.apiStage, RecordAct: w.RecordAct,
	}
	if pages != nil {
		a.Console = pages
	}
	return a
}

// consoleChanger makes the changes of the console's acts.
type consoleChanger struct {
	*intake.Changer
	*erase.Eraser
}

// newConsole returns nil if the settings switch the console off.
func newConsole(
	o *Options, w *worker.Engine, notifier *swappableNotifier, st *store.Store,
	redis *health.Reporter, livemode bool, tokens *consoleTokens,
) (*console.Console, error) {
	s := o.Settings
	if !s.Console {
		return nil, nil
	}
	c := console.Options{
		Reader: w.Reader, Changer: consoleChanger{w.Changer, w.Eraser},
		Scheduler: w.Scheduler, Planner: w.Planner,
		Reconciler: w.Reconciler, Deliveries: notifier, Readiness: w.Readiness, Store: st,
		Stages: redis, Livemode: livemode, Version: o.Version, Rules: newDecisionRules(s),
		CardholderLink: newCardholderLinkFunc(s),
		Logger:         o.Logger, Doctor: o.Doctor, ReportRefusal: o.refusals.LogRefusedRequest,
		RecordAct: w.RecordAct,
	}
	if tokens.Load() != nil {
		c.Tokens = tokens
	}
	if s.ConsoleIdentityHeader != "" {
		c.Identity = &console.TrustedIdentity{Header: s.ConsoleIdentityHeader,
			Proxies: s.ConsoleTrustedProxies, MayOperate: s.ConsoleIdentityRole == "operate"}
	}
	if zone, err := time.LoadLocation(s.AlertTimeZone); err == nil { // checked by config
		c.TimeZone = zone
	}
	return console.New(c)
}

// newWebhookOptions returns nil without signing secrets: holdd then accepts no
// events of Stripe.
func newWebhookOptions(
	s *config.Settings, current *webhookSecrets, w *intake.WebhookProcessor,
) *api.WebhookOptions {
	if len(s.StripeWebhookSecrets) == 0 {
		return nil
	}
	return &api.WebhookOptions{
		VerifyAndParse: func(body []byte, signature string) (hold.StripeEvent, error) {
			return gateway.ParseEvent(body, signature,
				gateway.ParseEventOptions{Secrets: current.get(), Context: s.StripeContext})
		},
		ApplyEvent: w.ApplyStripeEvent,
	}
}
