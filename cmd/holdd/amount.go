package main

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

const amountHelp = "50, 50.00 or \"50.00 EUR\""

// amountFlag is a flag that takes an amount in the currency's main unit, never
// in minor units: 50 is 50.00 EUR of a hold in euros, and 50 JPY of one in yen.
type amountFlag struct {
	text     string
	digits   string // of text
	currency string // lower case; "" if the flag does not name it
}

var amountPattern = regexp.MustCompile(`^(\d+(?:\.\d+)?) ?([A-Za-z]{3})?$`)

// String implements pflag.Value.
func (a *amountFlag) String() string { return a.text }

// Type implements pflag.Value.
func (a *amountFlag) Type() string { return "amount" }

// Set implements pflag.Value.
func (a *amountFlag) Set(s string) error {
	m := amountPattern.FindStringSubmatch(s)
	if m == nil {
		return errors.New("want " + amountHelp)
	}
	*a = amountFlag{text: s, digits: m[1], currency: strings.ToLower(m[2])}
	return nil
}

// minorUnits returns the amount in minor units of a currency; "" is not known.
// name is the flag's.
func (a *amountFlag) minorUnits(name, currency string) (int64, error) {
	currency = strings.ToLower(currency)
	switch {
	case strings.Trim(a.digits, "0.") == "":
		return 0, nil // in every currency
	case a.currency != "" && currency != "" && a.currency != currency:
		return 0, usageErrorf("", "invalid --%s %q: the hold is in %s", name, a.text,
			strings.ToUpper(currency))
	case a.currency == "" && currency == "":
		return 0, usageErrorf("write the currency too: --"+name+" '"+a.text+" EUR'",
			"invalid --%s %q: the currency of the hold is not known", name, a.text)
	}
	n, err := hold.ParseMajor(a.digits, cmp.Or(currency, a.currency))
	if err != nil {
		code := cmp.Or(currency, a.currency)
		return 0, usageErrorf("", "invalid --%s %q: want an amount in %s such as %s", name, a.text,
			strings.ToUpper(code), hold.FormatMajor(125_000, code))
	}
	return n, nil
}

// firstCurrencyOfAmountFlags returns the first currency that a flag names, "" if
// none does.
func firstCurrencyOfAmountFlags(flags ...*amountFlag) string {
	for _, a := range flags {
		if a.currency != "" {
			return a.currency
		}
	}
	return ""
}

// resolveCurrencyForAmountFlags returns the currency of the amounts of some flags: the
// hold's, or if holdd does not know it, the one that a flag names. It reads the
// hold only if a flag was given.
func resolveCurrencyForAmountFlags(
	ctx context.Context, client *api.Client, name string, flags ...*amountFlag,
) (string, error) {
	given := false
	for _, a := range flags {
		given = given || a.text != ""
	}
	if !given {
		return "", nil
	}
	v, err := findHold(ctx, client, name)
	if err != nil {
		return "", err
	}
	return cmp.Or(v.Currency, firstCurrencyOfAmountFlags(flags...)), nil
}
