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
	digits := int64(100)
	width := 2
	switch {
	case slices.Contains(zeroDecimal, currency):
		return strconv.FormatInt(minor, 10) + " " + code
	case slices.Contains(threeDecimal, currency):
		digits, width = 1000, 3
	}
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	return fmt.Sprintf("%s%d.%0*d %s", sign, minor/digits, width, minor%digits, code)
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
