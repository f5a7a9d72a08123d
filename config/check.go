package config

import (
	"net/url"
	"os"
)

// check looks at settings that only make sense together. It keeps quiet about
// those that couldn't be read.

func (l *loader) checkCombinations() {
	s := l.settings
	ok := func(keys ...string) bool {
		for _, k := range keys {
			if l.invalid[k] {
				return false
			}
		}
		return true
	}
	if !s.StripeAPIKey.IsSet() && ok("stripe_api_key", "stripe_api_key_file") {
		l.addProblem("stripe_api_key",
			"is not set: give STRIPE_API_KEY, or a file with the key as STRIPE_API_KEY_FILE or stripe_api_key_file")
	}
	if ok("stripe_api_key", "stripe_api_base") && s.Livemode() {
		base, _ := url.Parse(s.StripeAPIBase)
		if base.Scheme != "https" {
			l.addProblem("stripe_api_base",
				"is not https, and the Stripe key is a live one, which would be sent in the clear: use https, or a test key")
		} else if base.Host != "api.stripe.com" {
			l.addWarning(
				"stripe_api_base sends a live Stripe key to %s, which is not Stripe's own address",
				base.Host)
		}
	}
	if ok("call_timeout", "lease") && s.CallTimeout >= s.Lease/2 {
		l.addProblem("call_timeout",
			"is %s and has to be less than half of lease, which is %s, so that a claim can't run out during a call: shorten it or lengthen lease",
			FormatDuration(s.CallTimeout), FormatDuration(s.Lease))
	}
	if ok("shutdown_grace", "call_timeout") && s.ShutdownGrace < s.CallTimeout {
		l.addWarning(
			"shutdown_grace is %s, less than call_timeout (%s): a call in flight may be cut off when holdd stops, and is then settled by reading it back",
			FormatDuration(s.ShutdownGrace), FormatDuration(s.CallTimeout))
	}
	if ok("listen", "tokens_file") && !s.ListensOnLoopback() && s.TokensFile == "" {
		l.addProblem("listen",
			"is %s, which others can reach, and there is no tokens_file: give one, or listen on 127.0.0.1 or unix:///path", s.Listen)
	}
	if s.TokensFile != "" && ok("tokens_file") {
		if info, err := os.Stat(s.TokensFile); err != nil {
			l.addProblem("tokens_file", "names %s, which can't be read: %s",
				s.TokensFile, fileErrorReason(err))
		} else if info.IsDir() {
			l.addProblem("tokens_file", "names %s, which is a directory", s.TokensFile)
		} else {
			l.warnIfWorldReadable("tokens_file", s.TokensFile, info)
		}
	}
	if ok("callback_url", "callback_secret", "callback_secret_file") {
		switch {
		case s.CallbackURL != "" && !s.CallbackSecret.IsSet():
			l.addProblem("callback_url",
				"is given without callback_secret, so that nobody could tell holdd's events from forged ones: give HOLDD_CALLBACK_SECRET or callback_secret_file")
		case s.CallbackURL == "" && s.CallbackSecret.IsSet():
			l.addProblem("callback_secret", "is given without callback_url: give both, or neither")
		}
	}
	if ok("stripe_api_base") {
		if base, _ := url.Parse(s.StripeAPIBase); base.RawQuery != "" || base.Path != "" {
			l.addProblem("stripe_api_base",
				"has more than scheme and host: write it like https://api.stripe.com")
		}
	}
	if src := s.sources["redis_url"]; src.kind == "flag" &&
		maskPassword(s.RedisURL.Reveal()) != s.RedisURL.Reveal() {
		l.addWarning(
			"redis_url carries a password and was given as a flag, which other users of this machine can see: use REDIS_URL or the settings file")
	}
	if !ok("alert_thresholds", "expiry_margin") {
		return
	}
	for _, d := range s.AlertThresholds {
		if d < s.ExpiryMargin {
			l.addWarning(
				"alert_thresholds has %s, which comes after expiry_margin (%s): holds that are captured or canceled at the margin are never warned about so late",
				FormatDuration(d), FormatDuration(s.ExpiryMargin))
			break
		}
	}
}
