package hold

import (
	"maps"
	"strings"
	"unicode/utf8"
)

func checkReference(s string) error {
	if len(s) > MaxReferenceBytes || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return problem(InvalidReference, "reference",
			"invalid reference: want at most %d bytes of UTF-8 without control characters",
			MaxReferenceBytes)
	}
	return nil
}

// maxAmountByCurrency lists the currencies in which Stripe accepts more than
// eight digits (Stripe's documentation: minimum and maximum charge amounts).
var maxAmountByCurrency = map[string]int64{
	"idr": 999_999_999_999, "lbp": 999_999_999_999, "cop": 9_999_999_999, "huf": 9_999_999_999,
	"jpy": 9_999_999_999, "inr": 999_999_999,
}

func maxAmount(currency string) int64 {
	if currency == "" { // not known yet: the largest limit of all
		return 999_999_999_999
	}
	if n, ok := maxAmountByCurrency[currency]; ok {
		return n
	}
	return 99_999_999
}

func checkAmount(field string, n int64, currency string) error {
	if n < 0 {
		return problem(InvalidAmount, field,
			"invalid amount %d: want minor units, such as 1250 for 12.50", n)
	}
	if m := maxAmount(currency); n > m {
		return problem(InvalidAmount, field,
			"%d is above Stripe's maximum of %d: want minor units, such as 1250 for 12.50", n, m)
	}
	return nil
}

// checkCaptureAmount compares n with the authorized amount if that is known.
func checkCaptureAmount(n, authorized int64, currency string) error {
	if err := checkAmount("capture_amount", n, currency); err != nil {
		return err
	}
	if authorized > 0 && n > authorized {
		return problem(AmountTooLarge, "capture_amount",
			"%d is more than the authorized %d %s", n, authorized, currency)
	}
	return nil
}

func checkPolicy(s string) (Policy, error) {
	if s == "" {
		return PolicyCancel, nil
	}
	p, ok := ParsePolicy(s)
	if !ok {
		return 0, problem(InvalidPolicy, "on_expiry",
			"invalid on_expiry %.40q: want cancel, capture or alert", s)
	}
	return p, nil
}

func checkMetadata(m map[string]string) (map[string]string, error) {
	if len(m) > MaxMetadataPairs {
		return nil, problem(InvalidMetadata, "metadata", "%d pairs: want at most %d",
			len(m), MaxMetadataPairs)
	}
	for k, v := range m {
		if k == "" || utf8.RuneCountInString(k) > MaxMetadataKey || !utf8.ValidString(k) {
			return nil, problem(InvalidMetadata, "metadata",
				"invalid key %.60q: want 1 to %d characters",
				k, MaxMetadataKey)
		}
		if utf8.RuneCountInString(v) > MaxMetadataValue || !utf8.ValidString(v) {
			return nil, problem(InvalidMetadata, "metadata",
				"invalid value of %q: want at most %d characters", k, MaxMetadataValue)
		}
	}
	if len(m) == 0 {
		return nil, nil
	}
	return maps.Clone(m), nil
}
