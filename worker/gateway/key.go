package gateway

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Key is a Stripe API key. Whatever prints, formats or marshals it gets a placeholder.
type Key string

const keyPlaceholder = "[stripe key]"

// String returns a placeholder.
func (Key) String() string { return keyPlaceholder }

// GoString returns a placeholder.
func (Key) GoString() string { return keyPlaceholder }

// Format writes a placeholder whatever the verb, %x and %q included.
func (Key) Format(f fmt.State, _ rune) { f.Write([]byte(keyPlaceholder)) }

// MarshalText returns a placeholder, for JSON, YAML and loggers.
func (Key) MarshalText() ([]byte, error) { return []byte(keyPlaceholder), nil }

// The length bound is ours: Stripe's keys have some 110 characters today, and a header has to end somewhere.
var keyForm = form{regexp.MustCompile(`^(sk|rk)_(test|live)_[A-Za-z0-9_]{3,}$`), 248}

// check says what is wrong with the key. Its errors name the form that was found, never the key.
func (k Key) check() error {
	const want = "set it to a secret key (sk_test_… or sk_live_…) or a restricted one (rk_…)"
	s := string(k)
	switch {
	case s == "":
		return errors.New("the Stripe key is empty: " + want)
	case strings.TrimSpace(s) != s:
		return errors.New("the Stripe key has white space around it: remove it")
	case keyForm.fits(s):
		return nil
	case strings.HasPrefix(s, "pk_"):
		return errors.New("the Stripe key is a publishable one (pk_…), which may not capture: " + want)
	case strings.HasPrefix(s, "whsec_"):
		return errors.New("the Stripe key is a webhook secret (whsec_…): " + want)
	case strings.Contains(s, "_secret_"):
		return errors.New("the Stripe key is a client secret of one payment: " + want)
	case strings.HasPrefix(s, "sk_"), strings.HasPrefix(s, "rk_"):
		return errors.New("the Stripe key is cut short or has characters that no key has: copy it anew from the Dashboard")
	}
	return errors.New("the Stripe key has none of the forms of one: " + want)
}

// livemode reports whether the key moves real money.
func (k Key) livemode() bool {
	return strings.HasPrefix(string(k), "sk_live_") || strings.HasPrefix(string(k), "rk_live_")
}
