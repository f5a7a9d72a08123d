package hold_test

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func TestParseMajorAmount(t *testing.T) {
	for _, tt := range []struct {
		text, currency string
		want           int64
		ok             bool
	}{
		{"50.00", "eur", 5000, true},
		{"50", "eur", 5000, true},
		{"0.50", "usd", 50, true},
		{"12.500", "kwd", 12500, true},
		{"5000", "jpy", 5000, true},
		{"50.0", "eur", 0, false},
		{"50.000", "eur", 0, false},
		{"50.00", "kwd", 0, false},
		{"50.00", "jpy", 0, false},
		{"50.", "eur", 0, false},
		{".50", "eur", 0, false},
		{"", "eur", 0, false},
		{"-1.00", "eur", 0, false},
		{"1.-1", "eur", 0, false},
		{"+1.00", "eur", 0, false},
		{"1,000.00", "eur", 0, false},
		{"99999999999999999999.00", "eur", 0, false},
	} {
		n, err := hold.ParseMajorAmount(tt.text, tt.currency)
		if (err == nil) != tt.ok || n != tt.want {
			t.Errorf("%q %s: %d, %v", tt.text, tt.currency, n, err)
		}
	}
}
