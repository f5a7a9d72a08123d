package main

import (
	"errors"
	"os"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
)

// checkSettings reports the problems that "holdd config check" reports, and
// valid settings that are unsafe. s is nil if the settings are invalid.
func checkSettings(s *config.Settings, settingsErr error) (out []doctorCheckResult) {
	const check = "settings"
	if s == nil {
		var ce *config.InvalidSettingsError
		if !errors.As(settingsErr, &ce) {
			return []doctorCheckResult{errorResult(check, "", "%v", settingsErr)}
		}
		for _, p := range ce.Problems {
			out = append(out, errorResult(check, "", "%s", p))
		}
		return append(out, warningResult("redis, stripe", "fix the settings first", "not checked"))
	}
	for _, w := range s.Warnings() {
		out = append(out, warningResult(check, "", "%s", w))
	}
	for _, u := range []struct {
		unsafe            bool
		key, detail, hint string
	}{
		{s.AllowUnsafeRedis, "allow_unsafe_redis",
			"holdd starts on a Redis that may lose holds",
			"remove it, unless holds may be lost"},
		{!s.MirrorTerms, "mirror_terms",
			"terms are not written to Stripe's metadata, so a lost Redis cannot be rebuilt",
			"remove it"},
		{s.LogLevel == "warn" || s.LogLevel == "error", "log_level",
			"outcomes are logged at the level info, and are left out", "set it to info"},
		{!s.IsAPIReachableOnlyLocally(), "listen",
			"other machines can reach the API, and tokens are sent unencrypted unless a proxy " +
				"in front of it uses TLS",
			"listen on loopback or a Unix socket behind a proxy with TLS, or stay on a private network"},
		{s.MetricsListen != "" && !config.IsLoopbackAddress(s.MetricsListen), "metrics_listen",
			"whoever reaches this address reads the metrics without a token",
			"let only the monitoring system reach it"},
	} {
		if u.unsafe {
			out = append(out, warningResult(check, u.hint, "%s (%s): %s", u.key,
				s.SourceOf(u.key), u.detail))
		}
	}
	if err := checkTokensFile(s.TokensFile); err != nil {
		out = append(out, errorResult(check, "", "tokens_file (%s): %v",
			s.SourceOf("tokens_file"), err))
	}
	if len(out) == 0 {
		out = append(out, okResult(check, "complete and valid"))
	}
	return out
}

// checkTokensFile reads the file as the daemon does when it starts.
func checkTokensFile(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = api.ParseTokens(f)
	return err
}
