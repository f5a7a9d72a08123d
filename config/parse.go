package config

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Errors of this file are half sentences: the caller puts the setting before
// and its source behind.

var daysPattern = regexp.MustCompile(`^(\d{1,6})d(.*)$`)

// ParseDuration reads what time.ParseDuration does, and days before it: 90d,
// 1d12h. A day is 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	days, rest := time.Duration(0), s
	if m := daysPattern.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 100_000 {
			return 0, fmt.Errorf("%.40q is too long", s)
		}
		days, rest = time.Duration(n)*day, m[2]
		if rest == "" {
			return days, nil
		}
		if rest[0] < '0' || rest[0] > '9' {
			return 0, invalidDurationError(s)
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
			return 0, fmt.Errorf("%.40q has no unit: write %ss, %sm, %sh or %sd", s, s, s, s, s)
		}
		return 0, invalidDurationError(s)
	}
	return days + d, nil
}

func invalidDurationError(s string) error {
	return fmt.Errorf("%.40q is no duration: write something like 30s, 15m, 6h or 90d", s)
}

// FormatDuration writes a duration as [ParseDuration] reads it and people write
// it: 90d, 24h, 1h30m.
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

func parseDurationInRange(s string, low, high time.Duration) (time.Duration, error) {
	d, err := ParseDuration(s)
	switch {
	case err != nil:
		return 0, err
	case d < low:
		return 0, fmt.Errorf("%.40q is too short: give %s to %s", s,
			FormatDuration(low), FormatDuration(high))
	case d > high:
		return 0, fmt.Errorf("%.40q is too long: give %s to %s", s,
			FormatDuration(low), FormatDuration(high))
	}
	return d, nil
}

func parseDurationList(v []string, low, high time.Duration, most int) ([]time.Duration, error) {
	if err := checkEntryCount(len(v), most); err != nil {
		return nil, err
	}
	var out []time.Duration
	for _, s := range v {
		d, err := parseDurationInRange(s, low, high)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	return slices.Compact(out), nil
}

func checkEntryCount(n, most int) error {
	if n > most {
		return fmt.Errorf("has %d entries: give at most %d", n, most)
	}
	return nil
}

func parseIntInRange(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if errors.Is(err, strconv.ErrRange) || err == nil && (n < low || n > high) {
		return 0, fmt.Errorf("%.40q is out of range: give %d to %d", s, low, high)
	}
	if err != nil {
		return 0, fmt.Errorf("%.40q is no whole number: give %d to %d", s, low, high)
	}
	return n, nil
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%.40q is neither: give true or false", s)
}

func parseOneOf(of []string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(of, s) {
			return "", fmt.Errorf("%.40q is unknown: give one of %s", s, strings.Join(of, ", "))
		}
		return s, nil
	}
}

func parseCronSpec(s string) (string, error) {
	const forms = "write a cron line of five fields such as \"*/5 9-18 * * *\", optionally after TZ=Europe/Paris, or @every 30s, @hourly, @daily"
	if len(s) > 200 {
		return "", fmt.Errorf("is longer than 200 characters: %s", forms)
	}
	s = strings.TrimSpace(s)
	// cron's parser panics on a time zone that nothing follows.
	if (strings.HasPrefix(s, "TZ=") || strings.HasPrefix(s, "CRON_TZ=")) &&
		!strings.Contains(s, " ") {
		return "", fmt.Errorf("%q has a time zone and no schedule: %s", s, forms)
	}
	when, err := cron.ParseStandard(s)
	if err != nil {
		return "", fmt.Errorf("%.80q is no schedule (%w): %s", s, err, forms)
	}
	if when.Next(time.Now()).IsZero() {
		return "", fmt.Errorf("%.80q names a date that never comes: %s", s, forms)
	}
	return s, nil
}

func parseWebURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("is no web address: write https://host, or http:// for one of your own")
	case u.User != nil:
		return "", errors.New("carries a user or password: take it out, it would be seen in logs")
	case u.Fragment != "":
		return "", errors.New("has a #fragment, which is never sent: take it out")
	}
	return strings.TrimRight(s, "/"), nil
}

