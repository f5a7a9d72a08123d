package config

import (
	"net"
	"slices"
	"strings"
	"time"
)

// Settings are all of holdd's settings, read and checked by [Load]. The
// defaults stand in fields.go.
type Settings struct {
	StripeAPIKey         Secret   // sk_… or rk_…, test or live
	StripeAPIKeyFile     string   // where the key was read from, if from a file
	StripeAPIBase        string   // without a trailing slash
	StripeWebhookSecrets []Secret // whsec_…; several while one is being replaced
	RedisURL             Secret   // a secret because it may carry a password

	Listen     string // host:port, or unix:///path
	TokensFile string // who may do what from elsewhere

	Partitions   int           // 1 to 1024; can't be changed once there are holds
	Concurrency  int           // calls to Stripe at a time
	Lease        time.Duration // how long a claim lasts without a sign of life
	CallTimeout  time.Duration // of one call to Stripe; less than half of Lease
	Rate         int           // captures and cancels a second, per account
	RateRead     int           // reads a second, per account
	ExpiryMargin time.Duration // how long before its deadline a hold's on_expiry is acted on

	AlertThresholds []time.Duration // before the deadline, longest first, no two alike
	NotifyURLs      []Secret        // chat and mail, in the notification library's form
	AlertTimeZone   string          // IANA zone in which alerts write times
	RunbookURL      string          // what alerts link to
	PingURL         Secret          // dead man's switch; a secret because its path is
	CallbackURL     string
	// CallbackSeverity is all for every event, else the least severity of those
	// alerts that are posted.
	CallbackSeverity string
	CallbackSecret   Secret // Standard Webhooks: whsec_ and base64
	// CallbackSecretFile is where the secret was read from, if from a file.
	CallbackSecretFile string

	Retention   time.Duration // how long settled holds are kept
	EventsMax   int           // length at which a partition's event stream is trimmed
	MirrorTerms bool          // write a hold's terms to its intent's metadata

	ScheduleCapture   string // cron v3's standard form, with @every and TZ=
	ScheduleExpiry    string
	ScheduleReconcile string
	ScheduleReport    string
	SchedulePurge     string

	LogLevel         string        // debug, info, warn, error
	LogFormat        string        // json, console, auto
	AllowUnsafeRedis bool          // run on a Redis that may forget
	ShutdownGrace    time.Duration // how long calls in flight may take to end

	sources  map[string]source
	warnings []string
}

// Livemode reports whether the Stripe key moves real money.
func (s *Settings) Livemode() bool { return isLiveKey(s.StripeAPIKey.Reveal()) }

// ListensOnLoopback reports whether Listen can be reached from this machine
// only, so that no token is needed.
func (s *Settings) ListensOnLoopback() bool { return isLoopbackAddress(s.Listen) }

// Warnings are sentences about settings that work and that somebody should
// still look at.
func (s *Settings) Warnings() []string { return slices.Clone(s.warnings) }

// Source tells where the setting with this key was set: "holdd.yaml:3",
// "environment HOLDD_LEASE", "flag --lease", or "default".
func (s *Settings) Source(key string) string { return s.sources[key].String() }

func isLiveKey(key string) bool {
	return strings.HasPrefix(key, "sk_live_") || strings.HasPrefix(key, "rk_live_")
}

func isLoopbackAddress(listen string) bool {
	if strings.HasPrefix(listen, "unix://") {
		return true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
