package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redactedText = "[redacted]"

// Secret is a text that must not be printed. Its zero value is not set. No fmt
// verb and no JSON, YAML, text or log encoder prints it. Only [Secret.Reveal]
// returns it, so that a search for that name finds every use.
type Secret struct {
	// A pointer, because fmt prints the unexported fields of other structs by
	// reflection, without calling methods.
	text *string
}

// NewSecret returns text as a secret. An empty text is not set.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether the secret has a text.
func (s Secret) IsSet() bool { return s.text != nil }

// String returns "[redacted]" if the secret is set.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return redactedText
}

// Format implements [fmt.Formatter], because %x and %d would print the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements [encoding.TextMarshaler], for JSON and XML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML implements the Marshaler of YAML encoders.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
