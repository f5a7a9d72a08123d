package hold_test

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func TestParseMajor(t *testing.T) {
	for _, tt := range []struct {
		text, currency string
		want           int64 // -1: invalid
	}{
		{"12.50", "eur", 1250}, {"12,5", "eur", 1250}, {" 12 ", "eur", 1200}, {"0.05", "usd", 5},
		{"0", "eur", 0}, {"1250", "jpy", 1250}, {"1.250", "kwd", 1250}, {"99999999.99", "eur", 9999999999},
		{"12.5", "jpy", -1}, {"1.250", "eur", -1}, {"1,250.00", "eur", -1}, {"1.2.3", "eur", -1},
		{"", "eur", -1}, {".5", "eur", -1}, {"5.", "eur", -1}, {"-5", "eur", -1}, {"+5", "eur", -1},
		{"1e3", "eur", -1}, {"١٢", "eur", -1}, {"12 EUR", "eur", -1},
		{"9999999999999999999", "eur", -1}, {"000000000000000000001", "eur", -1},
	} {
		got, err := hold.ParseMajor(tt.text, tt.currency)
		if tt.want < 0 {
			if err == nil {
				t.Errorf("%q %s is %d, want an error", tt.text, tt.currency, got)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%q %s is %d, %v; want %d", tt.text, tt.currency, got, err, tt.want)
		}
		if again, err := hold.ParseMajor(hold.FormatMajor(got, tt.currency), tt.currency); again != got {
			t.Errorf("%q %s reads back as %d, %v", tt.text, tt.currency, again, err)
		}
	}
}
