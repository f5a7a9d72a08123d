package hold

import "fmt"

// Secret is a text that must not be logged. Printing, formatting or marshaling
// it gives a placeholder.
type Secret struct{ reveal func() string }

// NewSecret returns s as a secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{func() string { return s }}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

const secretPlaceholder = "[secret]"

// String returns a placeholder.
func (Secret) String() string { return secretPlaceholder }

// Format writes a placeholder whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(secretPlaceholder)) }

// MarshalText returns a placeholder, for JSON and loggers.
func (Secret) MarshalText() ([]byte, error) { return []byte(secretPlaceholder), nil }
