package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// fileCheckInterval is how often the files of the settings are checked for
// changes.
const fileCheckInterval = 5 * time.Second

// reloadableSettings are the settings that a running daemon takes over. Others
// need a restart.
var reloadableSettings = []string{"stripe_api_key", "stripe_webhook_secrets", "log_level",
	"notify_urls", "tokens"}

// webhookSecrets are the current signing secrets of the webhook endpoint.
type webhookSecrets struct{ secrets atomic.Pointer[[]string] }

func (w *webhookSecrets) set(s *config.Settings) {
	secrets := make([]string, len(s.StripeWebhookSecrets))
	for i, secret := range s.StripeWebhookSecrets {
		secrets[i] = secret.Reveal()
	}
	w.secrets.Store(&secrets)
}

func (w *webhookSecrets) get() []string { return *w.secrets.Load() }

// consoleTokens are the current tokens, so that a session of the console ends
// with its token. They are nil if no visitor needs one.
type consoleTokens struct{ atomic.Pointer[api.Tokens] }

// Authenticate implements console.Tokens.
func (t *consoleTokens) Authenticate(token string) (name string, mayOperate, ok bool) {
	return t.Load().Authenticate(token)
}

// ComputeSessionMAC implements console.Tokens.
func (t *consoleTokens) ComputeSessionMAC(
	name, message string,
) (mac []byte, mayOperate, ok bool) {
	return t.Load().ComputeSessionMAC(name, message)
}

// settingsReloader takes over changed settings while the daemon runs: all that
// can be changed, or none after an error.
type settingsReloader struct {
	o       *Options
	current *config.Settings
	tokens  *api.Tokens
	handler *api.API
	stripe  *gateway.Gateway
	account *accountChecker
	secrets *webhookSecrets
	// sessions are the tokens of the console's visitors.
	sessions *consoleTokens
	notifier *swappableNotifier
	// newNotifier returns the notifier of the settings.
	newNotifier func(*config.Settings) (*alert.Notifier, error)
	metrics     *metrics
	recordAct   func(ctx context.Context, e hold.AuditLogEntry)
	files       string // their state at the last reload, "" before the first
}

// run reloads on a signal and when a file changes, until ctx ends.
func (r *settingsReloader) run(ctx context.Context) {
	// The first tick reads the files in any case: they may have changed since the
	// start read them.
	ticker := time.NewTicker(fileCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.o.ReloadSignal:
			r.reloadAndLog(ctx, "signal")
		case <-ticker.C:
			if fileTimesAndSizes(r.current.Files()) != r.files {
				r.reloadAndLog(ctx, "file")
			}
		}
	}
}

// errKeyNotChecked says that a new key could not be checked. The files are read
// again at the next tick.
var errKeyNotChecked = errors.New("the new Stripe key is not checked: Stripe did not answer")

// reloadAndLog never logs a value: an old secret is worth as much as a new one.
func (r *settingsReloader) reloadAndLog(ctx context.Context, trigger string) {
	files := fileTimesAndSizes(r.current.Files())
	changed, ignored, err := r.reloadSettings(ctx)
	if !errors.Is(err, errKeyNotChecked) {
		r.files = files
	}
	switch {
	case err != nil:
		r.o.Logger.Error("settings not reloaded: the earlier ones stay in effect",
			zap.String("trigger", trigger), zap.Error(err))
	case trigger == "signal" || len(changed) > 0:
		r.o.Logger.Info("settings reloaded", zap.String("trigger", trigger),
			zap.Strings("changed", changed))
		r.recordAct(ctx, hold.AuditLogEntry{By: trigger, Act: hold.ActSettingsReloaded,
			Detail: strings.Join(changed, ", ")})
	}
	if len(ignored) > 0 {
		r.o.Logger.Warn("changed settings need a restart", zap.Strings("settings", ignored))
	}
}

