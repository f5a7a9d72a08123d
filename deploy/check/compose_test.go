package check

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func TestComposeFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deploy", "compose")
	writeFile(t, filepath.Join(dir, "compose.yaml"), string(readFile(t, deployDir, "compose/compose.yaml")))
	o, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithWorkingDirectory(dir))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context()) // strict: by the specification's schema
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(names, []string{"holdd", "redis"}) {
		t.Fatalf("it has the services %v", names)
	}
	for name, s := range p.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.MemLimit == 0 || s.User == "" || s.Restart != "always" {
			t.Errorf("%s is not locked down, not bounded, or not started again", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s can be reached from other machines at %s", name, port.Published)
			}
		}
	}
	redis := strings.Join(p.Services["redis"].Command, " ")
	for _, want := range []string{"--appendonly yes", "--maxmemory-policy noeviction"} {
		if !strings.Contains(redis, want) {
			t.Errorf("Redis runs without %s: %s", want, redis)
		}
	}
	if v := p.Services["redis"].Volumes; len(v) != 1 || v[0].Target != "/data" || v[0].Type != "volume" || !p.Networks["store"].Internal {
		t.Error("Redis' data has no volume, or others reach it")
	}

	holdd := p.Services["holdd"]
	if _, err := os.Stat(filepath.Join(deployDir, "compose", "../..", holdd.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	env := map[string]string{}
	for name, value := range holdd.Environment {
		if value != nil && name != "GOMEMLIMIT" {
			env[name] = *value
		}
		if secret, ok := strings.CutPrefix(env[name], "/run/secrets/"); ok && !slices.ContainsFunc(holdd.Secrets, func(s types.ServiceSecretConfig) bool { return s.Source == secret }) {
			t.Errorf("%s names a secret that the service does not have", name)
		}
	}
	if s := loadSettings(t, "", env, "/run/secrets/"); s.IsAPIReachableOnlyLocally() || s.RedisURL.Reveal() != "redis://redis:6379/0" {
		t.Errorf("holdd listens at %s", s.Listen)
	} else if len(s.NotifyURLs) > 0 || s.CallbackURL != "" || s.PingURL.Reveal() != "" || s.AlertTimeZone != "UTC" {
		t.Error("somebody is told that nobody named")
	}
	maps.Copy(env, map[string]string{"HOLDD_NOTIFY_URLS": "slack://hook:A-B-C@webhook", "HOLDD_PING_URL": "https://hc-ping.example/x", "HOLDD_CALLBACK_URL": "https://hotel.example/events",
		"HOLDD_CALLBACK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "STRIPE_WEBHOOK_SECRETS": "whsec_composeA,whsec_composeB", "HOLDD_ALERT_TIME_ZONE": "Europe/Paris"})
	for name := range env {
		if _, ok := holdd.Environment[name]; !ok {
			t.Errorf("%s is not among what compose.yaml hands on", name)
		}
	}
	if s := loadSettings(t, "", env, "/run/secrets/"); len(s.NotifyURLs) != 1 || s.CallbackURL == "" || s.PingURL.Reveal() == "" || len(s.StripeWebhookSecrets) != 2 {
		t.Error("what .env says was not read")
	}
}
