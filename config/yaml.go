package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loadYAML reads a settings file. It keeps each value as it is written, and
// reports what a decoder into a map accepts: unknown keys, keys given twice, a
// second document. It returns an error if nothing can be read.
func (l *settingsLoader) loadYAML(path string, b []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // empty, or comments alone
	} else if err != nil {
		return err
	}
	root := doc.Content[0]
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.addProblemAt("settings file", settingSource{"file", path, doc.Line}.String(),
			"second document after ---: want one")
	}
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return errors.New(`want settings of the form "key: value"`)
	}
	var known []string
	byKey := map[string]*settingField{}
	for _, f := range l.fields {
		known, byKey[f.key] = append(known, f.key), f
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		f, src := byKey[key.Value], settingSource{"file", path, key.Line}
		switch first, twice := lines[key.Value]; {
		case f == nil:
			l.addProblemAt(fmt.Sprintf("%.60s", key.Value), src.String(), "unknown setting: %s",
				formatSpellingHint(key.Value, known))
		case twice:
			l.addProblemAt(f.key, src.String(), "set twice: remove this line or line %d", first)
		default:
			lines[f.key] = key.Line
			l.setFieldFromYAMLNode(f, src, node)
		}
	}
	return nil
}

// setFieldFromYAMLNode sets a setting to a scalar or a list.
func (l *settingsLoader) setFieldFromYAMLNode(f *settingField, src settingSource, n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		l.addProblemAt(f.key, src.String(), "%s", noValue)
	case n.Kind == yaml.ScalarNode:
		l.set(f, src, n.Value)
	case f.split == nil:
		l.addProblemAt(f.key, src.String(), "want one value, not a list or a mapping")
	case n.Kind != yaml.SequenceNode:
		l.addProblemAt(f.key, src.String(), "want a list such as [a, b]")
	default:
		texts := []string{}
		for _, item := range n.Content {
			text := strings.TrimSpace(item.Value)
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || text == "" {
				src.line = item.Line
				l.addProblemAt(f.key, src.String(),
					"invalid entry: want single values in a list such as [a, b]")
				return
			}
			texts = append(texts, text)
		}
		l.setFieldTexts(f, src, texts)
	}
}

// formatSpellingHint returns a hint with the known name that is nearest to name.
func formatSpellingHint(name string, known []string) string {
	const all = `"holdd config show" lists all`
	if len(name) > 60 {
		return all
	}
	nearest, least := "", len(name)/2+1
	for _, k := range known {
		if n := levenshtein(strings.ToLower(name), strings.ToLower(k)); n < least {
			nearest, least = k, n
		}
	}
	if nearest == "" {
		return all
	}
	return "did you mean " + nearest + "?"
}

// levenshtein returns the number of letters to add, remove or change.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
