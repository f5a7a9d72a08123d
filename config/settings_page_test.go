package config_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdd/holdd/config"
)

const settingsPage = "../deploy/docs/settings.md"

// TestSettingsPage_IsUpToDate compares the tables of the settings page with the
// example file, from whose comments and values -update writes them. Each
// section of the file has one table.
func TestSettingsPage_IsUpToDate(t *testing.T) {
	example, err := os.ReadFile("holdd.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(old)
	for _, section := range parseExample(string(example), settingKeys(t)) {
		begin := "\n<!-- settings: " + section.title + " -->\n"
		const end = "<!-- end of settings -->\n"
		before, rest, ok := strings.Cut(page, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Errorf("%s has no place for the section %q of the example file: want the lines%s%s",
				settingsPage, section.title, begin, end)
			continue
		}
		page = before + begin + section.table() + end + after
	}
	if n := strings.Count(page, "<!-- settings: "); n != strings.Count(string(example), "\n# --- ") {
		t.Errorf("%s has %d tables: want one for each section of the example file", settingsPage, n)
	}
	if page == string(old) {
		return
	}
	if !*updateGolden {
		t.Fatalf("the tables in %s are not up to date: go test ./config -update", settingsPage)
	}
	if err := os.WriteFile(settingsPage, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}

// settingKeys returns the keys of all settings.
func settingKeys(t *testing.T) []string {
	t.Helper()
	s, err := config.Load(nil, []string{testStripeKeyEnv}, "")
	var shown strings.Builder
	if err = errors.Join(err, s.WriteYAML(&shown)); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, m := range settingLine.FindAllStringSubmatch(shown.String(), -1) {
		keys = append(keys, m[2])
	}
	if len(keys) < 30 {
		t.Fatalf("%d settings: %v", len(keys), keys)
	}
	return keys
}

// exampleSection is a section of the example file.
type exampleSection struct {
	title string
	rows  []exampleRow
	keys  []string // of all settings
}

// exampleRow is a comment and the settings below it.
type exampleRow struct {
	comment        []string // its lines
	keys, defaults []string
}

var (
	sectionLine = regexp.MustCompile(`^# --- (.+?) -+$`)
	settingLine = regexp.MustCompile(`(?m)^(# )?([a-z_]+):(?: (.*))?$`)
)

// parseExample splits the example file into its sections and rows. A setting
// that is commented out has no default.
func parseExample(text string, keys []string) (sections []exampleSection) {
	var row exampleRow
	flush := func() {
		if len(row.keys) > 0 {
			last := &sections[len(sections)-1]
			last.rows = append(last.rows, row)
		}
		row = exampleRow{}
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		title, setting := sectionLine.FindStringSubmatch(line), settingLine.FindStringSubmatch(line)
		switch {
		case title != nil:
			flush()
			sections = append(sections, exampleSection{title: title[1], keys: keys})
		case line == "":
			flush()
		case setting != nil && slices.Contains(keys, setting[2]):
			value := "none"
			if setting[1] == "" {
				value = "`" + strings.Trim(setting[3], `"`) + "`"
			}
			row.keys = append(row.keys, "`"+setting[2]+"`")
			row.defaults = append(row.defaults, value)
		default:
			if len(row.keys) > 0 {
				flush()
			}
			row.comment = append(row.comment, strings.TrimPrefix(line, "# "))
		}
	}
	flush()
	return sections
}

// table returns the section as a table in Markdown.
func (s *exampleSection) table() string {
	var b strings.Builder
	b.WriteString("\n| setting | default | does |\n|---|---|---|\n")
	code := regexp.MustCompile(`\b(` + strings.Join(s.keys, "|") + `|[A-Z]+_[A-Z_]+)\b(=\w+)?`)
	for _, r := range s.rows {
		does := strings.ReplaceAll(strings.Join(r.comment, " "), "|", "\\|")
		does = code.ReplaceAllStringFunc(does, func(word string) string {
			if !strings.Contains(word, "_") {
				return word // listen, rate and lease are words as well
			}
			return "`" + word + "`"
		})
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(r.keys, ", "),
			strings.Join(r.defaults, ", "), does)
	}
	b.WriteString("\n")
	return b.String()
}
