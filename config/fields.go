package config

import (
	"strconv"
	"strings"
	"time"
)

// A field is all that is known of one setting.
type field struct {
	key         string // in the file; the flag is the same with dashes
	env         string
	defaultText string // default as it would be written; "" is not set
	usage       string // one line, for --help
	noFlag      bool   // secrets: other users of a machine see flags
	isBool      bool
	split       func(string) []string // lists: how one text becomes many
	parseInto   func(*Settings, []string) error
	formatFrom  func(*Settings) []string
	secret      bool // never repeat what was written
	redact      bool // show says only that it is set
}

func (f *field) flagName() string { return strings.ReplaceAll(f.key, "_", "-") }

const day = 24 * time.Hour

// fields is the table of all settings, in the order in which they are shown.
var fields = []*field{
	secretField("stripe_api_key", "STRIPE_API_KEY",
		"secret or restricted key of the Stripe account", checkStripeKey,
		func(s *Settings) *Secret { return &s.StripeAPIKey }),
	fileField("stripe_api_key_file", "STRIPE_API_KEY_FILE", "file that holds the Stripe key",
		func(s *Settings) *string { return &s.StripeAPIKeyFile }),
	textField("stripe_api_base", "STRIPE_API_BASE", "https://api.stripe.com",
		"where Stripe's API is", parseWebURL,
		func(s *Settings) *string { return &s.StripeAPIBase }),
	secretListField("stripe_webhook_secrets", "STRIPE_WEBHOOK_SECRETS",
		"signing secrets of the webhook endpoint", splitComma, checkWebhookSecret,
		func(s *Settings) *[]Secret { return &s.StripeWebhookSecrets }),
	redisField("redis_url", "REDIS_URL", "redis://127.0.0.1:6379/0",
		"where the holds are kept: redis:// rediss:// unix:// redis+sentinel:// rediss+sentinel:// redis+cluster:// rediss+cluster://"),
	boolField("allow_unsafe_redis", "false",
		"run on a Redis that may evict or keeps nothing on disk",
		func(s *Settings) *bool { return &s.AllowUnsafeRedis }),

	textField("listen", "", "127.0.0.1:8420", "address of the API: host:port, or unix:///path",
		parseListenAddress,
		func(s *Settings) *string { return &s.Listen }),
	fileField("tokens_file", "",
		"file with the tokens of the API's users; needed for any address but loopback",
		func(s *Settings) *string { return &s.TokensFile }),

	intField("partitions", "1", "parts the holds are spread over; fixed once there are holds", 1,
		1024,
		func(s *Settings) *int { return &s.Partitions }),
	intField("concurrency", "64", "calls to Stripe at a time", 1, 4096,
		func(s *Settings) *int { return &s.Concurrency }),
	durationField("lease", "30s", "how long a claimed hold stays claimed when its replica dies",
		5*time.Second, 10*time.Minute,
		func(s *Settings) *time.Duration { return &s.Lease }),
	durationField("call_timeout", "10s",
		"time limit of one call to Stripe; less than half of lease", time.Second, 5*time.Minute,
		func(s *Settings) *time.Duration { return &s.CallTimeout }),
	intField("rate", "25", "captures and cancels a second, per account, over all replicas", 1,
		100_000,
		func(s *Settings) *int { return &s.Rate }),
	intField("rate_read", "25", "reads a second, per account, over all replicas", 1, 100_000,
		func(s *Settings) *int { return &s.RateRead }),
	durationField("shutdown_grace", "20s",
		"how long calls in flight may take to end when holdd is told to stop",
		time.Second, 10*time.Minute,
		func(s *Settings) *time.Duration { return &s.ShutdownGrace }),

	durationField("expiry_margin", "1h",
		"how long before its deadline an open hold's on_expiry is acted on", time.Minute, 7*day,
		func(s *Settings) *time.Duration { return &s.ExpiryMargin }),
	durationListField("alert_thresholds", "72h,24h,6h,1h",
		"how long before a deadline to warn; once each", time.Minute, 30*day, 16,
		func(s *Settings) *[]time.Duration { return &s.AlertThresholds }),
	secretListField("notify_urls", "",
		"chat, mail and pager addresses for alerts, such as slack://… or smtp://…; severity=critical in one's parameters sends it that alone", splitURLs, checkNotifyURL,
		func(s *Settings) *[]Secret { return &s.NotifyURLs }),
	textField("alert_time_zone", "", "UTC",
		"time zone in which alerts write times, such as Europe/Paris", parseTimeZone,
		func(s *Settings) *string { return &s.AlertTimeZone }),
	textField("runbook_url", "", "https://github.com/holdd/holdd/blob/main/deploy/runbook.md",
		"page that alerts link to, a section for each kind", parseWebURL,
		func(s *Settings) *string { return &s.RunbookURL }),
	secretField("ping_url", "",
		"dead man's switch: called while this replica is healthy, with /fail behind it while it is not", checkPingURL,
		func(s *Settings) *Secret { return &s.PingURL }),
	textField("callback_url", "", "", "where events are posted, signed as Standard Webhooks",
		parseWebURL,
		func(s *Settings) *string { return &s.CallbackURL }),
	choiceField("callback_severity", "all",
		"all: every event is posted; info, warning, critical: those that are alerts of at least this severity", []string{"all", "info", "warning", "critical"},
		func(s *Settings) *string { return &s.CallbackSeverity }),
	secretField("callback_secret", "", "secret that signs the events: whsec_ and base64",
		checkCallbackSecret,
		func(s *Settings) *Secret { return &s.CallbackSecret }),
	fileField("callback_secret_file", "", "file that holds the callback secret",
		func(s *Settings) *string { return &s.CallbackSecretFile }),
	boolField("mirror_terms", "true",
		"write a hold's terms to its intent's metadata, so that a lost Redis can be rebuilt",
		func(s *Settings) *bool { return &s.MirrorTerms }),
	durationField("retention", "90d", "how long settled holds are kept", time.Hour, 3650*day,
		func(s *Settings) *time.Duration { return &s.Retention }),
	intField("events_max", "50000", "length at which a partition's event stream is trimmed", 100,
		10_000_000,
		func(s *Settings) *int { return &s.EventsMax }),

	scheduleField("schedule_capture", "@every 1s",
		"when to act on what is due; a window delays no deadline",
		func(s *Settings) *string { return &s.ScheduleCapture }),
	scheduleField("schedule_expiry", "@every 1s", "when to look at deadlines",
		func(s *Settings) *string { return &s.ScheduleExpiry }),
	scheduleField("schedule_reconcile", "@every 15m", "when to compare with Stripe",
		func(s *Settings) *string { return &s.ScheduleReconcile }),
	scheduleField("schedule_report", "@every 15s", "when to report gauges and the heartbeat",
		func(s *Settings) *string { return &s.ScheduleReport }),
	scheduleField("schedule_purge", "@hourly", "when to drop settled holds older than retention",
		func(s *Settings) *string { return &s.SchedulePurge }),

	choiceField("log_level", "info", "least level that is logged; outcomes are info",
		[]string{"debug", "info", "warn", "error"},
		func(s *Settings) *string { return &s.LogLevel }),
	choiceField("log_format", "auto", "json, console, or auto: json unless on a terminal",
		[]string{"json", "console", "auto"},
		func(s *Settings) *string { return &s.LogFormat }),
}

