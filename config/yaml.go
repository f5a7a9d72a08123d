package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlParser is koanf's parser of one settings file. It keeps each value as the
// text that was written and the line it stands on, and finds what a decoder
// into a map would let pass: unknown keys, keys given twice, a second document.
type yamlParser struct {
	path   string
	loader *loader
	lines  map[string]int
}

// Unmarshal reports what is wrong with single keys to the loader, and returns
// an error where nothing can be read at all.
func (d *yamlParser) Unmarshal(b []byte) (map[string]any, error) {
	out := map[string]any{}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return out, nil // empty, or comments alone
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		d.addProblem("settings file", doc.Line, "has a second document after ---: keep one")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return out, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("it has no settings of the form \"key: value\"")
	}
	known := make([]string, len(fields))
	byKey := map[string]*field{}
	for i, f := range fields {
		known[i], byKey[f.key] = f.key, f
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		f := byKey[key.Value]
		if f == nil {
			d.addProblem(fmt.Sprintf("%.60s", key.Value), key.Line, "is no setting%s",
				suggestNearestName(key.Value, known))
			continue
		}
		if first, ok := d.lines[f.key]; ok {
			d.addProblem(f.key, key.Line, "was already given in line %d: keep one of the two",
				first)
			continue
		}
		d.lines[f.key] = key.Line
		if v, ok := d.nodeValue(f, key.Line, value); ok {
			out[f.key] = v
		}
	}
	return out, nil
}

// nodeValue is a string, or for lists a []string if it was written as a YAML
// list.
func (d *yamlParser) nodeValue(f *field, line int, n *yaml.Node) (any, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		d.addProblem(f.key, line, "has no value: give one, or take the line out")
		return nil, false
	case n.Kind == yaml.ScalarNode:
		return strings.TrimSpace(n.Value), true
	case n.Kind == yaml.SequenceNode && f.split != nil:
		texts := []string{}
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" ||
				strings.TrimSpace(item.Value) == "" {
				d.addProblem(f.key, item.Line,
					"has an entry that is no single value: give a list such as [a, b]")
				return nil, false
			}
			texts = append(texts, strings.TrimSpace(item.Value))
		}
		return texts, true
	case f.split != nil:
		d.addProblem(f.key, line, "takes a list such as [a, b]")
	default:
		d.addProblem(f.key, line, "takes one value, not a list or a group")
	}
	return nil, false
}

func (d *yamlParser) addProblem(key string, line int, format string, args ...any) {
	d.loader.addProblemAt(key, source{"file", d.path, line}.String(), format, args...)
}

// Marshal is part of koanf's interface and has no use here.
func (d *yamlParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// fileErrorReason takes the path out of a file error, which the message around
// it names already, and the package's name out of a YAML error.
func fileErrorReason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "yaml: ")
}

// Names under HOLDD_ that Kubernetes and Docker put into the environment for a
// service called "holdd" or "holdd-something".
var (
	serviceLinkHostPattern = regexp.MustCompile(`^HOLDD_(.+_)?SERVICE_(HOST|PORT(_.+)?)$`)
	serviceLinkPortPattern = regexp.MustCompile(
		`^HOLDD_(.+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)
)

func isServiceLinkVariable(name, v string) bool {
	if m := serviceLinkPortPattern.FindStringSubmatch(name); m != nil {
		return m[2] != "" || strings.Contains(v, "://")
	}
	return serviceLinkHostPattern.MatchString(name)
}

// suggestNearestName says which known name is nearest to one that is not, if
// one is near at all.
func suggestNearestName(name string, known []string) string {
	const all = `: "holdd config show" lists all`
	if len(name) > 60 {
		return all
	}
	best, least := "", len(name)/2+1
	for _, k := range known {
		if n := levenshtein(strings.ToLower(name), strings.ToLower(k)); n < least {
			best, least = k, n
		}
	}
	if best == "" {
		return all
	}
	return ": did you mean " + best + "?"
}

// levenshtein is Levenshtein's: how many letters to add, drop or change.
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
