package stripesim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// minimumCharges are Stripe's smallest charges by currency, in minor units. In
// the other currencies Stripe converts the amount to the settlement currency,
// which the simulator does not.
var minimumCharges = map[string]int64{
	"aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
	"eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200,
	"nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}

// maxCardDigits are the digits of the largest card amount, where it has fewer
// than 12.
var maxCardDigits = map[string]int{"inr": 9, "cop": 10}

var (
	zeroDecimalCurrencies = strings.Fields(
		"bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
	threeDecimalCurrencies = strings.Fields("bhd jod kwd omr tnd")
	// Amounts in these have two decimals, which must be 00.
	wholeUnitCurrencies = []string{"isk", "ugx"}
)

var currencySymbols = map[string]string{"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}

// formatAmount writes an amount as Stripe's texts do: "$999,999.99 usd".
func formatAmount(n int64, currency string) string {
	decimals := 2
	switch {
	case slices.Contains(zeroDecimalCurrencies, currency):
		decimals = 0
	case slices.Contains(threeDecimalCurrencies, currency):
		decimals = 3
	}
	digits := fmt.Sprintf("%0*d", decimals+1, n)
	whole, fraction := digits[:len(digits)-decimals], digits[len(digits)-decimals:]
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if decimals > 0 {
		whole += "." + fraction
	}
	return currencySymbols[currency] + whole + " " + currency
}

// maxCapturableAmount returns the largest amount of the intent. Its payment method
// decides, or the types that it allows while it has none.
func maxCapturableAmount(in *intent) int64 {
	digits := 8
	switch m := in.paymentMethod; {
	case m != nil && !m.isCard(), m == nil && !allowsCards(in.paymentMethodTypes):
	case m != nil && m.brand == "amex":
		digits = 9
	default:
		digits = 12
	}
	if d, ok := maxCardDigits[in.currency]; ok {
		digits = min(digits, d)
	}
	n, _ := strconv.ParseInt(strings.Repeat("9", digits), 10, 64)
	return n
}

// checkAmount checks an amount to authorize.
func checkAmount(in *intent, n int64) *apiError {
	if n < 1 {
		return validationError("parameter_invalid_integer", "amount",
			"The amount must be greater than or equal to the minimum charge amount allowed for "+
				"your account and the currency set "+
				"(https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).  If "+
				"you want to save a Payment Method for future use without an immediate payment, "+
				"use a Setup Intent instead: https://docs.stripe.com/payments/setup-intents")
	}
	if least := minimumCharges[in.currency]; n < least {
		return validationError("amount_too_small", "amount", "Amount must be at least %s",
			formatAmount(least, in.currency))
	}
	if most := maxCapturableAmount(in); n > most {
		return validationError("amount_too_large", "amount", "Amount must be no more than %s",
			formatAmount(most, in.currency))
	}
	return checkWholeUnits(n, in.currency, "amount")
}

// checkWholeUnits checks that an amount has no more decimals than its currency
// can be charged with.
func checkWholeUnits(n int64, currency, name string) *apiError {
	switch {
	case slices.Contains(wholeUnitCurrencies, currency) && n%100 != 0:
		return validationError("invalid_charge_amount_no_decimal_compatible", name,
			"Invalid amount: %s has no decimals. The last two digits of the amount must be 00.",
			strings.ToUpper(currency))
	case slices.Contains(threeDecimalCurrencies, currency) && n%10 != 0:
		return validationError("invalid_charge_amount", name,
			"Invalid amount: the last digit of an amount in %s must be 0.",
			strings.ToUpper(currency))
	}
	return nil
}
