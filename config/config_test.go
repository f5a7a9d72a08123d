package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdd/holdd/config"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

const testStripeKeyEnv = "STRIPE_API_KEY=sk_test_4eC39HqLyjWDarjtT1zdp7dc"

func parseFlags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

// loadFixture loads a file of testdata with the environment and flags that its
// "# env:" and "# flag:" lines ask for.
func loadFixture(t *testing.T, path string) (*config.Settings, error) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	environ, args := []string{}, []string{}
	if !bytes.Contains(bytes.ToLower(b), []byte("stripe_api_key")) {
		environ = append(environ, testStripeKeyEnv)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "# env: "); ok {
			environ = append(environ, v)
		}
		if v, ok := strings.CutPrefix(line, "# flag: "); ok {
			args = append(args, v)
		}
	}
	return config.Load(parseFlags(t, args...), environ, path)
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	path = strings.TrimSuffix(path, ".yaml") + ".golden"
	if *updateGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s:\n%s\nwant:\n%s", path, got, want)
	}
}

func globFixtures(t *testing.T, glob string) []string {
	t.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures at %s", glob)
	}
	return paths
}

func TestLoad_ValidFiles(t *testing.T) {
	for _, path := range globFixtures(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := loadFixture(t, path)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := s.WriteYAML(&out); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, path, out.String())
		})
	}
}

func TestLoad_ReportsEveryProblem(t *testing.T) {
	for _, path := range globFixtures(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := loadFixture(t, path)
			if s != nil || err == nil {
				t.Fatal("want an error and no settings")
			}
			if _, ok := errors.AsType[*config.InvalidSettingsError](err); !ok {
				t.Errorf("want a *config.Error, got %T", err)
			}
			if strings.Contains(err.Error(), "topsecret") {
				t.Errorf("a secret is in the message: %v", err)
			}
			compareGolden(t, path, err.Error()+"\n")
		})
	}
}

// The output of Show is a settings file with the same settings, without the
// secrets.
func TestShow_RoundTrip(t *testing.T) {
	first, err := config.Load(parseFlags(t, "--rate=7", "--schedule-capture=TZ=Europe/Paris */5 9-18 * * *"), []string{testStripeKeyEnv}, "")
	if err != nil {
		t.Fatal(err)
	}
	var out, again strings.Builder
	if err := first.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shown.yaml")
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := config.Load(nil, []string{testStripeKeyEnv}, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.WriteYAML(&again); err != nil {
		t.Fatal(err)
	}
	if a, b := stripSources(out.String()), stripSources(again.String()); a != b {
		t.Errorf("shown:\n%s\nread back:\n%s", a, b)
	}
}

// stripSources removes the sources.
func stripSources(shown string) string {
	var b strings.Builder
	for line := range strings.Lines(shown) {
		v, _, _ := strings.Cut(line, "  # ")
		b.WriteString(strings.TrimSpace(v) + "\n")
	}
	return b.String()
}

func TestExampleFile_CompleteAndEqualsDefaults(t *testing.T) {
	const path = "holdd.example.yaml"
	example, err := config.Load(nil, []string{testStripeKeyEnv}, path)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := config.Load(nil, []string{testStripeKeyEnv}, "")
	if err != nil {
		t.Fatal(err)
	}
	var a, b strings.Builder
	if err := errors.Join(example.WriteYAML(&a), defaults.WriteYAML(&b)); err != nil {
		t.Fatal(err)
	}
	if stripSources(a.String()) != stripSources(b.String()) {
		t.Errorf("the example means\n%s\nthe defaults are\n%s", stripSources(a.String()), stripSources(b.String()))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "# "), ":")
		if !strings.Contains(string(text), key) {
			t.Errorf("%s does not mention %s", path, key)
		}
		if v := example.SourceOf(key); !strings.HasPrefix(v, path) && !strings.HasPrefix(line,
			"#") {
			t.Errorf("%s has no line for %s, though it has a default", path, key)
		}
	}
}

