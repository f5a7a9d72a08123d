package event

import (
	"bytes"
	"encoding/json"
)

// personalFields are the fields of an event that can have personal data,
// wherever they are. Each is optional.
var personalFields = []string{"reference", "metadata", "capture_metadata",
	"statement_descriptor_suffix", "detail"}

// ErasePersonalData returns an event without personal data. It keeps the fields
// that this release does not know. It returns an equal text if there is nothing
// to erase or the text is no event.
func ErasePersonalData(text []byte) []byte {
	var event any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // amounts stay exact
	if decoder.Decode(&event) != nil || !erasePersonalFields(event) {
		return text
	}
	b, err := json.Marshal(event)
	if err != nil {
		return text
	}
	return b
}

// erasePersonalFields removes personal data from a value and its parts. It
// reports whether there was any.
func erasePersonalFields(value any) (changed bool) {
	switch v := value.(type) {
	case map[string]any:
		for _, field := range personalFields {
			if _, found := v[field]; found {
				delete(v, field)
				changed = true
			}
		}
		if rejection, ok := v["rejection"].(map[string]any); ok && rejection["reason"] != "" {
			rejection["reason"], changed = "", true // it can quote the request
		}
		for _, part := range v {
			changed = erasePersonalFields(part) || changed
		}
	case []any:
		for _, part := range v {
			changed = erasePersonalFields(part) || changed
		}
	}
	return changed
}
