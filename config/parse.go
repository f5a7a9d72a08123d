package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/robfig/cron/v3"
)

// The errors of this file follow the name of the setting. Errors about secrets
// do not repeat the text.

var daysPattern = regexp.MustCompile(`^(\d{1,6})d(\d.*)?$`)

// ParseDuration parses what time.ParseDuration does, and days before it: 90d,
// 1d12h. A day is 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	days, rest := time.Duration(0), s
	if m := daysPattern.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 100_000 {
			return 0, fmt.Errorf("invalid duration %.40q: too long", s)
		}
		if days, rest = time.Duration(n)*day, m[2]; rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("invalid duration %.40q: want a number with a unit, such as 30s, "+
			"15m, 6h or 90d", s)
	}
	return days + d, nil
}

// FormatDuration writes a duration as [ParseDuration] reads it, without zero
// units: 90d, 24h, 1h30m.
func FormatDuration(d time.Duration) string {
	if d >= 7*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func durationParser(low, high time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := ParseDuration(s)
		if err == nil && (d < low || d > high) {
			err = fmt.Errorf("invalid duration %.40q: want %s to %s", s, FormatDuration(low),
				FormatDuration(high))
		}
		return d, err
	}
}

func intParser(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("invalid number %.40q: want a whole number from %d to %d", s, low,
				high)
		}
		return n, nil
	}
}

// sizeUnits are the units of a size, smallest first.
var sizeUnits = []struct {
	name  string
	bytes int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

func sizeParser(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		for _, unit := range sizeUnits {
			text, found := strings.CutSuffix(s, unit.name)
			if !found {
				continue
			}
			n, err := strconv.Atoi(text)
			if err == nil && n >= 0 && n <= high/unit.bytes && n*unit.bytes >= low {
				return n * unit.bytes, nil
			}
		}
		return 0, fmt.Errorf("invalid size %.40q: want %s to %s, such as 64MiB", s,
			formatSize(low), formatSize(high))
	}
}

// formatSize formats a number of bytes with the largest unit that divides it.
func formatSize(n int) string {
	for _, unit := range slices.Backward(sizeUnits) {
		if n%unit.bytes == 0 {
			return strconv.Itoa(n/unit.bytes) + unit.name
		}
	}
	return strconv.Itoa(n)
}

func parseBool(s string) (bool, error) {
	if s != "true" && s != "false" {
		return false, fmt.Errorf("invalid value %.40q: want true or false", s)
	}
	return s == "true", nil
}

func oneOf(of []string) func(string) error {
	return func(s string) error {
		if !slices.Contains(of, s) {
			return fmt.Errorf("invalid value %.40q: want one of %s", s, strings.Join(of, ", "))
		}
		return nil
	}
}

func validateCronSpec(s string) error {
	const forms = `want a cron line of five fields such as "*/5 9-18 * * *", optionally after ` +
		`TZ=Europe/Paris, or @every 30s, @hourly, @daily`
	invalid := func(reason string) error {
		return fmt.Errorf("invalid schedule %.80q (%s): %s", s, reason, forms)
	}
	if len(s) > 200 {
		return invalid("longer than 200 characters")
	}
	// cron panics on a time zone alone.
	if (strings.HasPrefix(s, "TZ=") || strings.HasPrefix(s, "CRON_TZ=")) &&
		!strings.Contains(s, " ") {
		return invalid("a time zone alone")
	}
	schedule, err := cron.ParseStandard(s)
	if err != nil {
		return invalid(err.Error())
	}
	if schedule.Next(time.Now()).IsZero() {
		return invalid("a date that does not exist")
	}
	return nil
}

func parseWebURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("invalid URL: want https://host, or http:// on your own network")
	case u.User != nil:
		return "", errors.New("invalid URL: remove the user and password, which logs would show")
	case u.Fragment != "":
		return "", errors.New("invalid URL: remove the #fragment, which is never sent")
	}
	return strings.TrimRight(s, "/"), nil
}

func validateListenAddress(s string) error {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("invalid address %.200q: want an absolute path, such as "+
				"unix:///run/holdd/holdd.sock", s)
		}
		if len(path) > 100 { // Linux allows 108 bytes with the final zero, other systems less
			return fmt.Errorf("invalid address: the path has %d bytes, want at most 100",
				len(path))
		}
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("invalid address %.200q: want host:port such as 127.0.0.1:8420, "+
			"or unix:///path", s)
	}
	return nil
}

var redisSchemes = []string{"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel",
	"redis+cluster", "rediss+cluster"}

// validateRedisURL checks the form alone. net/url cannot parse several hosts; the
// store parses the rest.
func validateRedisURL(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !slices.Contains(redisSchemes, scheme) {
		return fmt.Errorf("invalid address: want one of %s://…",
			strings.Join(redisSchemes, "://… "))
	}
	if strings.ContainsAny(rest, " \t\r\n") {
		return errors.New(
			"invalid address: write special characters of a password as %20 and the like")
	}
	host := rest[strings.LastIndex(rest, "@")+1:]
	if scheme == "unix" {
		if !strings.HasPrefix(host, "/") {
			return errors.New("invalid address: want an absolute path, such as " +
				"unix:///run/redis/redis.sock")
		}
		return nil
	}
	if host == "" || strings.ContainsAny(host[:1], "/?#:") {
		return fmt.Errorf("invalid address: want %s://host:port", scheme)
	}
	return nil
}

