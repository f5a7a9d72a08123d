package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
)

const (
	liveKey    = "sk_live_51ThisMustNeverBeShownAnywhere"
	brokenKey  = "pk_test_51ThisMustNeverBeShownEither"
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// An invalid setting ends the start with an error that names it and where it
// was set. Redis gets no command.
func TestServe_NamesInvalidSetting(t *testing.T) {
	t.Parallel()
	bin := binaryPath(t, buildRelease)
	unknown := writeTempFile(t, "unknown.yaml", "listen: 127.0.0.1:0\nconcurency: 5\n")
	broken := writeTempFile(t, "broken.yaml", "listen: [127.0.0.1\n")
	for _, c := range []struct {
		what  string
		env   []string // over a good key; "NAME=" takes a variable away
		args  []string
		names []string // what the sentence must contain
	}{
		{"no key", []string{"STRIPE_API_KEY="}, nil, []string{"stripe_api_key: missing", "STRIPE_API_KEY_FILE"}},
		{"a publishable key", []string{"STRIPE_API_KEY=" + brokenKey}, nil, []string{"stripe_api_key: a publishable key", "environment STRIPE_API_KEY"}},
		{"a live key in the clear", []string{"STRIPE_API_KEY=" + liveKey, "STRIPE_API_BASE=http://stripe.example"}, nil, []string{"stripe_api_base: would send a live Stripe key unencrypted"}},
		{"a file that isn't there", []string{"STRIPE_API_KEY=", "STRIPE_API_KEY_FILE=/nowhere/key"}, nil, []string{"stripe_api_key_file: /nowhere/key"}},
		{"a number that is none", []string{"HOLDD_CONCURRENCY=many"}, nil, []string{"concurrency", "many", "environment HOLDD_CONCURRENCY"}},
		{"a number out of range", nil, []string{"--rate", "0"}, []string{"rate: invalid number", "want a whole number from 1", "flag --rate"}},
		{"a duration without a unit", []string{"HOLDD_LEASE=30"}, nil, []string{"lease: invalid duration", "with a unit", "30s"}},
		{"a call longer than half a lease", []string{"HOLDD_CALL_TIMEOUT=20s"}, nil, []string{"call_timeout: 20s", "lease", "30s"}},
		{"a schedule that is none", []string{"HOLDD_SCHEDULE_CAPTURE=every second"}, nil, []string{"schedule_capture", "every second"}},
		{"an address that others reach", []string{"HOLDD_LISTEN=0.0.0.0:0"}, nil, []string{"listen: other machines can reach 0.0.0.0:0", "tokens_file"}},
		{"a Redis that is none", []string{"REDIS_URL=mysql://127.0.0.1"}, nil, []string{"redis_url", "redis://"}},
		{"an unknown variable", []string{"HOLDD_LEESE=30s"}, nil, []string{"HOLDD_LEESE: unknown setting", "did you mean HOLDD_LEASE?"}},
		{"an unknown line in the file", nil, []string{"--config", unknown}, []string{"concurency: unknown setting", "did you mean concurrency?", "unknown.yaml:2"}},
		{"a file that can't be read as YAML", nil, []string{"--config", broken}, []string{"broken.yaml"}},
		{"an unknown flag", nil, []string{"--leese", "30s"}, []string{"--leese"}},
		{"a choice that isn't there", []string{"HOLDD_LOG_LEVEL=loud"}, nil,
			[]string{"log_level", "loud", "debug, info, warn, error"}},
	} {
		// If anything were asked of Redis it would not be refused for the
		// setting.
		env := append([]string{"STRIPE_API_KEY=" + apiKey, "REDIS_URL=redis://127.0.0.1:1"},
			c.env...)
		code, out, errs := runHoldd(t, bin, env, append([]string{"serve"}, c.args...)...)
		if code != exitUsage || out != "" {
			t.Errorf("%s: exit code %d, standard output %q, and it should be %d and nothing\n%s",
				c.what, code, out, exitUsage, errs)
		}
		for _, name := range c.names {
			if !strings.Contains(errs, name) {
				t.Errorf("%s: the sentence does not say %q:\n%s", c.what, name, errs)
			}
		}
		for _, secret := range []string{liveKey, brokenKey, apiKey} {
			if strings.Contains(errs, secret) {
				t.Errorf("%s: a key is shown:\n%s", c.what, errs)
			}
		}
	}
}

// An unsafe Redis or an invalid file ends the start with an error as well.
func TestServe_RefusesUnsafeStart(t *testing.T) {
	t.Parallel()
	bin := binaryPath(t, buildRelease)
	good := storetest.Start(t)
	evicting := storetest.Start(t, "--maxmemory-policy", "allkeys-lru")
	forgetful := storetest.Start(t, "--appendonly", "no")
	w := &world{tb: t, redis: good, stripe: &stripeServer{addr: "127.0.0.1:1"}}
	w.startReplica(bin, "HOLDD_PARTITIONS=4").terminate(exitOK)

	for _, c := range []struct {
		what  string
		env   []string
		code  int
		names []string
	}{
		{"a Redis that evicts", []string{"REDIS_URL=" + evicting.URL()}, exitFailed,
			[]string{"maxmemory-policy is allkeys-lru", "noeviction", "allow_unsafe_redis"}},
		{"a Redis that forgets", []string{"REDIS_URL=" + forgetful.URL()}, exitFailed,
			[]string{"nothing is written to disk", "set appendonly to yes"}},
		{"a Redis that isn't there", []string{"REDIS_URL=redis://127.0.0.1:1"}, exitFailed,
			[]string{"Redis at redis://127.0.0.1:1 does not answer", "redis_url"}},
		{"other partitions", []string{"HOLDD_PARTITIONS=8"}, exitUsage,
			[]string{"4 partitions", "set partitions"}},
		{"the other mode", []string{"HOLDD_PARTITIONS=4", "STRIPE_API_KEY=" + liveKey,
			"STRIPE_API_BASE="}, exitUsage, []string{"test mode", "live mode",
			"redis_url", "stripe_api_key"}},
		{"a Redis address with a bad parameter", []string{"REDIS_URL=" + good.URL() + "/zero"},
			exitUsage, []string{"redis_url"}},
		{"tokens that are none", []string{"HOLDD_PARTITIONS=4", "HOLDD_TOKENS_FILE=" +
			writeTempFile(t, "tokens", "frontdesk everything abc\n")}, exitUsage,
			[]string{"tokens_file"}},
	} {
		env := append(append(w.settings(), "HOLDD_LISTEN=127.0.0.1:0"), c.env...)
		code, _, errs := runHoldd(t, bin, env, "serve")
		if code != c.code {
			t.Errorf("%s: exit code %d, and it should be %d\n%s", c.what, code, c.code, errs)
		}
		for _, name := range c.names {
			if !strings.Contains(errs, name) {
				t.Errorf("%s: the sentence does not say %q:\n%s", c.what, name, errs)
			}
		}
		if strings.Contains(errs, liveKey) || strings.Contains(errs, apiKey) {
			t.Errorf("%s: a key is shown:\n%s", c.what, errs)
		}
	}

	// Told that losing holds is fine, it starts, and says what it thinks of it.
	w.redis = evicting
	r := w.startReplica(bin, "HOLDD_ALLOW_UNSAFE_REDIS=true")
	storetest.WaitUntil(t, time.Second, "the log warns",
		func() bool { return r.log.contains("maxmemory-policy is allkeys-lru") })
	r.terminate(exitOK)
}
