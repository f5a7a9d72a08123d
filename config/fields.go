package config

import (
	"strconv"
	"strings"
	"time"
)

// A field is all that is known of one setting.
type field struct {
	key     string // in the file; the flag is the same with dashes
	env     string
	def     string // default as it would be written; "" is not set
	doc     string // one line, for --help
	noFlag  bool   // secrets: other users of a machine see flags
	isBool  bool
	split   func(string) []string // lists: how one text becomes many
	read    func(*Settings, []string) error
	show    func(*Settings) []string
	secret  bool // never repeat what was written
	private bool // show says only that it is set
}

func (f *field) flag() string { return strings.ReplaceAll(f.key, "_", "-") }

const day = 24 * time.Hour

// fields is the table of all settings, in the order in which they are shown.
var fields = []*field{
	secretText("stripe_api_key", "STRIPE_API_KEY", "secret or restricted key of the Stripe account", stripeKey,
		func(s *Settings) *Secret { return &s.StripeAPIKey }),
	file("stripe_api_key_file", "STRIPE_API_KEY_FILE", "file that holds the Stripe key",
		func(s *Settings) *string { return &s.StripeAPIKeyFile }),
	text("stripe_api_base", "STRIPE_API_BASE", "https://api.stripe.com", "where Stripe's API is", webURL,
		func(s *Settings) *string { return &s.StripeAPIBase }),
	secretList("stripe_webhook_secrets", "STRIPE_WEBHOOK_SECRETS", "signing secrets of the webhook endpoint", splitComma, webhookSecret,
		func(s *Settings) *[]Secret { return &s.StripeWebhookSecrets }),
	redis("redis_url", "REDIS_URL", "redis://127.0.0.1:6379/0",
		"where the holds are kept: redis:// rediss:// unix:// redis+sentinel:// rediss+sentinel:// redis+cluster:// rediss+cluster://"),
	boolean("allow_unsafe_redis", "false", "run on a Redis that may evict or keeps nothing on disk",
		func(s *Settings) *bool { return &s.AllowUnsafeRedis }),

	text("listen", "", "127.0.0.1:8420", "address of the API: host:port, or unix:///path", listenAddress,
		func(s *Settings) *string { return &s.Listen }),
	file("tokens_file", "", "file with the tokens of the API's users; needed for any address but loopback",
		func(s *Settings) *string { return &s.TokensFile }),

	integer("partitions", "1", "parts the holds are spread over; fixed once there are holds", 1, 1024,
		func(s *Settings) *int { return &s.Partitions }),
	integer("concurrency", "64", "calls to Stripe at a time", 1, 4096,
		func(s *Settings) *int { return &s.Concurrency }),
	duration("lease", "30s", "how long a claimed hold stays claimed when its replica dies", 5*time.Second, 10*time.Minute,
		func(s *Settings) *time.Duration { return &s.Lease }),
	duration("call_timeout", "10s", "time limit of one call to Stripe; less than half of lease", time.Second, 5*time.Minute,
		func(s *Settings) *time.Duration { return &s.CallTimeout }),
	integer("rate", "25", "captures and cancels a second, per account, over all replicas", 1, 100_000,
		func(s *Settings) *int { return &s.Rate }),
	integer("rate_read", "25", "reads a second, per account, over all replicas", 1, 100_000,
		func(s *Settings) *int { return &s.RateRead }),
	duration("shutdown_grace", "20s", "how long calls in flight may take to end when holdd is told to stop", time.Second, 10*time.Minute,
		func(s *Settings) *time.Duration { return &s.ShutdownGrace }),

	duration("expiry_margin", "1h", "how long before its deadline an open hold's on_expiry is acted on", time.Minute, 7*day,
		func(s *Settings) *time.Duration { return &s.ExpiryMargin }),
	durations("alert_thresholds", "72h,24h,6h,1h", "how long before a deadline to warn; once each", time.Minute, 30*day, 16,
		func(s *Settings) *[]time.Duration { return &s.AlertThresholds }),
	secretList("notify_urls", "", "chat, mail and pager addresses for alerts, such as slack://… or smtp://…; severity=critical in one's parameters sends it that alone", splitURLs, notifyURL,
		func(s *Settings) *[]Secret { return &s.NotifyURLs }),
	text("alert_time_zone", "", "UTC", "time zone in which alerts write times, such as Europe/Paris", timeZone,
		func(s *Settings) *string { return &s.AlertTimeZone }),
	text("runbook_url", "", "https://github.com/holdd/holdd/blob/main/deploy/runbook.md", "page that alerts link to, a section for each kind", webURL,
		func(s *Settings) *string { return &s.RunbookURL }),
	secretText("ping_url", "", "dead man's switch: called while this replica is healthy, with /fail behind it while it is not", pingURL,
		func(s *Settings) *Secret { return &s.PingURL }),
	text("callback_url", "", "", "where events are posted, signed as Standard Webhooks", webURL,
		func(s *Settings) *string { return &s.CallbackURL }),
	choice("callback_severity", "all", "all: every event is posted; info, warning, critical: those that are alerts of at least this severity", []string{"all", "info", "warning", "critical"},
		func(s *Settings) *string { return &s.CallbackSeverity }),
	secretText("callback_secret", "", "secret that signs the events: whsec_ and base64", callbackSecret,
		func(s *Settings) *Secret { return &s.CallbackSecret }),
	file("callback_secret_file", "", "file that holds the callback secret",
		func(s *Settings) *string { return &s.CallbackSecretFile }),
	boolean("mirror_terms", "true", "write a hold's terms to its intent's metadata, so that a lost Redis can be rebuilt",
		func(s *Settings) *bool { return &s.MirrorTerms }),
	duration("retention", "90d", "how long settled holds are kept", time.Hour, 3650*day,
		func(s *Settings) *time.Duration { return &s.Retention }),
	integer("events_max", "50000", "length at which a partition's event stream is trimmed", 100, 10_000_000,
		func(s *Settings) *int { return &s.EventsMax }),

	schedule("schedule_capture", "@every 1s", "when to act on what is due; a window delays no deadline",
		func(s *Settings) *string { return &s.ScheduleCapture }),
	schedule("schedule_expiry", "@every 1s", "when to look at deadlines", func(s *Settings) *string { return &s.ScheduleExpiry }),
	schedule("schedule_reconcile", "@every 15m", "when to compare with Stripe", func(s *Settings) *string { return &s.ScheduleReconcile }),
	schedule("schedule_report", "@every 15s", "when to report gauges and the heartbeat", func(s *Settings) *string { return &s.ScheduleReport }),
	schedule("schedule_purge", "@hourly", "when to drop settled holds older than retention", func(s *Settings) *string { return &s.SchedulePurge }),

	choice("log_level", "info", "least level that is logged; outcomes are info", []string{"debug", "info", "warn", "error"},
		func(s *Settings) *string { return &s.LogLevel }),
	choice("log_format", "auto", "json, console, or auto: json unless on a terminal", []string{"json", "console", "auto"},
		func(s *Settings) *string { return &s.LogFormat }),
}

