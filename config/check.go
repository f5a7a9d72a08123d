package config

import (
	"net/url"
	"os"
	"strings"
)

// combinationRules check settings that depend on each other. Each returns
// without effect if one of its settings is invalid.
var combinationRules = []func(*settingsLoader, *Settings){
	requireStripeKey, checkStripeContext, checkStripeAddress, checkCallTimeout,
	checkTokensAreRequired, checkConsoleIdentity, checkListenAddresses, checkCallbackURLAndSecret,
	checkCardholderPage,
	warnAboutPasswordFlag, warnAboutAlertsBelowExpiryMargin, warnAboutUnencrypted,
}

func (l *settingsLoader) checkSettingCombinations() {
	for _, check := range combinationRules {
		check(l, l.settings)
	}
}

// hasInvalidValue reports whether one of the settings is invalid.
func (l *settingsLoader) hasInvalidValue(keys ...string) bool {
	for _, k := range keys {
		if l.invalid[k] {
			return true
		}
	}
	return false
}

func requireStripeKey(l *settingsLoader, s *Settings) {
	if !s.StripeAPIKey.IsSet() && !l.hasInvalidValue("stripe_api_key", "stripe_api_key_file") {
		l.addProblem("stripe_api_key",
			"missing: set STRIPE_API_KEY, or set STRIPE_API_KEY_FILE or "+
				"stripe_api_key_file to a file with the key")
	}
}

func checkStripeContext(l *settingsLoader, s *Settings) {
	const key = "stripe_context"
	switch {
	case l.hasInvalidValue(key, "stripe_api_key", "stripe_api_key_file"):
	case s.IsOrganizationKey() && s.StripeContext == "":
		l.addProblem(
			key, "missing: the Stripe key is an organization's (sk_org_…), which acts for "+
				"one account of the organization: set STRIPE_CONTEXT to the account's id, acct_…")
	case !s.IsOrganizationKey() && s.StripeContext != "":
		l.addProblem(
			key, "only an organization's key (sk_org_…) needs it: remove it, because this "+
				"Stripe key acts for its own account")
	}
}

func checkStripeAddress(l *settingsLoader, s *Settings) {
	const key = "stripe_api_base"
	if l.hasInvalidValue(key) {
		return
	}
	base, _ := url.Parse(s.StripeAPIBase) // parsed before
	live := s.Livemode() && !l.invalid["stripe_api_key"]
	switch {
	case live && base.Scheme != "https":
		l.addProblem(key, "would send a live Stripe key unencrypted: use https, or a test key")
	case base.RawQuery != "" || base.Path != "":
		l.addProblem(key, "invalid URL: want scheme and host alone, such as https://api.stripe.com")
	case live && base.Host != "api.stripe.com":
		l.addWarning("%s: sends a live Stripe key to %s, which is not Stripe's address", key,
			base.Host)
	}
}

func checkCallTimeout(l *settingsLoader, s *Settings) {
	if !l.hasInvalidValue("call_timeout", "lease") && s.CallTimeout >= s.Lease/2 {
		l.addProblem("call_timeout", "%s is not less than half of lease (%s), so a claim could "+
			"expire during a call: shorten call_timeout or lengthen lease",
			FormatDuration(s.CallTimeout), FormatDuration(s.Lease))
	}
	if !l.hasInvalidValue("shutdown_grace", "call_timeout") && s.ShutdownGrace < s.CallTimeout {
		l.addWarning("shutdown_grace: %s is less than call_timeout (%s): a call in flight may be "+
			"cut off when holdd stops, and is then settled by a read",
			FormatDuration(s.ShutdownGrace), FormatDuration(s.CallTimeout))
	}
}

func checkTokensAreRequired(l *settingsLoader, s *Settings) {
	const key = "tokens_file"
	if l.hasInvalidValue(key) {
		return
	}
	if s.TokensFile == "" {
		if !l.hasInvalidValue("listen") && !s.IsAPIReachableOnlyLocally() {
			l.addProblem("listen", "other machines can reach %s, and tokens_file is not set: set "+
				"tokens_file, or listen on 127.0.0.1 or unix:///path", s.Listen)
		}
		return
	}
	info, err := os.Stat(s.TokensFile)
	switch {
	case err != nil:
		l.addProblem(key, "cannot read %s: %s", s.TokensFile, fileErrorReason(err))
	case info.IsDir():
		l.addProblem(key, "cannot read %s: it is a directory", s.TokensFile)
	default:
		l.warnIfWorldReadable(key, s.TokensFile, info)
	}
}

// checkConsoleIdentity requires proxies that are trusted, and tokens: without
// tokens holdd refuses every request that a proxy has forwarded.
func checkConsoleIdentity(l *settingsLoader, s *Settings) {
	const header, proxies = "console_identity_header", "console_trusted_proxies"
	switch {
	case l.hasInvalidValue(header, proxies, "tokens_file"):
	case s.ConsoleIdentityHeader == "" && len(s.ConsoleTrustedProxies) > 0:
		l.addProblem(header, "missing: set it to the header in which the console_trusted_proxies "+
			"name the visitor")
	case s.ConsoleIdentityHeader == "":
	case len(s.ConsoleTrustedProxies) == 0:
		l.addProblem(proxies, "missing: set it to the addresses of the proxies whose "+
			"console_identity_header is to be believed")
	case s.TokensFile == "":
		l.addProblem(header, "needs tokens_file, because holdd refuses forwarded requests "+
			"without tokens")
	}
}

