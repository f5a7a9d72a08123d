package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdd/holdd/config"
)

func TestLoad_EverySecretHasAFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hooks := write("hooks", "whsec_first1234567890\nwhsec_second123456789\n")
	environ := []string{testStripeKeyEnv,
		"STRIPE_WEBHOOK_SECRETS_FILE=" + hooks,
		"REDIS_URL_FILE=" + write("redis", "redis://:topsecret@10.0.0.7:6379/0\n"),
		"HOLDD_NOTIFY_URLS_FILE=" + write("notify", "slack://token:aa-bb-cc@channel\n"),
		"HOLDD_PING_URL_FILE=" + write("ping", "https://ping.example/topsecret\n"),
	}
	s, err := config.Load(nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.StripeWebhookSecrets) != 2 || len(s.NotifyURLs) != 1 || !s.PingURL.IsSet() ||
		s.RedisURL.Reveal() != "redis://:topsecret@10.0.0.7:6379/0" || len(s.Files()) != 4 {
		t.Errorf("%d secrets, %d addresses, files %q", len(s.StripeWebhookSecrets),
			len(s.NotifyURLs), s.Files())
	}
	_, err = config.Load(nil, append(environ, "REDIS_URL=redis://h"), "")
	if err == nil || !strings.Contains(err.Error(), "redis_url is set as well") ||
		strings.Contains(err.Error(), "topsecret") {
		t.Errorf("two addresses: %v", err)
	}
	write("hooks", "whsec_second123456789")
	next, err := config.Load(nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	changed := config.ChangedSettings(s, next)
	if !slices.Equal(changed, []string{"stripe_webhook_secrets"}) {
		t.Errorf("changed %q", changed)
	}
}

// A misspelled variable is an error, and one that Kubernetes sets for a service
// is none.
func TestLoad_UnknownVariables(t *testing.T) {
	for _, name := range []string{"STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "REDIS_URI",
		"HOLDD_LISTENS"} {
		_, err := config.Load(nil, []string{testStripeKeyEnv, name + "=x"}, "")
		if err == nil || !strings.Contains(err.Error(), name+": unknown setting") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := config.Load(nil, []string{testStripeKeyEnv, "REDIS_PORT=tcp://10.0.0.7:6379",
		"REDIS_SERVICE_HOST=10.0.0.7", "REDIS_MASTER_PORT_6379_TCP_ADDR=10.0.0.7"}, "")
	if err != nil {
		t.Errorf("variables of a service: %v", err)
	}
}

// Secrets and events on an open network are worth a warning.
func TestLoad_WarnsAboutUnencrypted(t *testing.T) {
	callback := []string{"HOLDD_CALLBACK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	for _, c := range []struct{ setting, want string }{
		{"HOLDD_CALLBACK_URL=http://booking.example/events", "unencrypted: use https"},
		{"HOLDD_CALLBACK_URL=https://booking.example/events", ""},
		{"HOLDD_CALLBACK_URL=http://127.0.0.1:9000/events", ""},
		{"REDIS_URL=redis://:topsecret@redis.example:6379", "the password goes to redis.example"},
		{"REDIS_URL=rediss://:topsecret@redis.example:6379", ""},
		{"REDIS_URL=redis://:topsecret@127.0.0.1:6379", ""},
		{"REDIS_URL=redis://redis.example:6379", ""},
		{"REDIS_URL=rediss://redis.example:6379?skip_verify=true", "skip_verify accepts any server"},
	} {
		environ := []string{testStripeKeyEnv, c.setting}
		if strings.HasPrefix(c.setting, "HOLDD_CALLBACK") {
			environ = append(environ, callback...)
		}
		s, err := config.Load(nil, environ, "")
		if err != nil {
			t.Errorf("%s: %v", c.setting, err)
			continue
		}
		warnings := strings.Join(s.Warnings(), "\n")
		if c.want == "" && warnings != "" || !strings.Contains(warnings, c.want) ||
			strings.Contains(warnings, "topsecret") {
			t.Errorf("%s: warnings %q, want %q", c.setting, warnings, c.want)
		}
	}
}
