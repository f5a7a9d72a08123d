package main

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

const amountHelp = "12.50 or \"12.50 EUR\"; a whole number is in minor units, so 1250 is 12.50 too"

// amountFlag is a flag that takes an amount: 12.50, "12.50 EUR", "12 EUR", or a
// whole number of minor units.
type amountFlag struct {
	text     string
	minor    int64  // if major is false
	major    bool   // text is in major units
	currency string // lower case; "" if the flag does not name it
}

var majorAmountPattern = regexp.MustCompile(`^(\d+(?:\.\d+)?) ?([A-Za-z]{3})?$`)

// String implements pflag.Value.
func (a *amountFlag) String() string { return a.text }

// Type implements pflag.Value.
func (a *amountFlag) Type() string { return "amount" }

// Set implements pflag.Value.
func (a *amountFlag) Set(s string) error {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		*a = amountFlag{text: s, minor: n}
		return nil
	}
	m := majorAmountPattern.FindStringSubmatch(s)
	if m == nil || !strings.Contains(m[1], ".") && m[2] == "" {
		return errors.New("want " + amountHelp)
	}
	*a = amountFlag{text: s, major: true, currency: strings.ToLower(m[2])}
	return nil
}

// minorUnits returns the amount in minor units of a currency; "" is not known.
func (a *amountFlag) minorUnits(name, currency string) (int64, error) {
	currency = strings.ToLower(currency)
	switch {
	case !a.major:
		return a.minor, nil
	case a.currency != "" && currency != "" && a.currency != currency:
		return 0, usageErrorf("", "invalid --%s %q: the hold is in %s", name, a.text,
			strings.ToUpper(currency))
	case a.currency == "" && currency == "":
		return 0, usageErrorf("write the currency too: --"+name+" '"+a.text+" EUR'",
			"invalid --%s %q: the currency of the hold is not known", name, a.text)
	case currency == "":
		currency = a.currency
	}
	digits := majorAmountPattern.FindStringSubmatch(a.text)[1]
	n, err := hold.ParseMajorAmount(digits, currency)
	if err != nil {
		return 0, usageErrorf("", "invalid --%s %q: %w", name, a.text, err)
	}
	return n, nil
}

// minorUnitsOfHold returns the amount in minor units of a hold's currency, which
// it reads if the amount depends on it.
func (a *amountFlag) minorUnitsOfHold(
	ctx context.Context, client *api.Client, flag, name string,
) (int64, error) {
	if !a.major {
		return a.minor, nil
	}
	v, err := findHold(ctx, client, name)
	if err != nil {
		return 0, err
	}
	return a.minorUnits(flag, v.Currency)
}