// checkListenAddresses rejects an address that is used twice. Port 0 stands for
// any free port.
func checkListenAddresses(l *settingsLoader, s *Settings) {
	if l.hasInvalidValue("listen", "webhook_listen", "metrics_listen", "cardholder_listen") {
		return
	}
	first := map[string]string{s.Listen: "listen"}
	for _, other := range []struct{ key, addr string }{
		{"webhook_listen", s.WebhookListen}, {"metrics_listen", s.MetricsListen},
		{"cardholder_listen", s.CardholderListen},
	} {
		if other.addr == "" || strings.HasSuffix(other.addr, ":0") {
			continue
		}
		if key := first[other.addr]; key != "" {
			l.addProblem(other.key, "%s is the address of %s: use another port, or remove it",
				other.addr, key)
		}
		first[other.addr] = other.key
	}
	if s.WebhookListen != "" && len(s.StripeWebhookSecrets) == 0 &&
		!l.hasInvalidValue("stripe_webhook_secrets") {
		l.addWarning("webhook_listen: webhooks are disabled until STRIPE_WEBHOOK_SECRETS is set")
	}
}

func checkCallbackURLAndSecret(l *settingsLoader, s *Settings) {
	switch {
	case l.hasInvalidValue("callback_url", "callback_secret", "callback_secret_file"):
	case s.CallbackURL != "" && !s.CallbackSecret.IsSet():
		l.addProblem("callback_url",
			"callback_secret is not set, so the receiver could not verify "+
				"events: set HOLDD_CALLBACK_SECRET or callback_secret_file")
	case s.CallbackURL == "" && s.CallbackSecret.IsSet():
		l.addProblem("callback_secret", "callback_url is not set: set both, or neither")
	}
}

// checkCardholderPage requires all settings of the page for cardholders, or
// none.
func checkCardholderPage(l *settingsLoader, s *Settings) {
	const key = "public_url"
	if l.hasInvalidValue(key, "property_name", "cardholder_secret", "cardholder_secret_file") {
		return
	}
	if s.PublicURL == "" {
		if s.CardholderListen != "" || s.CardholderSecret.IsSet() {
			l.addWarning("public_url is not set: there is no page for cardholders")
		}
		return
	}
	u, err := url.Parse(s.PublicURL)
	switch {
	case err != nil: // parsed before
	case u.RawQuery != "" || u.Path != "":
		l.addProblem(key, "invalid URL: want scheme and host alone, such as "+
			"https://pay.hotel.example")
	case u.Scheme != "https" && !isLoopbackHost(u.Hostname()):
		l.addProblem(key, "links to cardholders must not be read on the way: use https")
	case !s.CardholderSecret.IsSet():
		l.addProblem(key, "cardholder_secret is not set, so links could be forged: set "+
			"HOLDD_CARDHOLDER_SECRET or cardholder_secret_file, the same for all replicas")
	case s.PropertyName == "":
		l.addProblem(key, "property_name is not set: the page must say who holds the money")
	}
}

func warnAboutPasswordFlag(l *settingsLoader, s *Settings) {
	url := s.RedisURL.Reveal()
	if s.sources["redis_url"].kind == "flag" && MaskPassword(url) != url {
		l.addWarning("redis_url: other users of this machine can see the password in a flag: " +
			"use REDIS_URL or the settings file")
	}
}

func warnAboutAlertsBelowExpiryMargin(l *settingsLoader, s *Settings) {
	if l.hasInvalidValue("alert_thresholds", "expiry_margin") {
		return
	}
	for _, d := range s.AlertThresholds {
		if d < s.ExpiryMargin {
			l.addWarning("alert_thresholds: %s is less than expiry_margin (%s): a hold that is "+
				"captured or canceled at the margin gets no alert so late",
				FormatDuration(d), FormatDuration(s.ExpiryMargin))
			return
		}
	}
}

// warnAboutUnencrypted warns about secrets and events that other machines on
// the way can read or change.
func warnAboutUnencrypted(l *settingsLoader, s *Settings) {
	if !l.hasInvalidValue("callback_url") {
		u, err := url.Parse(s.CallbackURL)
		if err == nil && u.Scheme == "http" && !isLoopbackHost(u.Hostname()) {
			l.addWarning("callback_url: events go to %s unencrypted: use https", u.Host)
		}
	}
	if l.hasInvalidValue("redis_url", "redis_url_file") {
		return
	}
	text := s.RedisURL.Reveal()
	u, err := url.Parse(text)
	if err != nil {
		return
	}
	plain := u.Scheme == "redis" || strings.HasPrefix(u.Scheme, "redis+")
	if plain && MaskPassword(text) != text && !isLoopbackHost(u.Hostname()) {
		l.addWarning("redis_url: the password goes to %s unencrypted: use TLS (rediss://), "+
			"or stay on a private network", u.Hostname())
	}
	if v := u.Query().Get("skip_verify"); v != "" && v != "false" && v != "0" {
		l.addWarning("redis_url: skip_verify accepts any server as Redis: remove it, and make the " +
			"server's certificate known to this machine")
	}
}
