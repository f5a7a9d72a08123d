package main

import (
	"errors"
	"os"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
)

// checkSettings says what "holdd config check" says, and what is unsafe though
// it works. s is nil where the settings can't be used.
func checkSettings(s *config.Settings, problem error) (out []checkResult) {
	const check = "settings"
	if s == nil {
		var ce *config.Error
		if !errors.As(problem, &ce) {
			return []checkResult{errorResult(check, "", "%v", problem)}
		}
		for _, p := range ce.Problems {
			out = append(out, errorResult(check, "", "%s", p))
		}
		return append(out, warningResult("redis, stripe", "mend the settings first",
			"not looked at"))
	}
	for _, w := range s.Warnings() {
		out = append(out, warningResult(check, "", "%s", w))
	}
	for _, u := range []struct {
		unsafe            bool
		key, detail, mend string
	}{
		{s.AllowUnsafeRedis, "allow_unsafe_redis",
			"a Redis that evicts or forgets holds would be used",
			"leave it out, unless losing holds is fine"},
		{!s.MirrorTerms, "mirror_terms",
			"terms are not written to Stripe's metadata, so that a lost Redis can't be rebuilt from there", "leave it out"},
		{s.LogLevel == "warn" || s.LogLevel == "error", "log_level",
			"outcomes are logged at the level info, and so not at all", "set it to info"},
		{!s.ListensOnLoopback(), "listen",
			"the API is open to other machines, and tokens pass in the clear unless something in front of it speaks TLS", "listen on loopback or a Unix socket behind a proxy that speaks TLS, or keep to a private network"},
	} {
		if u.unsafe {
			out = append(out, warningResult(check, u.mend, "%s (%s): %s", u.key,
				s.Source(u.key), u.detail))
		}
	}
	if err := checkTokensFile(s.TokensFile); err != nil {
		out = append(out, errorResult(check, "", "tokens_file (%s): %v",
			s.Source("tokens_file"), err))
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