func TestLoad_Defaults(t *testing.T) {
	s, err := config.Load(nil, []string{testStripeKeyEnv}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"StripeAPIKey", s.StripeAPIKey.Reveal(), "sk_test_4eC39HqLyjWDarjtT1zdp7dc"},
		{"Live", s.Livemode(), false},
		{"StripeAPIBase", s.StripeAPIBase, "https://api.stripe.com"},
		{"RedisURL", s.RedisURL.Reveal(), "redis://127.0.0.1:6379/0"},
		{"Listen", s.Listen, "127.0.0.1:8420"},
		{"Local", s.IsAPIReachableOnlyLocally(), true},
		{"Partitions", s.Partitions, 1},
		{"Concurrency", s.Concurrency, 64},
		{"Lease", s.Lease, 30 * time.Second},
		{"CallTimeout", s.CallTimeout, 10 * time.Second},
		{"Rate", s.Rate, 25},
		{"RateRead", s.RateRead, 25},
		{"ExpiryMargin", s.ExpiryMargin, time.Hour},
		{"AlertThresholds", s.AlertThresholds, []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}},
		{"Retention", s.Retention, 90 * 24 * time.Hour},
		{"ScheduleCapture", s.ScheduleCapture, "@every 1s"},
		{"MirrorTerms", s.MirrorTerms, true},
		{"AllowUnsafeRedis", s.AllowUnsafeRedis, false},
		{"EventsMaxSize", s.EventsMaxSize, 32 << 20},
		{"LogFormat", s.LogFormat, "auto"},
		{"Warnings", s.Warnings(), []string(nil)},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestLoad_LayerPrecedence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdd.yaml")
	if err := os.WriteFile(path, []byte("rate: 1\nrate_read: 1\nevents_max_size: 3MiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(parseFlags(t, "--rate", "3"), []string{testStripeKeyEnv, "HOLDD_RATE=2", "HOLDD_RATE_READ=2"}, path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Rate != 3 || s.RateRead != 2 || s.EventsMaxSize != 3<<20 {
		t.Errorf("rate %d, rate_read %d, events_max_size %d: want 3, 2, 3 MiB", s.Rate, s.RateRead, s.EventsMaxSize)
	}
	for key, want := range map[string]string{
		"rate": "flag --rate", "rate_read": "environment HOLDD_RATE_READ", "events_max_size": path + ":3", "lease": "default",
		"stripe_api_key": "environment STRIPE_API_KEY",
	} {
		if got := s.SourceOf(key); got != want {
			t.Errorf("source of %s: %q, want %q", key, got, want)
		}
	}
}

// An invalid value that a later layer overrides is no problem.
func TestLoad_IgnoresOverriddenValue(t *testing.T) {
	if _, err := config.Load(parseFlags(t, "--rate=3"), []string{testStripeKeyEnv, "HOLDD_RATE=none"}, ""); err != nil {
		t.Error(err)
	}
}

func TestLoad_SecretFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	load := func(path string) (*config.Settings, error) {
		return config.Load(nil, []string{"STRIPE_API_KEY_FILE=" + path}, "")
	}
	s, err := load(write("own", "  sk_live_abc123\n\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if s.StripeAPIKey.Reveal() != "sk_live_abc123" || !s.Livemode() {
		t.Error("the key was not trimmed, or has the wrong mode")
	}
	if len(s.Warnings()) > 0 {
		t.Errorf("warned about a private file: %q", s.Warnings())
	}
	s, err = load(write("world", "sk_test_abc", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "all users of this machine can read ") {
		t.Errorf("warnings: %q", w)
	}
	for name, want := range map[string]string{
		write("empty", " \n", 0o600):                    ": the file is empty",
		write("lines", "sk_test_a\nb\n", 0o600):         ": the file has several lines",
		write("pk", "pk_test_topsecret", 0o600):         ": a publishable key",
		write("short", "sk_test_", 0o600):               ": invalid key, cut off",
		write("chars", "sk_test_topsecret!", 0o600):     ": invalid key, cut off",
		write("junk", "topsecret", 0o600):               ": invalid key: want",
		write("big", strings.Repeat("k", 70000), 0o600): ": want a file of at most 64 KiB",
		dir:                          ": want a file",
		filepath.Join(dir, "absent"): ": cannot read: no such file",
	} {
		_, err := load(name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "STRIPE_API_KEY_FILE") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "topsecret") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: the message has a secret or several lines: %v", name, err)
		}
	}
}