// reloadSettings checks all changes before it applies any. ignored are changed
// settings that need a restart.
func (r *settingsReloader) reloadSettings(
	ctx context.Context) (changed, ignored []string, err error,
) {
	next, err := r.o.Reload()
	if err != nil {
		return nil, nil, err
	}
	changed, ignored = r.splitReloadableChanges(next)
	if (next.TokensFile == "") != (r.current.TokensFile == "") {
		return nil, ignored, errors.New("tokens are switched on or off by a restart: " +
			"tokens_file was set or removed")
	}
	tokens, err := loadTokensFile(next.TokensFile)
	if err != nil {
		return nil, ignored, err
	}
	notifier, err := r.newNotifierIfChanged(changed, next)
	if err != nil {
		return nil, ignored, err
	}
	if (len(next.StripeWebhookSecrets) == 0) != (len(r.current.StripeWebhookSecrets) == 0) {
		return nil, ignored, errors.New("webhooks are switched on or off by a restart: " +
			"the first or the last of the stripe_webhook_secrets changed")
	}
	if slices.Contains(changed, "stripe_api_key") {
		if err := r.checkAndReplaceStripeKey(ctx,
			gateway.APIKey(next.StripeAPIKey.Reveal())); err != nil {
			return nil, ignored, err
		}
	}
	// Nothing fails from here on.
	if tokens != nil && !tokens.Equal(r.tokens) {
		changed = append(changed, "tokens_file")
		r.tokens = tokens
		r.handler.SetTokens(tokens)
		r.sessions.Store(tokens)
	}
	r.secrets.set(next)
	if notifier != nil {
		r.metrics.initDroppedEventCounters(notifier.SinkNames())
		r.notifier.swapNotifier(notifier)
	}
	if level, err := zapcore.ParseLevel(next.LogLevel); err == nil &&
		slices.Contains(changed, "log_level") {
		r.handler.ApplyConfiguredLogLevel(level, "reload")
	}
	r.current = next
	return changed, ignored, nil
}

// splitReloadableChanges returns the changed settings that can be taken over, and
// those that need a restart.
func (r *settingsReloader) splitReloadableChanges(
	next *config.Settings,
) (changed, ignored []string) {
	for _, key := range config.ChangedSettings(r.current, next) {
		switch {
		case slices.Contains(reloadableSettings, key):
			changed = append(changed, key)
		case !slices.Contains(reloadableSettings, strings.TrimSuffix(key, "_file")):
			ignored = append(ignored, key)
		}
	}
	return changed, ignored
}

// newNotifierIfChanged returns the notifier of changed addresses; nil if they
// are the same.
func (r *settingsReloader) newNotifierIfChanged(
	changed []string, next *config.Settings,
) (*alert.Notifier, error) {
	if !slices.Contains(changed, "notify_urls") {
		return nil, nil
	}
	// The other settings of a notifier need a restart.
	s := *r.o.Settings
	s.NotifyURLs = next.NotifyURLs
	return r.newNotifier(&s)
}

// checkAndReplaceStripeKey checks that the new key is of the mode and the
// account of the holds before any request is sent with it.
func (r *settingsReloader) checkAndReplaceStripeKey(ctx context.Context, key gateway.APIKey) error {
	o := newGatewayOptions(r.o)
	o.APIKey = key
	trial, err := gateway.New(o)
	if err != nil {
		return err
	}
	defer trial.CloseIdleConnections()
	if trial.Livemode() != r.stripe.Livemode() {
		return gateway.ErrOtherMode
	}
	checker := &accountChecker{stripe: trial, store: r.account.store, log: r.o.Logger}
	done, err := checker.checkOrRecordAccountOfNewKey(ctx)
	if err != nil {
		return err
	}
	if !done {
		return errKeyNotChecked
	}
	if r.account.known.Load() && !checker.known.Load() {
		return errors.New("the new Stripe key may not read its account, so that it is not known " +
			"to be the same: give the key that permission")
	}
	if err := r.stripe.SetAPIKey(key); err != nil {
		return err
	}
	r.account.known.Store(checker.known.Load())
	return nil
}

// fileTimesAndSizes describes size and time of files, so that a change shows.
func fileTimesAndSizes(paths []string) string {
	var state strings.Builder
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&state, "%s: %v\n", path, err)
			continue
		}
		fmt.Fprintf(&state, "%s: %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	return state.String()
}
