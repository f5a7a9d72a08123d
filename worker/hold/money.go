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
	width := currencyDecimals(currency)
	if width == 0 {
		return strconv.FormatInt(minor, 10) + " " + code
	}
	digits := int64(100)
	if width == 3 {
		digits = 1000
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

// currencyDecimals returns the number of decimals of a currency.
func currencyDecimals(currency string) int {
	switch {
	case slices.Contains(zeroDecimal, currency):
		return 0
	case slices.Contains(threeDecimal, currency):
		return 3
	}
	return 2
}

// FormatMajor formats an amount as [ParseMajor] reads it: 1250, "eur" is
// "12.50".
func FormatMajor(minor int64, currency string) string {
	number, _, _ := strings.Cut(FormatAmount(minor, currency), " ")
	return number
}

// maxMajorText bounds the text of an amount.
const maxMajorText = 20

// ParseMajor parses an amount in major units: "12.50" or "12,5" in "eur" is
// 1250. It accepts no thousands separator, because "1.250" could mean two
// amounts. Errors are *[Problem].
func ParseMajor(text, currency string) (int64, error) {
	digits := currencyDecimals(currency)
	example := FormatMajor(125_000, currency)
	invalid := newProblem(InvalidAmount, "amount",
		"invalid amount %.40q: want an amount in %s such as %s, without thousands separators",
		text, strings.ToUpper(currency), example)
	text = strings.TrimSpace(text)
	whole, part, hasPart := strings.Cut(strings.Replace(text, ",", ".", 1), ".")
	if len(text) > maxMajorText || whole == "" || hasPart && part == "" || len(part) > digits ||
		strings.Trim(whole+part, "0123456789") != "" {
		return 0, invalid
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", digits-len(part)), 10, 64)
	if err != nil {
		return 0, invalid
	}
	return n, nil
}
