package check

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdd/holdd/config"
)

// loadSettings reads settings as `holdd serve` does. Files that the platform
// would put in place are put in a directory of the test: mounted says which
// paths of env begin where.
func loadSettings(t *testing.T, settings string, env map[string]string, mounted ...string) *config.Settings {
	t.Helper()
	dir := t.TempDir()
	environ := []string{}
	for name, value := range env {
		for _, m := range mounted {
			if rest, ok := strings.CutPrefix(value, m); ok {
				value = writeFile(t, filepath.Join(dir, filepath.Base(rest)), mountedSecret(rest))
			}
		}
		environ = append(environ, name+"="+value)
	}
	path := ""
	if settings != "" {
		path = writeFile(t, filepath.Join(dir, "holdd.yaml"), settings)
	}
	s, err := config.Load(nil, environ, path)
	if err != nil {
		t.Fatalf("these settings are wrong: %v", err)
	}
	return s
}

// mountedSecret returns an example of a secret by the name of its file.
func mountedSecret(file string) string {
	const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, s := range []struct{ name, text string }{
		{"token", "check operate " + operatorToken},
		{"callback", signingSecret},
		{"cardholder", signingSecret},
		{"webhook_secrets", signingSecret + "\n" + signingSecret + "\n"},
		{"redis_url", "redis://:secret@redis:6379/0\n"},
		{"notify_urls", "slack://hook:A-B-C@webhook\n"},
		{"ping_url", "https://hc-ping.example/x\n"},
	} {
		if strings.Contains(file, s.name) {
			return s.text
		}
	}
	return stripeAPIKey
}

func TestExampleSettings_Load(t *testing.T) {
	example := string(readFile(t, repoRoot, "config/holdd.example.yaml"))
	s := loadSettings(t, example, map[string]string{"STRIPE_API_KEY": stripeAPIKey})
	if len(s.Warnings()) > 0 {
		t.Errorf("it warns: %q", s.Warnings())
	}
	// The same with every setting that is commented out.
	// Of a secret and the file that has it, one may be set.
	full := regexp.MustCompile(`(?m)^# (stripe_webhook_secrets|redis_url|notify_urls|ping_url)_file:.*`).
		ReplaceAllString(example, "")
	full = regexp.MustCompile(`(?m)^# ([a-z_]+:)`).ReplaceAllString(full, "$1")
	for _, r := range [][2]string{
		{"[whsec_...]", "[whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]"}, {`[slack://..., "smtp://...&severity=critical"]`, `[slack://hook:A-B-C@webhook, "smtp://u:p@mail.example/?from=a@b.example&to=c@d.example&severity=critical"]`},
		{"https://hc-ping.com/...", "https://hc-ping.com/check"},
		{"/run/secrets/holdd_callback_secret", writeFile(t, filepath.Join(t.TempDir(), "secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
		{"/run/secrets/holdd_cardholder_secret", writeFile(t, filepath.Join(t.TempDir(), "links"), "a secret of this check, long enough")},
		{"/run/secrets/stripe_api_key", writeFile(t, filepath.Join(t.TempDir(), "key"), "sk_org_test_DeployCheck")}, // stripe_context needs it
		{"acct_...", "acct_1Nv0FGQ9RKHgCVdK"},
		{"/etc/holdd/tokens", writeFile(t, filepath.Join(t.TempDir(), "tokens"), "check read "+operatorToken)},
	} {
		if !strings.Contains(full, r[0]) {
			t.Errorf("the example has no %q any more", r[0])
		}
		full = strings.ReplaceAll(full, r[0], r[1])
	}
	if s := loadSettings(t, full, nil); s.TokensFile == "" || s.CallbackURL == "" || len(s.NotifyURLs) != 2 || s.PingURL.Reveal() == "" {
		t.Error("what was commented out was not read")
	}
}

func TestSystemdUnit_Settings(t *testing.T) {
	unit := string(readFile(t, deployDir, "systemd/holdd.service"))
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(?:#  )?\s*Environment=(.*)$`).FindAllStringSubmatch(unit, -1) {
		for _, kv := range strings.Fields(m[1]) {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
			if cred, ok := strings.CutPrefix(value, "%d/"); ok && !strings.Contains(unit, "LoadCredential="+cred+":") {
				t.Errorf("%s is a credential that the unit does not load", cred)
			}
		}
	}
	if len(env) < 3 {
		t.Fatalf("only %v was found", env)
	}
	for _, line := range []string{"\nExecStart=/usr/local/bin/holdd serve --config /etc/holdd/holdd.yaml\n", "\nRestartPreventExitStatus=2\n", "\nRestart=always\n"} {
		if !strings.Contains(unit, line) {
			t.Errorf("the unit has no line %q", strings.TrimSpace(line))
		}
	}
	loadSettings(t, string(readFile(t, repoRoot, "config/holdd.example.yaml")), env, "%d/")
}

// The supervisors' rules rest on these two.
func TestServe_ExitCodes(t *testing.T) {
	for _, c := range []struct {
		env  string
		code int
	}{
		{"REDIS_URL=redis://127.0.0.1:1/0", 1}, // nobody listens there: started again
		{"HOLDD_LEASE=never", 2},               // a wrong setting: left alone
	} {
		cmd := exec.Command(filepath.Join(binDir, "holdd"), "serve")
		cmd.Env = []string{"STRIPE_API_KEY=" + stripeAPIKey, c.env}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("%s: %v, and it should end with %d\n%s", c.env, err, c.code, out)
		}
	}
}