func TestLoad_CommentsInSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	load := func(text string) (*config.Settings, error) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(nil, []string{testStripeKeyEnv, "STRIPE_WEBHOOK_SECRETS_FILE=" + path}, "")
	}
	s, err := load("# the old one, until Monday\nwhsec_TopSecretA\n\n  # new\nwhsec_TopSecretB\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.StripeWebhookSecrets; len(got) != 2 || got[0].Reveal() != "whsec_TopSecretA" ||
		got[1].Reveal() != "whsec_TopSecretB" {
		t.Errorf("%d secrets, or others than those of the file", len(got))
	}
	if _, err := load("# none yet\n"); err == nil || !strings.Contains(err.Error(), "the file is empty") {
		t.Errorf("a file with a comment alone: %v", err)
	}
}

func TestLoad_MissingSettingsFile(t *testing.T) {
	_, err := config.Load(nil, []string{testStripeKeyEnv}, "testdata/absent.yaml")
	if want := "settings file: cannot read: no such file or directory (testdata/absent.yaml)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	_, err = config.Load(nil, []string{testStripeKeyEnv}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "want --config to be a YAML file") {
		t.Error(err)
	}
}

func TestLoad_Warnings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdd.yaml")
	if err := os.WriteFile(path, []byte("stripe_api_key: sk_live_abc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(parseFlags(t, "--redis-url=redis://:topsecret@h", "--shutdown-grace=1s", "--stripe-api-base=https://proxy.internal", "--alert-thresholds=30m"), nil, path)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(s.Warnings(), "\n")
	for _, want := range []string{"has secrets and other users can read it", "redis_url: other users", "shutdown_grace: 1s", "sends a live Stripe key to proxy.internal", "alert_thresholds: 30m"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning with %q in:\n%s", want, all)
		}
	}
	if strings.Contains(all, "topsecret") {
		t.Errorf("a secret is in the warnings: %s", all)
	}
}

func TestParseAndFormatDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		if d, err := config.ParseDuration(in); err != nil || d != want {
			t.Errorf("%s: %v, %v", in, d, err)
		}
	}
	for _, in := range []string{"", "d", "5", "1.5d", "1d-1h", "1d5", "5x", "999999d", "1d1d"} {
		if d, err := config.ParseDuration(in); err == nil {
			t.Errorf("%q was parsed as %v", in, d)
		}
	}
	for want, d := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "72h": 72 * time.Hour, "1h30m": 90 * time.Minute, "30s": 30 * time.Second, "0s": 0, "10m": 10 * time.Minute, "20h": 20 * time.Hour} {
		if got := config.FormatDuration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestLoad_ListenAndRedisAddresses(t *testing.T) {
	for addr, local := range map[string]bool{
		"127.0.0.1:8420": true, "[::1]:8420": true, "localhost:0": true, "unix:///run/h.sock": true, "127.9.9.9:1": true,
	} {
		s, err := config.Load(parseFlags(t, "--listen="+addr), []string{testStripeKeyEnv}, "")
		if err != nil || s.IsAPIReachableOnlyLocally() != local {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{":8420", "0.0.0.0:8420", "[::]:8420", "holdd.internal:8420", "10.0.0.1:8420"} {
		if _, err := config.Load(parseFlags(t, "--listen="+addr), []string{testStripeKeyEnv}, ""); err == nil || !strings.Contains(err.Error(), "tokens_file is not set") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"8420", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "unix://run/h.sock", "unix:///" + strings.Repeat("x", 120)} {
		if _, err := config.Load(parseFlags(t, "--listen="+addr), []string{testStripeKeyEnv}, ""); err == nil {
			t.Errorf("%s was accepted", addr)
		}
	}
	for _, u := range []string{
		"redis://h", "rediss://u:p@h:6379/1", "unix:///run/redis.sock", "unix://u:p@/run/redis.sock?db=1", "redis+sentinel://a:26379,b:26379/main/0",
		"rediss+sentinel://:p@a:1/main", "redis+cluster://a:1,b:2,c:3", "rediss+cluster://a:1",
	} {
		if _, err := config.Load(nil, []string{testStripeKeyEnv, "REDIS_URL=" + u}, ""); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{"localhost:6379", "http://h", "redis://", "redis:///0", "unix://run/redis.sock", "redis://h/a b", "redis-socket:///x"} {
		if _, err := config.Load(nil, []string{testStripeKeyEnv, "REDIS_URL=" + u}, ""); err == nil {
			t.Errorf("%s was accepted", u)
		}
	}
}