// envName is the variable of a key: its own name where it has one, HOLDD_ and
// the key otherwise.
func envName(env, key string) string {
	if env != "" {
		return env
	}
	return envPrefix + strings.ToUpper(key)
}

func textField(
	key, env, def, doc string, check func(string) (string, error), at func(*Settings) *string,
) *field {
	return &field{key: key, env: envName(env, key), defaultText: def, usage: doc,
		parseInto: func(s *Settings, v []string) (err error) {
			*at(s),
				err = check(v[0])
			return err
		},
		formatFrom: func(s *Settings) []string { return nonEmpty(*at(s)) },
	}
}

func fileField(key, env, doc string, at func(*Settings) *string) *field {
	return textField(key, env, "", doc, func(v string) (string, error) { return v, nil }, at)
}

func scheduleField(key, def, doc string, at func(*Settings) *string) *field {
	return textField(key, "", def, doc, parseCronSpec, at)
}

func choiceField(key, def, doc string, of []string, at func(*Settings) *string) *field {
	return textField(key, "", def, doc, parseOneOf(of), at)
}

func secretField(
	key, env, doc string, check func(string) error, at func(*Settings) *Secret,
) *field {
	return &field{key: key, env: envName(env, key), usage: doc, noFlag: true,
		secret: true, redact: true,
		parseInto: func(s *Settings, v []string) error {
			if err := check(v[0]); err != nil {
				return err
			}
			*at(s) = NewSecret(v[0])
			return nil
		},
		formatFrom: func(s *Settings) []string { return nonEmpty(at(s).Reveal()) },
	}
}

