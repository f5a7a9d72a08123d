package gateway

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// APIKey is a Stripe API key. Printing, formatting or marshaling it writes a
// placeholder.
type APIKey string

const apiKeyPlaceholder = "[stripe key]"

// String returns a placeholder.
func (APIKey) String() string { return apiKeyPlaceholder }

// GoString returns a placeholder.
func (APIKey) GoString() string { return apiKeyPlaceholder }

// Format writes a placeholder for every verb, %x and %q included.
func (APIKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(apiKeyPlaceholder)) }

// MarshalText returns a placeholder, for JSON, YAML and loggers.
func (APIKey) MarshalText() ([]byte, error) { return []byte(apiKeyPlaceholder), nil }

// apiKeyPattern is the form of a key. Stripe's keys have about 110 characters.
var apiKeyPattern = maxLengthPattern{
	regexp.MustCompile(`^(sk|rk|sk_org)_(test|live)_[A-Za-z0-9_]{3,}$`), 248,
}

// validate returns an error for an invalid key. The error does not quote the
// key.
func (k APIKey) validate() error {
	const want = "want a secret key (sk_test_… or sk_live_…), a restricted one (rk_…) " +
		"or one of an organization (sk_org_…)"
	s := string(k)
	switch {
	case apiKeyPattern.matches(s):
		return nil
	case s == "":
		return errors.New("empty Stripe key: " + want)
	case strings.TrimSpace(s) != s:
		return errors.New("invalid Stripe key: remove the white space around it")
	case strings.HasPrefix(s, "pk_"):
		return errors.New("invalid Stripe key: a publishable key (pk_…) cannot capture; " + want)
	case strings.HasPrefix(s, "whsec_"):
		return errors.New("invalid Stripe key: it is a webhook secret (whsec_…); " + want)
	case strings.Contains(s, "_secret_"):
		return errors.New("invalid Stripe key: it is a client secret of a PaymentIntent; " + want)
	case strings.HasPrefix(s, "sk_"), strings.HasPrefix(s, "rk_"):
		return errors.New("invalid Stripe key: it is truncated or has invalid characters; " +
			"copy it again from the Dashboard")
	}
	return errors.New("invalid Stripe key: unknown form; " + want)
}

// isLive reports whether the key is of live mode.
func (k APIKey) isLive() bool {
	return strings.HasPrefix(string(k), "sk_live_") ||
		strings.HasPrefix(string(k), "rk_live_") || strings.HasPrefix(string(k), "sk_org_live_")
}

// isOrganization reports whether the key belongs to an organization.
func (k APIKey) isOrganization() bool { return strings.HasPrefix(string(k), "sk_org_") }
