package config

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// WriteYAML writes the settings in effect as a YAML file, each with its source. A
// secret is a comment without its text. A Redis address with a masked password
// is a comment as well, because it would not work.
func (s *Settings) WriteYAML(w io.Writer) error {
	var b strings.Builder
	for _, f := range newSettingFields(s) {
		values := f.format()
		line := fmt.Sprintf("%s: %s", f.key, formatYAMLValue(f, values))
		switch {
		case len(values) == 0 && s.sources[f.key].kind == "":
			fmt.Fprintf(&b, "# %s:  # not set\n", f.key)
			continue
		case f.secret:
			line = fmt.Sprintf("# %s: %s", f.key, formatSecretStatus(f, values))
		case strings.Contains(line, maskedPassword):
			line = "# " + line
		}
		fmt.Fprintf(&b, "%s  # %s\n", line, s.SourceOf(f.key))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// formatSecretStatus describes a secret without its text.
func formatSecretStatus(f *settingField, values []string) string {
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

// formatYAMLValue quotes a value where YAML needs it. Numbers, true and false
// are not quoted.
func formatYAMLValue(f *settingField, values []string) string {
	if f.split != nil {
		return "[" + strings.Join(values, ", ") + "]"
	}
	v := strings.Join(values, "")
	if _, err := strconv.Atoi(v); err == nil || f.isBool() {
		return v
	}
	out, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%q", v)
	}
	return strings.TrimSpace(string(out))
}
