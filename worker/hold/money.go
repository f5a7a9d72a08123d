package hold

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Currencies without minor units, and those with three decimals, as Stripe's
// documentation lists them (supported currencies).
var (
	zeroDecimal = []string{"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf",
		"vnd", "vuv", "xaf", "xof", "xpf"}
	threeDecimal = []string{"bhd", "jod", "kwd", "omr", "tnd"}
)

// FormatAmount formats an amount in minor units: 1250, "eur" is "12.50 EUR".
func FormatAmount(minor int64, currency string) string {
	if currency == "" {
		if minor == 0 {
			return "unknown"
		}
		return strconv.FormatInt(minor, 10)
	}
	code := strings.ToUpper(currency)
	digits, width := int64(100), decimals(currency)
	switch width {
	case 0:
		return strconv.FormatInt(minor, 10) + " " + code
	case 3:
		digits = 1000
	}
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	return fmt.Sprintf("%s%d.%0*d %s", sign, minor/digits, width, minor%digits, code)
}

// decimals returns how many decimals a currency has.
func decimals(currency string) int {
	switch {
	case slices.Contains(zeroDecimal, currency):
		return 0
	case slices.Contains(threeDecimal, currency):
		return 3
	}
	return 2
}

// ParseMajorAmount returns an amount such as 12.50 in minor units. An amount
// with decimals must have all of those that the currency has, so that 12.5 is
// not taken for something else.
func ParseMajorAmount(s, currency string) (int64, error) {
	whole, fraction, pointed := strings.Cut(s, ".")
	want := decimals(currency)
	switch {
	case whole == "":
		return 0, fmt.Errorf("%.40q is no amount", s)
	case pointed && want == 0:
		return 0, fmt.Errorf("%s has no decimals", strings.ToUpper(currency))
	case pointed && len(fraction) != want:
		return 0, fmt.Errorf("%s has %d decimals", strings.ToUpper(currency), want)
	case !pointed:
		fraction = strings.Repeat("0", want)
	}
	n, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil || n < 0 || strings.ContainsAny(s, "+-") {
		return 0, fmt.Errorf("%.40q is no amount", s)
	}
	return n, nil
}

// Sum is the total of some holds in one currency, in minor units.
type Sum struct {
	Currency string `json:"currency"` // empty: not known yet
	Count    int    `json:"count"`    // holds
	Amount   int64  `json:"amount"`
}

// AddToCurrencySums adds one hold's amount to the sum of its currency.
func AddToCurrencySums(sums []Sum, currency string, amount int64) []Sum {
	for i := range sums {
		if sums[i].Currency == currency {
			sums[i].Count++
			sums[i].Amount += amount
			return sums
		}
	}
	return append(sums, Sum{Currency: currency, Count: 1, Amount: amount})
}
