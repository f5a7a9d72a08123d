package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redactedText = "[redacted]"

// Secret is a text that must not be shown. Its zero value is "not set". No fmt
// verb, JSON, YAML, text or log encoder prints it; only [Secret.Reveal] gives
// it out, so that every use can be found by searching for that name.
type Secret struct {
	// A pointer, so that even reflection into an unexported field of another
	// struct meets an address and not the text.
	text *string
}

// NewSecret hides text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal gives the text to the one who must have it, such as an HTTP client.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is a text at all.
func (s Secret) IsSet() bool { return s.text != nil }

// String says whether the secret is set, and nothing of its text.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return redactedText
}

// Format covers every verb: %x and %d of a string would print it as well.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText covers encoding/json, encoding/xml and what else asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML covers YAML encoders.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue covers log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
