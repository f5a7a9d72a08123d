package cardholder

import (
	"reflect"
	"regexp"
	"slices"
	"testing"
)

// TestCatalog_Complete checks that each language has every text, with the
// placeholders of the English one.
func TestCatalog_Complete(t *testing.T) {
	placeholder := regexp.MustCompile(`\{[a-z]+\}`)
	english := reflect.ValueOf(*catalog[0])
	for _, other := range catalog {
		v := reflect.ValueOf(*other)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() {
				t.Errorf("%s has no text %s", other.lang, name)
			}
			if v.Field(i).Kind().String() != "string" {
				continue
			}
			want := placeholder.FindAllString(english.Field(i).String(), -1)
			got := placeholder.FindAllString(v.Field(i).String(), -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s has the placeholders %v, want %v", other.lang, name, got, want)
			}
		}
	}
}