func secretListField(
	key, env, doc string, split func(string) []string, check func(string) error,
	at func(*Settings) *[]Secret,
) *field {
	return &field{key: key, env: envName(env, key), usage: doc, noFlag: true, secret: true,
		redact: true, split: split,
		parseInto: func(s *Settings, v []string) error {
			if err := checkEntryCount(len(v), 16); err != nil {
				return err
			}
			list := make([]Secret, 0, len(v))
			for _, text := range v {
				if err := check(text); err != nil {
					return err
				}
				list = append(list, NewSecret(text))
			}
			*at(s) = list
			return nil
		},
		formatFrom: func(s *Settings) []string {
			var out []string
			for _, secret := range *at(s) {
				out = append(out, secret.Reveal())
			}
			return out
		},
	}
}

func redisField(key, env, def, doc string) *field {
	return &field{key: key, env: env, defaultText: def, usage: doc, secret: true,
		parseInto: func(s *Settings, v []string) error {
			if err := checkRedisURL(v[0]); err != nil {
				return err
			}
			s.RedisURL = NewSecret(v[0])
			return nil
		},
		formatFrom: func(s *Settings) []string {
			return nonEmpty(maskPassword(s.RedisURL.Reveal()))
		},
	}
}

func intField(key, def, doc string, low, high int, at func(*Settings) *int) *field {
	return &field{key: key, env: envName("", key), defaultText: def, usage: doc,
		parseInto: func(s *Settings, v []string) (err error) {
			*at(s),
				err = parseIntInRange(v[0], low, high)
			return err
		},
		formatFrom: func(s *Settings) []string { return nonEmpty(strconv.Itoa(*at(s))) },
	}
}

func boolField(key, def, doc string, at func(*Settings) *bool) *field {
	return &field{key: key, env: envName("", key), defaultText: def, usage: doc, isBool: true,
		parseInto: func(s *Settings, v []string) (err error) {
			*at(s),
				err = parseBool(v[0])
			return err
		},
		formatFrom: func(s *Settings) []string { return nonEmpty(strconv.FormatBool(*at(s))) },
	}
}

func durationField(
	key, def, doc string, low, high time.Duration, at func(*Settings) *time.Duration,
) *field {
	return &field{key: key, env: envName("", key), defaultText: def, usage: doc,
		parseInto: func(s *Settings, v []string) (err error) {
			*at(s), err = parseDurationInRange(v[0], low, high)
			return err
		},
		formatFrom: func(s *Settings) []string { return nonEmpty(FormatDuration(*at(s))) },
	}
}

func durationListField(
	key, def, doc string, low, high time.Duration, most int, at func(*Settings) *[]time.Duration,
) *field {
	return &field{key: key, env: envName("", key), defaultText: def, usage: doc, split: splitComma,
		parseInto: func(s *Settings, v []string) (err error) {
			*at(s), err = parseDurationList(v, low, high, most)
			return err
		},
		formatFrom: func(s *Settings) []string {
			var out []string
			for _, d := range *at(s) {
				out = append(out, FormatDuration(d))
			}
			return out
		},
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