// envOr is the variable of a key: its own name where it has one, HOLDD_ and the key otherwise.
func envOr(env, key string) string {
	if env != "" {
		return env
	}
	return envPrefix + strings.ToUpper(key)
}

func text(key, env, def, doc string, check func(string) (string, error), at func(*Settings) *string) *field {
	return &field{key: key, env: envOr(env, key), def: def, doc: doc,
		read: func(s *Settings, v []string) (err error) { *at(s), err = check(v[0]); return err },
		show: func(s *Settings) []string { return some(*at(s)) },
	}
}

func file(key, env, doc string, at func(*Settings) *string) *field {
	return text(key, env, "", doc, func(v string) (string, error) { return v, nil }, at)
}

func schedule(key, def, doc string, at func(*Settings) *string) *field {
	return text(key, "", def, doc, cronSpec, at)
}

func choice(key, def, doc string, of []string, at func(*Settings) *string) *field {
	return text(key, "", def, doc, oneOf(of), at)
}

func secretText(key, env, doc string, check func(string) error, at func(*Settings) *Secret) *field {
	return &field{key: key, env: envOr(env, key), doc: doc, noFlag: true, secret: true, private: true,
		read: func(s *Settings, v []string) error {
			if err := check(v[0]); err != nil {
				return err
			}
			*at(s) = NewSecret(v[0])
			return nil
		},
		show: func(s *Settings) []string { return some(at(s).Reveal()) },
	}
}

func secretList(key, env, doc string, split func(string) []string, check func(string) error, at func(*Settings) *[]Secret) *field {
	return &field{key: key, env: envOr(env, key), doc: doc, noFlag: true, secret: true, private: true, split: split,
		read: func(s *Settings, v []string) error {
			if err := atMost(len(v), 16); err != nil {
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
		show: func(s *Settings) []string {
			var out []string
			for _, secret := range *at(s) {
				out = append(out, secret.Reveal())
			}
			return out
		},
	}
}

func redis(key, env, def, doc string) *field {
	return &field{key: key, env: env, def: def, doc: doc, secret: true,
		read: func(s *Settings, v []string) error {
			if err := redisURL(v[0]); err != nil {
				return err
			}
			s.RedisURL = NewSecret(v[0])
			return nil
		},
		show: func(s *Settings) []string { return some(withoutPassword(s.RedisURL.Reveal())) },
	}
}

func integer(key, def, doc string, low, high int, at func(*Settings) *int) *field {
	return &field{key: key, env: envOr("", key), def: def, doc: doc,
		read: func(s *Settings, v []string) (err error) { *at(s), err = whole(v[0], low, high); return err },
		show: func(s *Settings) []string { return some(strconv.Itoa(*at(s))) },
	}
}

func boolean(key, def, doc string, at func(*Settings) *bool) *field {
	return &field{key: key, env: envOr("", key), def: def, doc: doc, isBool: true,
		read: func(s *Settings, v []string) (err error) { *at(s), err = yesNo(v[0]); return err },
		show: func(s *Settings) []string { return some(strconv.FormatBool(*at(s))) },
	}
}

func duration(key, def, doc string, low, high time.Duration, at func(*Settings) *time.Duration) *field {
	return &field{key: key, env: envOr("", key), def: def, doc: doc,
		read: func(s *Settings, v []string) (err error) { *at(s), err = span(v[0], low, high); return err },
		show: func(s *Settings) []string { return some(FormatDuration(*at(s))) },
	}
}

func durations(key, def, doc string, low, high time.Duration, most int, at func(*Settings) *[]time.Duration) *field {
	return &field{key: key, env: envOr("", key), def: def, doc: doc, split: splitComma,
		read: func(s *Settings, v []string) (err error) { *at(s), err = spans(v, low, high, most); return err },
		show: func(s *Settings) []string {
			var out []string
			for _, d := range *at(s) {
				out = append(out, FormatDuration(d))
			}
			return out
		},
	}
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
