package config

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Show writes the settings in effect as a YAML file, each with its source.
// Secrets are named and left out, so that the output can be kept and shared; a
// Redis address is shown with its password masked, and then as a comment, since
// it would not work.
func (s *Settings) Show(w io.Writer) error {
	var b strings.Builder
	for _, f := range fields {
		values := f.formatFrom(s)
		from := s.Source(f.key)
		switch {
		case len(values) == 0 && s.sources[f.key].kind == "":
			fmt.Fprintf(&b, "# %s:  # not set\n", f.key)
		case f.redact:
			fmt.Fprintf(&b, "# %s: %s  # %s\n", f.key, describeSecret(f, values), from)
		case f.split != nil:
			fmt.Fprintf(&b, "%s: [%s]  # %s\n", f.key, strings.Join(values, ", "), from)
		case f.secret && strings.Contains(values[0], maskedPassword):
			fmt.Fprintf(&b, "# %s: %s  # %s\n", f.key, yamlScalar(values[0]), from)
		default:
			fmt.Fprintf(&b, "%s: %s  # %s\n", f.key, yamlScalar(values[0]), from)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// describeSecret tells of a secret what may be known.
func describeSecret(f *field, values []string) string {
	switch {
	case f.key == "stripe_api_key" && isLiveKey(values[0]):
		return "set, LIVE mode"
	case f.key == "stripe_api_key":
		return "set, test mode"
	case f.split != nil:
		return fmt.Sprintf("%d set", len(values))
	}
	return "set"
}

// yamlScalar quotes where YAML needs it. Numbers and true and false stay as
// people write them.
func yamlScalar(v string) string {
	if _, err := strconv.Atoi(v); err == nil || v == "true" || v == "false" {
		return v
	}
	out, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%q", v)
	}
	return strings.TrimSpace(string(out))
}
