package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settingField is one setting.
type settingField struct {
	key         string // in the file; the flag is the same with dashes
	defaultText string // the default as written; "" is none
	usage       string // for --help
	env         string // "" for HOLDD_ and the key
	secret      bool   // has no flag, and is never shown
	settingCodec
}

func (f *settingField) flagName() string { return strings.ReplaceAll(f.key, "_", "-") }

// envName returns the name of the setting's variable.
func (f *settingField) envName() string {
	if f.env != "" {
		return f.env
	}
	return envPrefix + strings.ToUpper(f.key)
}

func (f *settingField) isBool() bool { return f.defaultText == "true" || f.defaultText == "false" }

// settingCodec reads and writes one value of the settings.
type settingCodec struct {
	split  func(string) []string // splits the text of a list; nil for a single value
	parse  func(texts []string) error
	format func() []string
}

const day = 24 * time.Hour

// newSettingFields returns the table of all settings, in the order in which
// they are shown. Its values read and write s.
func newSettingFields(s *Settings) []*settingField {
	return slices.Concat(stripeAndRedisSettingFields(s), listenerSettingFields(s),
		cardholderSettingFields(s), workerSettingFields(s), alertSettingFields(s),
		storageSettingFields(s), cronAndLogSettingFields(s))
}

func stripeAndRedisSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "stripe_api_key", env: "STRIPE_API_KEY", secret: true,
			usage:        "secret or restricted key of the Stripe account",
			settingCodec: secretCodec(&s.StripeAPIKey, validateStripeKey)},
		{key: "stripe_api_key_file", env: "STRIPE_API_KEY_FILE",
			usage: "file with the Stripe key", settingCodec: textCodec(&s.StripeAPIKeyFile, nil)},
		{key: "stripe_context", env: "STRIPE_CONTEXT",
			usage:        "account that an organization key (sk_org_…) acts for, acct_…",
			settingCodec: textCodec(&s.StripeContext, validateAccountID)},
		{key: "stripe_api_base", env: "STRIPE_API_BASE", defaultText: "https://api.stripe.com",
			usage: "address of Stripe's API", settingCodec: webURLCodec(&s.StripeAPIBase)},
		{key: "stripe_webhook_secrets", env: "STRIPE_WEBHOOK_SECRETS", secret: true,
			usage: "signing secrets of the webhook endpoint",
			settingCodec: secretListCodec(&s.StripeWebhookSecrets, splitComma,
				validateWebhookSecret)},
		{key: "stripe_webhook_secrets_file", env: "STRIPE_WEBHOOK_SECRETS_FILE",
			usage:        "file with the signing secrets, one a line",
			settingCodec: textCodec(&s.StripeWebhookSecretsFile, nil)},
		{key: "redis_url", env: "REDIS_URL", defaultText: "redis://127.0.0.1:6379/0",
			usage:        "address of Redis: " + strings.Join(redisSchemes, ":// ") + "://",
			settingCodec: redisURLCodec(&s.RedisURL)},
		{key: "redis_url_file", env: "REDIS_URL_FILE",
			usage:        "file with the address of Redis",
			settingCodec: textCodec(&s.RedisURLFile, nil)},
		{key: "allow_unsafe_redis", defaultText: "false",
			usage:        "run on a Redis that may evict holds or keeps nothing on disk",
			settingCodec: boolCodec(&s.AllowUnsafeRedis)},
	}
}

func listenerSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "listen", defaultText: "127.0.0.1:8420",
			usage:        "address of the API: host:port, or unix:///path",
			settingCodec: textCodec(&s.Listen, validateListenAddress)},
		{key: "tokens_file",
			usage:        "file with the API's tokens; required for any address but loopback",
			settingCodec: textCodec(&s.TokensFile, nil)},
		{key: "webhook_listen",
			usage:        "address that serves only Stripe's webhooks; listen then serves none",
			settingCodec: textCodec(&s.WebhookListen, validateListenAddress)},
		{key: "metrics_listen",
			usage:        "address that serves only metrics and health, without a token",
			settingCodec: textCodec(&s.MetricsListen, validateListenAddress)},
		{key: "console", defaultText: "true", usage: "serve web pages for operators at /console/",
			settingCodec: boolCodec(&s.Console)},
		{key: "console_identity_header",
			usage:        "header in which a trusted proxy names the console's visitor",
			settingCodec: textCodec(&s.ConsoleIdentityHeader, validateHeaderName)},
		{key: "console_identity_role", defaultText: "read",
			usage:        "role of the visitors that a trusted proxy names: read or operate",
			settingCodec: choiceCodec(&s.ConsoleIdentityRole, "read", "operate")},
		{key: "console_trusted_proxies",
			usage: "addresses or networks (CIDR) of the proxies that name visitors",
			settingCodec: listCodec(&s.ConsoleTrustedProxies, splitComma, parseNetwork,
				netip.Prefix.String)},
	}
}

func cardholderSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "public_url", usage: "where cardholders reach holdd's page for them, such as " +
			"https://pay.hotel.example",
			settingCodec: webURLCodec(&s.PublicURL)},
		{key: "property_name", usage: "the name that cardholders know, such as the hotel's",
			settingCodec: textCodec(&s.PropertyName, validateDisplayName)},
		{key: "cardholder_listen",
			usage:        "address that serves only the page for cardholders; listen then serves none",
			settingCodec: textCodec(&s.CardholderListen, validateListenAddress)},
		{key: "cardholder_secret", secret: true,
			usage:        "secret that signs the links for cardholders",
			settingCodec: secretCodec(&s.CardholderSecret, validateCardholderSecret)},
		{key: "cardholder_secret_file", usage: "file with the cardholder_secret",
			settingCodec: textCodec(&s.CardholderSecretFile, nil)},
	}
}

func workerSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "partitions", defaultText: "1",
			usage:        "number of partitions of the holds; fixed once there are holds",
			settingCodec: intCodec(&s.Partitions, 1, 1024)},
		{key: "concurrency", defaultText: "64", usage: "calls to Stripe at a time",
			settingCodec: intCodec(&s.Concurrency, 1, 4096)},
		{key: "lease", defaultText: "30s",
			usage:        "how long a claim lasts after its replica dies",
			settingCodec: durationCodec(&s.Lease, 5*time.Second, 10*time.Minute)},
		{key: "call_timeout", defaultText: "10s",
			usage:        "time limit of one call to Stripe; less than half of lease",
			settingCodec: durationCodec(&s.CallTimeout, time.Second, 5*time.Minute)},
		{key: "rate", defaultText: "25",
			usage:        "captures and cancels a second, per account, of all replicas together",
			settingCodec: intCodec(&s.Rate, 1, 100_000)},
		{key: "rate_read", defaultText: "25",
			usage:        "reads a second, per account, of all replicas together",
			settingCodec: intCodec(&s.RateRead, 1, 100_000)},
		{key: "shutdown_grace", defaultText: "20s",
			usage:        "time limit of calls in flight when holdd stops",
			settingCodec: durationCodec(&s.ShutdownGrace, time.Second, 10*time.Minute)},
	}
}

func alertSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "expiry_margin", defaultText: "1h",
			usage:        "how long before its deadline an open hold's on_expiry acts",
			settingCodec: durationCodec(&s.ExpiryMargin, time.Minute, 7*day)},
		{key: "cancellation_reason", defaultText: "requested_by_customer",
			usage: "reason that a release gives to Stripe, unless its request names one",
			settingCodec: choiceCodec(&s.CancellationReason, "requested_by_customer", "abandoned",
				"duplicate",
				"fraudulent")},
		{key: "alert_thresholds", defaultText: "72h,24h,6h,1h",
			usage:        "how long before a deadline holdd alerts, once each",
			settingCodec: durationListCodec(&s.AlertThresholds, time.Minute, 30*day)},
		{key: "notify_urls", secret: true,
			usage: "chat, mail and pager addresses for alerts, such as slack://… or smtp://…; " +
				"the parameter severity=critical limits one to critical alerts",
			settingCodec: secretListCodec(&s.NotifyURLs, splitURLs, validateNotifyURL)},
		{key: "notify_urls_file", usage: "file with the notify_urls, one a line",
			settingCodec: textCodec(&s.NotifyURLsFile, nil)},
		{key: "alert_time_zone", defaultText: "UTC",
			usage:        "time zone of times in alerts, such as Europe/Paris",
			settingCodec: textCodec(&s.AlertTimeZone, validateTimeZone)},
		{key: "runbook_url",
			defaultText:  "https://github.com/holdd/holdd/blob/main/deploy/runbook.md",
			usage:        "page that alerts link to, with a section for each kind",
			settingCodec: webURLCodec(&s.RunbookURL)},
		{key: "ping_url", secret: true,
			usage: "dead man's switch: requested while this replica is healthy, " +
				"with /fail appended while it is not",
			settingCodec: secretCodec(&s.PingURL, validatePingURL)},
		{key: "ping_url_file", usage: "file with the ping_url",
			settingCodec: textCodec(&s.PingURLFile, nil)},
		{key: "callback_url", usage: "where events are posted, signed as Standard Webhooks",
			settingCodec: webURLCodec(&s.CallbackURL)},
		{key: "callback_severity", defaultText: "all",
			usage: "all posts every event; info, warning or critical posts the alerts of at least " +
				"this severity",
			settingCodec: choiceCodec(&s.CallbackSeverity, "all", "info", "warning", "critical")},
		{key: "callback_secret", secret: true,
			usage:        "secret that signs the events: whsec_ and base64",
			settingCodec: secretCodec(&s.CallbackSecret, validateCallbackSecret)},
		{key: "callback_secret_file", usage: "file with the callback secret",
			settingCodec: textCodec(&s.CallbackSecretFile, nil)},
	}
}

func storageSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "mirror_terms", defaultText: "true",
			usage:        "write a hold's terms to its intent's metadata, so that a lost Redis can be rebuilt",
			settingCodec: boolCodec(&s.MirrorTerms)},
		{key: "retention", defaultText: "90d", usage: "how long settled holds are kept",
			settingCodec: durationCodec(&s.Retention, time.Hour, 3650*day)},
		{key: "events_max_size", defaultText: "32MiB",
			usage:        "size to which a partition's event stream is trimmed",
			settingCodec: sizeCodec(&s.EventsMaxSize, 1<<20, 64<<30)},
		{key: "audit_stream", defaultText: "0",
			usage:        "entries to keep of who changed which hold; 0: none",
			settingCodec: intCodec(&s.AuditStream, 0, 100_000_000)},
	}
}

func cronAndLogSettingFields(s *Settings) []*settingField {
	return []*settingField{
		{key: "schedule_capture", defaultText: "@every 1s",
			usage:        "when to act on due holds; deadlines do not depend on it",
			settingCodec: textCodec(&s.ScheduleCapture, validateCronSpec)},
		{key: "schedule_expiry", defaultText: "@every 1s", usage: "when to check deadlines",
			settingCodec: textCodec(&s.ScheduleExpiry, validateCronSpec)},
		{key: "schedule_reconcile", defaultText: "@every 15m", usage: "when to compare with Stripe",
			settingCodec: textCodec(&s.ScheduleReconcile, validateCronSpec)},
		{key: "schedule_report", defaultText: "@every 15s",
			usage:        "when to report gauges and the heartbeat",
			settingCodec: textCodec(&s.ScheduleReport, validateCronSpec)},
		{key: "schedule_purge", defaultText: "@hourly",
			usage:        "when to delete settled holds older than retention",
			settingCodec: textCodec(&s.SchedulePurge, validateCronSpec)},

		{key: "log_level", defaultText: "info",
			usage:        "least level that is logged; outcomes are info",
			settingCodec: choiceCodec(&s.LogLevel, "debug", "info", "warn", "error")},
		{key: "log_format", defaultText: "auto",
			usage:        "json, console, or auto: json unless on a terminal",
			settingCodec: choiceCodec(&s.LogFormat, "json", "console", "auto")},
		{key: "log_references", defaultText: "false",
			usage:        "write the references of holds to the log",
			settingCodec: boolCodec(&s.LogReferences)},
	}
}