func parseListenAddress(s string) (string, error) {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", fmt.Errorf("%.200q has no absolute path: write unix:///run/holdd/holdd.sock",
				s)
		}
		if len(path) > 100 { // the kernel's limit is 108 with its end mark, less on other systems
			return "", fmt.Errorf("has a path of %d bytes, and a socket's path can have 100: choose a shorter one", len(path))
		}
		return s, nil
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%.200q is no address: write host:port such as 127.0.0.1:8420, or unix:///path", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("%.200q has no port from 0 to 65535: write host:port such as 127.0.0.1:8420", s)
	}
	return s, nil
}

var redisSchemes = []string{"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel",
	"redis+cluster", "rediss+cluster"}

// checkRedisURL looks at the form alone: several hosts in one address are
// beyond net/url, and the store reads the rest.
func checkRedisURL(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !slices.Contains(redisSchemes, scheme) {
		return fmt.Errorf("has no form that is known: write one of %s://…",
			strings.Join(redisSchemes, "://… "))
	}
	if strings.ContainsAny(rest, " \t\r\n") {
		return errors.New(
			"has a space in it: write a password's special characters as %20 and the like")
	}
	host := rest[strings.LastIndex(rest, "@")+1:]
	if scheme == "unix" {
		if !strings.HasPrefix(host, "/") {
			return errors.New("has no absolute path: write unix:///run/redis/redis.sock")
		}
		return nil
	}
	if host == "" || strings.ContainsAny(host[:1], "/?#:") {
		return fmt.Errorf("names no host: write %s://host:port", scheme)
	}
	return nil
}

var (
	urlPasswordPattern   = regexp.MustCompile(`^([a-z+]+://[^:/?#@]*):.*@`)
	passwordParamPattern = regexp.MustCompile(`([?&][^=&]*pass[^=&]*=)[^&]*`)
)

const maskedPassword = "xxxxx"

// maskPassword makes a Redis address fit to be shown.
func maskPassword(s string) string {
	s = urlPasswordPattern.ReplaceAllString(s, "$1:"+maskedPassword+"@")
	return passwordParamPattern.ReplaceAllString(s, "${1}"+maskedPassword)
}

// The length is bounded below, because it ends up in a header. Today's keys
// have some 110 characters, old ones 32.
var stripeKeyPattern = regexp.MustCompile(`^(sk|rk)_(test|live)_[A-Za-z0-9_]{3,}$`)

func checkStripeKey(s string) error {
	switch {
	case strings.HasPrefix(s, "pk_"):
		return errors.New(
			"is a publishable key, which can't capture: give the secret key (sk_…) or a restricted one (rk_…) from the Dashboard")
	case strings.HasPrefix(s, "whsec_"):
		return errors.New(
			"is a webhook's secret: give the secret key (sk_…) or a restricted one (rk_…) from the Dashboard")
	}
	if len(s) <= 248 && stripeKeyPattern.MatchString(s) {
		return nil
	}
	if strings.HasPrefix(s, "sk_") || strings.HasPrefix(s, "rk_") {
		return errors.New(
			"is cut short or has characters that no Stripe key has: copy it anew from the Dashboard")
	}
	return errors.New(
		"is no Stripe key: give one that starts with sk_test_, sk_live_, rk_test_ or rk_live_, from the Dashboard")
}

func checkWebhookSecret(s string) error {
	if rest, ok := strings.CutPrefix(s, "whsec_"); !ok || rest == "" ||
		strings.ContainsAny(rest, " \t\r\n") {
		return errors.New(
			"has an entry that is no signing secret: give those of the webhook endpoint, which start with whsec_")
	}
	return nil
}

func checkCallbackSecret(s string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return errors.New(
			"is no Standard Webhooks secret: give whsec_ and the base64 of 24 to 64 random bytes, as from: echo whsec_$(openssl rand -base64 32)")
	}
	return nil
}

func checkPingURL(s string) error {
	if _, err := parseWebURL(s); err != nil {
		return errors.New(
			"is no web address of a healthchecks service: write it as https://hc-ping.com/…")
	}
	return nil
}

func parseTimeZone(s string) (string, error) {
	if _, err := time.LoadLocation(s); err != nil || s == "Local" {
		return "", fmt.Errorf("%.64q is no time zone: write an IANA name, such as Europe/Paris", s)
	}
	return s, nil
}

func checkNotifyURL(s string) error {
	if scheme, rest, ok := strings.Cut(s, "://"); !ok || scheme == "" || rest == "" {
		return errors.New(
			"has an entry that is no address: write service://…, such as slack://… or smtp://…")
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

// splitURLs splits at commas that an address follows: addresses have commas of
// their own, as in smtp://…?to=a@b,c@d.
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
