package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
)

// defaultConfigFile is the settings file that holdd init writes.
const defaultConfigFile = "holdd.yaml"

// initAnswers are the answers to the questions of holdd init, and where they
// came from.
type initAnswers struct {
	path string // of the settings file, absolute

	stripeKey     string
	stripeKeyFile string // that has the key; empty: the environment has it
	keepKey       bool   // write the key to stripeKeyFile

	redisURL   string // empty if redisInEnv
	redisInEnv bool

	publicURL string // without a trailing slash; empty: no webhook endpoint
}

type initFlags struct {
	config, stripeKeyFile, redisURL, publicURL string
	force, dryRun                              bool
}

func newInitCommand(out *terminal, env environList) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use: "init", Short: "Write a settings file and set up Stripe's webhooks", Args: cobra.NoArgs,
		Long: `Ask for the Stripe key, the Redis and the public address, write a settings file,
create the webhook endpoint at Stripe with the events that holdd handles, and run "holdd doctor".

Secrets are not shown and not written to the settings file: each goes to a file beside it that only
you can read. A secret that is in the environment stays there.

An endpoint that has the address already is kept and gets the right events. Stripe shows the signing
secret of an endpoint only when it is created; for an older one the command asks.

What a flag or the environment answers is not asked. A variable with _FILE, such as
STRIPE_API_KEY_FILE, has the path of a file with the secret. Without a terminal nothing is asked:
the key must then be in STRIPE_API_KEY or a file.`,
		Example: `  holdd init
  STRIPE_API_KEY=sk_test_... holdd init --redis-url redis://127.0.0.1:6379/0
  holdd init --config /etc/holdd/holdd.yaml \
    --stripe-api-key-file /run/secrets/stripe_api_key \
    --public-url https://pay.hotel.example`,
	}
	fs := cmd.Flags()
	fs.StringVar(&f.config, "config", "",
		"settings file to write (HOLDD_CONFIG; default "+defaultConfigFile+")")
	fs.StringVar(&f.stripeKeyFile, "stripe-api-key-file", "", "file with the Stripe key (STRIPE_API_KEY_FILE)")
	fs.StringVar(&f.redisURL, "redis-url", "", "address of Redis (REDIS_URL)")
	fs.StringVar(&f.publicURL, "public-url", "",
		"where Stripe reaches holdd, such as https://pay.hotel.example; none: no webhooks")
	fs.BoolVar(&f.force, "force", false, "replace the files that an earlier holdd init wrote")
	addDryRunFlag(cmd, &f.dryRun)
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagFilename("stripe-api-key-file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		publicURLGiven := cmd.Flags().Changed("public-url")
		return toExitError(runInit(cmd.Context(), out, env, &f, publicURLGiven), "")
	}
	return cmd
}

func runInit(
	ctx context.Context, out *terminal, env environList, f *initFlags, publicURLGiven bool,
) error {
	path, err := filepath.Abs(cmp.Or(f.config, env.get("HOLDD_CONFIG"), defaultConfigFile))
	if err != nil {
		return err
	}
	a := &initAnswers{path: path}
	switch _, err := os.Stat(path); {
	case err == nil && !f.force:
		return usageErrorf("replace it with --force, or name another file with --config",
			"%s exists: nothing was written", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return usageErrorf("", "cannot write %s: %w", path, err)
	}
	if err := a.collect(ctx, out, env, f, publicURLGiven); err != nil {
		return err
	}
	s, err := a.newSettings(env)
	if err != nil {
		return err
	}
	out.printLiveModeNotice(s.Livemode())
	if !a.redisInEnv && env.get("REDIS_URL") != "" {
		out.printNote("warning: REDIS_URL is set and overrides the Redis of the settings file: " +
			"unset it where holdd serve runs")
	}
	if f.dryRun {
		return a.printDryRun(ctx, out, env, s)
	}
	if err := a.createDirectoryAndWriteStripeKey(); err != nil {
		return err
	}
	secrets, err := a.setUpWebhooks(ctx, out, env, s)
	if err != nil {
		return err
	}
	if err := a.writeConfigAndRedisSecret(env, secrets); err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "Wrote %s.\n\n", path)
	return a.checkWritten(ctx, out, env)
}

// checkWritten runs the doctor on the settings file. REDIS_URL does not count if
// the file has another address.
func (a *initAnswers) checkWritten(
	ctx context.Context, out *terminal, env environList,
) error {
	if !a.redisInEnv {
		env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
			return strings.HasPrefix(kv, "REDIS_URL=")
		})
	}
	s, err := config.Load(nil, env, a.path)
	d := runDoctorChecks(ctx, s, err)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	printDoctorReport(out, d)
	fmt.Fprintf(out.stdout, "\nStart holdd with: holdd serve --config %s\n", a.path)
	return d.failure()
}

