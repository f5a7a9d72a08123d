package config

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Settings are holdd's settings, as [Load] reads and checks them. fields.go has
// their defaults and limits.
type Settings struct {
	StripeAPIKey         Secret   // sk_…, rk_… or sk_org_…, test or live
	StripeAPIKeyFile     string   // the file that the key is read from; may be empty
	StripeContext        string   // account that an organization key acts for
	StripeAPIBase        string   // without a trailing slash
	StripeWebhookSecrets []Secret // whsec_…; several during a rotation
	// StripeWebhookSecretsFile and the other files of secrets may be empty.
	StripeWebhookSecretsFile string
	RedisURL                 Secret // a secret because it may carry a password
	RedisURLFile             string

	Listen     string // host:port, or unix:///path
	TokensFile string // the API's tokens with their roles
	// WebhookListen serves only Stripe's webhooks, and Listen then serves none.
	// Empty: Listen serves them.
	WebhookListen string
	// MetricsListen serves metrics and health without a token. May be empty.
	MetricsListen string
	Console       bool // serve the web pages under /console/
	// ConsoleIdentityHeader names the console's visitor in requests of the
	// ConsoleTrustedProxies. Empty: visitors sign in with a token.
	ConsoleIdentityHeader string
	ConsoleIdentityRole   string // read or operate
	ConsoleTrustedProxies []netip.Prefix

	// PublicURL is where cardholders reach /cardholder/, without a trailing
	// slash. Empty: there are no links for them.
	PublicURL    string
	PropertyName string // that cardholders know
	// CardholderListen serves only the cardholders' pages, and Listen then
	// serves none. Empty: Listen serves them.
	CardholderListen     string
	CardholderSecret     Secret // signs the links; at least 32 characters
	CardholderSecretFile string // may be empty

	Partitions   int           // only holdd repartition changes it once there are holds
	Concurrency  int           // calls to Stripe at a time
	Lease        time.Duration // how long a claim lasts after its replica dies
	CallTimeout  time.Duration // of one call to Stripe; less than half of Lease
	Rate         int           // captures and cancels a second, per account
	RateRead     int           // reads a second, per account
	ExpiryMargin time.Duration // how long before its deadline a hold's on_expiry acts
	// CancellationReason is sent to Stripe with a cancel that names no reason.
	CancellationReason string

	AlertThresholds []time.Duration // before the deadline, longest first, without duplicates
	NotifyURLs      []Secret        // chat and mail, as the notification library writes them
	NotifyURLsFile  string
	AlertTimeZone   string // IANA name of the zone of times in alerts
	RunbookURL      string // page that alerts link to
	PingURL         Secret // dead man's switch; a secret because of its path
	PingURLFile     string
	CallbackURL     string
	// CallbackSeverity is "all" for every event, or the least severity of the
	// alerts that are posted.
	CallbackSeverity string
	CallbackSecret   Secret // Standard Webhooks: whsec_ and base64
	// CallbackSecretFile is the file that the secret is read from; may be
	// empty.
	CallbackSecretFile string

	Retention time.Duration // how long settled holds are kept
	// AuditStream is about how many entries of who changed which hold are kept;
	// 0: none.
	AuditStream int
	// EventsMaxSize is the size to which a partition's event stream is trimmed, in bytes.
	EventsMaxSize int
	MirrorTerms   bool // write a hold's terms to its intent's metadata

	ScheduleCapture   string // in cron's standard form, with @every and TZ=
	ScheduleExpiry    string
	ScheduleReconcile string
	ScheduleReport    string
	SchedulePurge     string

	LogLevel         string        // debug, info, warn, error
	LogFormat        string        // json, console, auto
	LogReferences    bool          // the log has the references of holds
	AllowUnsafeRedis bool          // run on a Redis that may lose holds
	ShutdownGrace    time.Duration // time limit of calls in flight when holdd stops

	sources  map[string]settingSource
	files    []string // that were read
	warnings []string
}

// Livemode reports whether the Stripe key moves real money.
func (s *Settings) Livemode() bool { return isLiveKey(s.StripeAPIKey.Reveal()) }

// IsAPIReachableOnlyLocally reports whether only this machine can reach Listen, so that
// no token is needed.
func (s *Settings) IsAPIReachableOnlyLocally() bool { return IsLoopbackAddress(s.Listen) }

// Warnings returns sentences about settings that are valid and may be a
// mistake.
func (s *Settings) Warnings() []string { return slices.Clone(s.warnings) }

// Files returns the files from which settings and secrets were read, and the
// tokens file.
func (s *Settings) Files() []string { return slices.Clone(s.files) }

// ChangedSettings returns the keys of the settings that differ.
func ChangedSettings(a, b *Settings) (keys []string) {
	of := newSettingFields(b)
	for i, f := range newSettingFields(a) {
		masked := f.key == "redis_url" && a.RedisURL.Reveal() != b.RedisURL.Reveal()
		if masked || !slices.Equal(f.format(), of[i].format()) {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// SourceOf returns the place where the setting with this key was set:
// "holdd.yaml:3", "environment HOLDD_LEASE", "flag --lease", or "default".
func (s *Settings) SourceOf(key string) string { return s.sources[key].String() }

func isLiveKey(key string) bool {
	return strings.HasPrefix(key, "sk_live_") || strings.HasPrefix(key, "rk_live_") ||
		strings.HasPrefix(key, "sk_org_live_")
}

// IsOrganizationKey reports whether the Stripe key belongs to an organization.
func (s *Settings) IsOrganizationKey() bool {
	return strings.HasPrefix(s.StripeAPIKey.Reveal(), "sk_org_")
}

// IsLoopbackAddress reports whether only this machine reaches an address.
func IsLoopbackAddress(listen string) bool {
	if strings.HasPrefix(listen, "unix://") {
		return true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	return isLoopbackHost(host)
}

func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