var (
	urlPasswordPattern   = regexp.MustCompile(`^([a-z+]+://[^:/?#@]*):.*@`)
	passwordParamPattern = regexp.MustCompile(`([?&][^=&]*pass[^=&]*=)[^&]*`)
)

const maskedPassword = "xxxxx"

// MaskPassword masks the passwords of a Redis address: in front of the host, and
// in parameters such as the password of the Sentinels' servers.
func MaskPassword(s string) string {
	s = urlPasswordPattern.ReplaceAllString(s, "$1:"+maskedPassword+"@")
	return passwordParamPattern.ReplaceAllString(s, "${1}"+maskedPassword)
}

func secretParser(check func(string) error) func(string) (Secret, error) {
	return func(s string) (Secret, error) {
		if err := check(s); err != nil {
			return Secret{}, err
		}
		return NewSecret(s), nil
	}
}

// stripeKeyPattern accepts no empty key, because the key is sent in a header.
// Keys have about 110 characters, old ones 32.
var stripeKeyPattern = regexp.MustCompile(
	`^(sk|rk|sk_org)_(test|live)_[A-Za-z0-9_]{3,240}$`)

var accountIDPattern = regexp.MustCompile(`^acct_[A-Za-z0-9]{8,64}$`)

func validateAccountID(s string) error {
	if !accountIDPattern.MatchString(s) {
		return errors.New("invalid account: want one id that starts with acct_")
	}
	return nil
}

func validateStripeKey(s string) error {
	const want = "want a secret key (sk_…), a restricted key (rk_…) or an organization's key " +
		"(sk_org_…) from the Dashboard"
	switch {
	case stripeKeyPattern.MatchString(s):
		return nil
	case strings.HasPrefix(s, "pk_"):
		return errors.New("a publishable key cannot capture: " + want)
	case strings.HasPrefix(s, "whsec_"):
		return errors.New("invalid key, a webhook's signing secret: " + want)
	case strings.HasPrefix(s, "sk_") || strings.HasPrefix(s, "rk_"):
		return errors.New("invalid key, cut off or with invalid characters: copy it from the " +
			"Dashboard again")
	}
	return errors.New("invalid key: " + want)
}

func validateWebhookSecret(s string) error {
	if rest, ok := strings.CutPrefix(s, "whsec_"); !ok || rest == "" ||
		strings.ContainsAny(rest, " \t\r\n") {
		return errors.New(
			"invalid signing secret: want the webhook endpoint's, which start with whsec_")
	}
	return nil
}

func validateCallbackSecret(s string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return errors.New("invalid Standard Webhooks secret: want whsec_ and the base64 of 24 to " +
			"64 random bytes, as from: echo whsec_$(openssl rand -base64 32)")
	}
	return nil
}

func validateCardholderSecret(s string) error {
	if len(s) < 32 || len(s) > 512 {
		return errors.New("invalid secret: want 32 to 512 characters, as from: " +
			"openssl rand -base64 32")
	}
	return nil
}

// validateDisplayName accepts what a page can show in one line.
func validateDisplayName(s string) error {
	notShown := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 100 || strings.ContainsFunc(s, notShown) {
		return errors.New("invalid name: want at most 100 printable characters")
	}
	return nil
}

func validatePingURL(s string) error {
	_, err := parseWebURL(s)
	return err
}

func validateTimeZone(s string) error {
	if _, err := time.LoadLocation(s); err != nil || s == "Local" {
		return fmt.Errorf("invalid time zone %.64q: want an IANA name, such as Europe/Paris", s)
	}
	return nil
}

func validateNotifyURL(s string) error {
	if scheme, rest, ok := strings.Cut(s, "://"); !ok || scheme == "" || rest == "" {
		return errors.New("invalid address: want service://…, such as slack://… or smtp://…")
	}
	return nil
}

func splitComma(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// splitURLs splits at the commas that an address follows, because addresses may
// have commas, as in smtp://…?to=a@b,c@d.
func splitURLs(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if len(out) == 0 || strings.Contains(part, "://") {
			out = append(out, strings.TrimSpace(part))
		} else {
			out[len(out)-1] += "," + part
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// validateHeaderName accepts a name that RFC 9110 allows.
func validateHeaderName(s string) error {
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (r < '0' || r > '9') && r != '-' && r != '_' {
			return errors.New("invalid header name: want letters, digits, - and _")
		}
	}
	return nil
}

// parseNetwork accepts an address or a network in CIDR notation.
func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("invalid network: want an address such as 10.1.2.3, or a network " +
			"such as 10.1.0.0/16")
	}
	return p.Masked(), nil
}