// collect takes the answers from flags and the environment, and asks for the
// others.
func (a *initAnswers) collect(
	ctx context.Context, out *terminal, env environList, f *initFlags, publicURLGiven bool,
) (err error) {
	keyVariable := findDefinedSecretVariable(env, "STRIPE_API_KEY")
	switch keyFile := cmp.Or(f.stripeKeyFile,
		strings.TrimSpace(env.get("STRIPE_API_KEY_FILE"))); {
	case f.stripeKeyFile != "" && keyVariable != "":
		return usageErrorf("", "%s is set as well as --stripe-api-key-file: set one", keyVariable)
	case keyVariable == "STRIPE_API_KEY":
		a.stripeKey = env.get(keyVariable)
	case keyFile != "":
		if a.stripeKeyFile, err = filepath.Abs(keyFile); err != nil {
			return err
		}
	case !out.interactive:
		return usageErrorf("set STRIPE_API_KEY, STRIPE_API_KEY_FILE or --stripe-api-key-file",
			"there is no Stripe key, and no terminal to ask for one")
	default:
		a.stripeKey, err = out.askSecret(ctx, "Stripe key (sk_test_..., better a restricted key)")
		if err != nil {
			return err
		}
		a.keepKey, a.stripeKeyFile = true, a.secretFilePath("stripe_api_key")
	}
	const localRedis = "redis://127.0.0.1:6379/0"
	a.redisURL = f.redisURL
	if a.redisURL == "" && findDefinedSecretVariable(env, "REDIS_URL") != "" {
		a.redisInEnv = true
	} else if a.redisURL == "" && out.interactive {
		if a.redisURL, err = out.askLine(ctx, "Redis", localRedis); err != nil {
			return err
		}
	}
	if !a.redisInEnv {
		a.redisURL = cmp.Or(a.redisURL, localRedis)
	}
	a.publicURL = f.publicURL
	if !publicURLGiven && out.interactive {
		a.publicURL, err = out.askLine(ctx,
			"Public URL where Stripe reaches holdd, such as https://pay.hotel.example", "none")
		if err != nil {
			return err
		}
		a.publicURL = strings.TrimPrefix(a.publicURL, "none")
	}
	a.publicURL, err = parsePublicURL(a.publicURL)
	return err
}

// parsePublicURL returns the address without the webhooks' path and without a
// trailing slash.
func parsePublicURL(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", usageErrorf("", "invalid public URL %.60q: want one like "+
			"https://pay.hotel.example", text)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return "", usageErrorf("", "invalid public URL %.60q: want https", text)
	}
	return strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), api.WebhookPath), nil
}

// newSettings checks the answers as the daemon does. The closing doctor checks
// what else is in the environment.
func (a *initAnswers) newSettings(env environList) (*config.Settings, error) {
	given := append(environList{}, env...)
	if a.keepKey {
		given = append(given, "STRIPE_API_KEY="+a.stripeKey)
	} else if a.stripeKeyFile != "" {
		given = append(given, "STRIPE_API_KEY_FILE="+a.stripeKeyFile)
	}
	if !a.redisInEnv {
		given = append(given, "REDIS_URL="+a.redisURL)
	}
	return config.LoadStripe(given, "", "redis_url", "stripe_webhook_secrets", "call_timeout")
}

// findDefinedSecretVariable returns the environment variable that has a secret: name, or
// the one with the path of its file. It is empty if neither is set.
func findDefinedSecretVariable(env environList, name string) string {
	for _, variable := range []string{name, name + "_FILE"} {
		if strings.TrimSpace(env.get(variable)) != "" {
			return variable
		}
	}
	return ""
}

// secretFilePath returns the path of a file of secrets beside the settings
// file.
func (a *initAnswers) secretFilePath(name string) string {
	return strings.TrimSuffix(a.path, filepath.Ext(a.path)) + "." + name
}

func (a *initAnswers) createDirectoryAndWriteStripeKey() error {
	if err := os.MkdirAll(filepath.Dir(a.path), 0o755); err != nil {
		return err
	}
	if !a.keepKey {
		return nil
	}
	return writeFileAtomically(a.stripeKeyFile, []byte(a.stripeKey+"\n"), 0o600)
}

// writeConfigAndRedisSecret writes the settings file. webhookSecrets is the file with the
// signing secrets; empty if there is none.
func (a *initAnswers) writeConfigAndRedisSecret(env environList, webhookSecrets string) error {
	var b strings.Builder
	b.WriteString("# Written by \"holdd init\". Settings that are not here have their defaults:\n" +
		"# \"holdd config show\" prints all.\n\n")
	set := func(key, value string) error {
		if value == "" {
			return nil
		}
		line, err := yaml.Marshal(map[string]string{key: value})
		b.Write(line)
		return err
	}
	redisURL, redisFile := a.redisURL, ""
	if a.redisInEnv {
		redisURL = ""
	} else if redisURLMayHavePassword(redisURL) {
		redisURL, redisFile = "", a.secretFilePath("redis_url")
		if err := writeFileAtomically(redisFile, []byte(a.redisURL+"\n"), 0o600); err != nil {
			return err
		}
	}
	if a.publicURL != "" {
		b.WriteString("# Stripe's webhooks reach holdd at " + a.publicURL + api.WebhookPath + "\n")
	}
	err := errors.Join(set("stripe_api_key_file", a.stripeKeyFile),
		set("stripe_webhook_secrets_file", webhookSecrets),
		set("redis_url", redisURL), set("redis_url_file", redisFile),
		set("stripe_api_base", env.get("STRIPE_API_BASE")),
		set("stripe_context", env.get("STRIPE_CONTEXT")))
	if err != nil {
		return err
	}
	return writeFileAtomically(a.path, []byte(b.String()), 0o644)
}

// redisURLMayHavePassword reports whether the settings file, which all users can read,
// must not have this address of Redis. An address that net/url cannot parse
// counts, because its password may be what is wrong.
func redisURLMayHavePassword(redisURL string) bool {
	u, err := url.Parse(redisURL)
	return err != nil || u.User != nil || config.MaskPassword(redisURL) != redisURL
}
