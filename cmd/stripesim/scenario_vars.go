package main

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

var variablePattern = regexp.MustCompile(`\$\{(\w+)\}`)

// checkVariables refuses a ${name} that no earlier step saves. doc is the
// scenario's YAML document, which was decoded without an error.
func checkVariables(doc *yaml.Node) error {
	saved := map[string]bool{}
	for _, st := range mappingValue(doc.Content[0], "steps").Content {
		st = resolveAlias(st)
		for i := 0; i+1 < len(st.Content); i += 2 {
			if key := st.Content[i].Value; key == "name" || key == "save" {
				continue
			}
			if err := checkVariablesIn(st.Content[i+1], saved); err != nil {
				return err
			}
		}
		save := mappingValue(st, "save").Content
		for i := 0; i+1 < len(save); i += 2 {
			saved[save[i].Value] = true
		}
	}
	return nil
}

func checkVariablesIn(n *yaml.Node, saved map[string]bool) error {
	for _, m := range variablePattern.FindAllStringSubmatch(n.Value, -1) {
		if !saved[m[1]] {
			return fmt.Errorf("line %d: undefined variable ${%s}: no earlier step saves it", n.Line,
				m[1])
		}
	}
	for _, inner := range resolveAlias(n).Content {
		if err := checkVariablesIn(inner, saved); err != nil {
			return err
		}
	}
	return nil
}

// mappingValue returns the value of a key, or an empty node.
func mappingValue(n *yaml.Node, key string) *yaml.Node {
	n = resolveAlias(n)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return resolveAlias(n.Content[i+1])
		}
	}
	return &yaml.Node{}
}

func resolveAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