// singleCodec is a setting of one value.
func singleCodec[T any](to *T, parse func(string) (T, error), format func(T) string) settingCodec {
	return settingCodec{
		parse: func(texts []string) (err error) {
			*to, err = parse(texts[0])
			return err
		},
		format: func() []string {
			if s := format(*to); s != "" {
				return []string{s}
			}
			return nil
		},
	}
}

const maxListEntries = 16

// listCodec is a setting of several values.
func listCodec[T any](
	to *[]T, split func(string) []string, parse func(string) (T, error), format func(T) string,
) settingCodec {
	return settingCodec{
		split: split,
		parse: func(texts []string) error {
			if len(texts) > maxListEntries {
				return fmt.Errorf("too many entries: got %d, want at most %d", len(texts),
					maxListEntries)
			}
			var out []T
			for _, s := range texts {
				v, err := parse(s)
				if err != nil {
					return err
				}
				out = append(out, v)
			}
			*to = out
			return nil
		},
		format: func() (out []string) {
			for _, v := range *to {
				out = append(out, format(v))
			}
			return out
		},
	}
}

// textCodec is a string. A nil check accepts every text.
func textCodec(to *string, check func(string) error) settingCodec {
	parse := func(s string) (string, error) {
		if check != nil {
			if err := check(s); err != nil {
				return "", err
			}
		}
		return s, nil
	}
	return singleCodec(to, parse, func(s string) string { return s })
}

// webURLCodec is the address of a page or a service, without a final slash.
func webURLCodec(to *string) settingCodec {
	return singleCodec(to, parseWebURL, func(s string) string { return s })
}

func choiceCodec(to *string, of ...string) settingCodec { return textCodec(to, oneOf(of)) }

func boolCodec(to *bool) settingCodec { return singleCodec(to, parseBool, strconv.FormatBool) }

func intCodec(to *int, low, high int) settingCodec {
	return singleCodec(to, intParser(low, high), strconv.Itoa)
}

// sizeCodec is a number of bytes with a unit.
func sizeCodec(to *int, low, high int) settingCodec {
	return singleCodec(to, sizeParser(low, high), formatSize)
}

func durationCodec(to *time.Duration, low, high time.Duration) settingCodec {
	return singleCodec(to, durationParser(low, high), FormatDuration)
}

// durationListCodec is a list of durations, longest first and without
// duplicates.
func durationListCodec(to *[]time.Duration, low, high time.Duration) settingCodec {
	v := listCodec(to, splitComma, durationParser(low, high), FormatDuration)
	parse := v.parse
	v.parse = func(texts []string) error {
		err := parse(texts)
		slices.SortFunc(*to, func(a, b time.Duration) int { return cmp.Compare(b, a) })
		*to = slices.Compact(*to)
		return err
	}
	return v
}

func secretCodec(to *Secret, check func(string) error) settingCodec {
	return singleCodec(to, secretParser(check), Secret.Reveal)
}

func secretListCodec(
	to *[]Secret, split func(string) []string, check func(string) error,
) settingCodec {
	return listCodec(to, split, secretParser(check), Secret.Reveal)
}

// redisURLCodec is a secret that is shown with its password masked.
func redisURLCodec(to *Secret) settingCodec {
	return singleCodec(to, secretParser(validateRedisURL),
		func(s Secret) string { return MaskPassword(s.Reveal()) })
}
