package hold

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// The length is checked separately: a bounded repetition would make the
	// compiled pattern large.
	accountIDPattern = regexp.MustCompile(`^acct_[A-Za-z0-9]{8,}$`)
	currencyPattern  = regexp.MustCompile(`^[a-z]{3}$`)
	localTimePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?$`)
)

// checkNewReference returns a *[Problem] if s is no reference for a hold, or none that a path of
// the API can name: pi_ starts an id, and HTTP clients resolve the dots. Terms in metadata may have
// such a reference, and their money must not be lost for that.
func checkNewReference(s string) error {
	if strings.HasPrefix(s, "pi_") || s == "." || s == ".." {
		return newProblem(InvalidReference, "reference",
			"invalid reference %s: want one that a path of the API can name, so neither . nor .., "+
				"and nothing that starts with pi_", quoteUnlessSecret(s))
	}
	return checkReference(s)
}

func checkReference(s string) error {
	if !isDisplayable(s) || len(s) > MaxReferenceBytes {
		return newProblem(InvalidReference, "reference",
			"invalid reference: want at most %d bytes of UTF-8 without control characters, "+
				"line separators and marks of the writing direction", MaxReferenceBytes)
	}
	return nil
}

// isDisplayable reports whether s is UTF-8 without characters that can make a
// text look like another one in a log, a terminal or an alert: the control
// characters C0 and C1, line and paragraph separators, and the marks of the
// writing direction.
func isDisplayable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, isControlOrBidiRune)
}

func isControlOrBidiRune(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
		unicode.Is(unicode.Bidi_Control, r)
}

// removeUndisplayable makes s displayable. Metadata may have a reference that an
// earlier release accepted, and its money must not be lost for that.
func removeUndisplayable(s string) string {
	return strings.Map(func(r rune) rune {
		if isControlOrBidiRune(r) {
			return -1
		}
		return r
	}, s)
}

// Stripe accepts card amounts of up to twelve digits. The currencies listed
// have a lower limit (Stripe's documentation: minimum and maximum charge
// amounts).
const maxAmount = 999_999_999_999

var maxAmountByCurrency = map[string]int64{"cop": 9_999_999_999, "inr": 999_999_999}

// amountMultiple returns the number of which Stripe accepts only multiples:
// three decimals must end in 0, and ISK and UGX are written with two decimals
// that must be 00.
func amountMultiple(currency string) int64 {
	switch {
	case slices.Contains(threeDecimal, currency):
		return 10
	case currency == "isk" || currency == "ugx":
		return 100
	}
	return 1
}

// checkAmount refuses an amount that Stripe would refuse. A currency that is
// not known yet has the widest limits.
func checkAmount(field string, n int64, currency string) error {
	if n < 0 {
		return newProblem(InvalidAmount, field,
			"invalid amount %d: want minor units, such as 1250 for 12.50", n)
	}
	limit, ok := maxAmountByCurrency[currency]
	if !ok {
		limit = maxAmount
	}
	if n > limit {
		return newProblem(
			InvalidAmount,
			field,
			"%s is above Stripe's maximum of %s: want minor units, such as 1250 for 12.50",
			FormatAmount(n, currency),
			FormatAmount(limit, currency),
		)
	}
	if step := amountMultiple(currency); n%step != 0 {
		return newProblem(
			InvalidAmount,
			field,
			"invalid amount %s: Stripe accepts multiples of %s",
			FormatAmount(n, currency),
			FormatAmount(step, currency),
		)
	}
	return nil
}

// minAmounts are Stripe's minimum charge amounts by currency, in minor units
// (Stripe's documentation: minimum and maximum charge amounts). A currency that
// is not listed depends on the exchange rate: Stripe decides.
var minAmounts = map[string]int64{
	"aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
	"eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
	"myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
	"usd": 50,
}

// checkMinAmount refuses to authorize less than Stripe's minimum.
func checkMinAmount(n int64, currency string) error {
	if least := minAmounts[currency]; n < least {
		return newProblem(InvalidAmount, "amount", "%s is below Stripe's minimum of %s",
			FormatAmount(n, currency), FormatAmount(least, currency))
	}
	return nil
}

// checkCaptureAmount compares n with the authorized amount if that is known.
func checkCaptureAmount(n, authorized int64, currency string) error {
	if err := checkAmount("capture_amount", n, currency); err != nil {
		return err
	}
	if authorized > 0 && n > authorized {
		return newProblem(AmountTooLarge, "capture_amount",
			"%s is more than the authorized %s", FormatAmount(n, currency),
			FormatAmount(authorized, currency))
	}
	return nil
}

func parseOnExpiry(s string) (ExpiryPolicy, error) {
	if s == "" {
		return PolicyCancel, nil
	}
	p, ok := ParseExpiryPolicy(s)
	if !ok {
		return 0, newProblem(InvalidPolicy, "on_expiry",
			"invalid on_expiry %.40q: want cancel, capture or alert", s)
	}
	return p, nil
}

func validateMetadata(m map[string]string) error {
	if len(m) > MaxMetadataPairs {
		return newProblem(InvalidMetadata, "metadata", "%d pairs: want at most %d",
			len(m), MaxMetadataPairs)
	}
	for k, v := range m {
		if k == "" || utf8.RuneCountInString(k) > MaxMetadataKey || !utf8.ValidString(k) {
			return newProblem(InvalidMetadata, "metadata",
				"invalid key %.60q: want 1 to %d characters",
				k, MaxMetadataKey)
		}
		if utf8.RuneCountInString(v) > MaxMetadataValue || !utf8.ValidString(v) {
			return newProblem(InvalidMetadata, "metadata",
				"invalid value of %q: want at most %d characters", k, MaxMetadataValue)
		}
	}
	return nil
}

// CheckPaymentIntentID returns a *[Problem] if id is no PaymentIntent id: pi_
// and 8 to 64 letters and digits.
func CheckPaymentIntentID(id string) error {
	rest, ok := strings.CutPrefix(id, "pi_")
	ok = ok && len(rest) >= 8 && len(rest) <= 64
	for i := 0; ok && i < len(rest); i++ {
		// faster than a pattern; every call to Stripe is checked twice
		c := rest[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	if !ok {
		return newProblem(InvalidID, "payment_intent",
			"invalid payment_intent %s: want pi_ and 8 to 64 letters and digits",
			quoteUnlessSecret(id))
	}
	return nil
}

// quoteUnlessSecret quotes a value of a request, unless it may be a secret sent
// by mistake.
func quoteUnlessSecret(s string) string {
	if strings.Contains(s, "_secret") || strings.Contains(s, "sk_") || strings.Contains(s, "rk_") ||
		strings.Contains(s, "whsec_") {
		return "(not shown, because it looks like a secret)"
	}
	return fmt.Sprintf("%.80q", s)
}

// CheckAccountID returns a *[Problem] if id is no connected account's id. Empty
// is the platform's own account.
func CheckAccountID(id string) error {
	if id != "" && (len(id) > len("acct_")+64 || !accountIDPattern.MatchString(id)) {
		return newProblem(InvalidID, "account",
			"invalid account %s: want acct_ and 8 to 64 letters and digits, or none",
			quoteUnlessSecret(id))
	}
	return nil
}
