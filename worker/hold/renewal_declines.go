package hold

import "time"

// declineClass is what follows from a decline of a renewal.
type declineClass uint8

const (
	declineRetry        declineClass = iota + 1 // the bank may accept it later
	declineAuthenticate                         // the cardholder must authenticate with the bank
	declineOtherCard                            // no other try with this card, only with another one
)

// codeAuthenticationRequired is the code of a bank that requires the
// cardholder.
const codeAuthenticationRequired = "authentication_required"

// declineClasses says what follows from a decline code. A code that is not
// listed is retried, within declineLimits.
//
// Sources: docs.stripe.com/declines/codes for the meaning; for
// declineOtherCard also Visa's rules for reattempts (category 1, "issuer will
// never approve").
var declineClasses = map[string]declineClass{
	codeAuthenticationRequired:              declineAuthenticate,
	"authentication_not_handled":            declineAuthenticate,
	"payment_intent_authentication_failure": declineAuthenticate,
	"offline_pin_required":                  declineAuthenticate,
	"online_or_offline_pin_required":        declineAuthenticate,
	"expired_card":                          declineOtherCard,
	"incorrect_number":                      declineOtherCard,
	"invalid_number":                        declineOtherCard,
	"invalid_expiry_month":                  declineOtherCard,
	"invalid_expiry_year":                   declineOtherCard,
	"incorrect_cvc":                         declineOtherCard,
	"invalid_cvc":                           declineOtherCard,
	"incorrect_zip":                         declineOtherCard,
	"lost_card":                             declineOtherCard,
	"stolen_card":                           declineOtherCard,
	"pickup_card":                           declineOtherCard,
	"restricted_card":                       declineOtherCard,
	"revocation_of_authorization":           declineOtherCard,
	"revocation_of_all_authorizations":      declineOtherCard,
	"stop_payment_order":                    declineOtherCard,
	"invalid_account":                       declineOtherCard,
	"card_not_supported":                    declineOtherCard,
	"currency_not_supported":                declineOtherCard,
	"transaction_not_allowed":               declineOtherCard,
	"service_not_allowed":                   declineOtherCard,
	"not_permitted":                         declineOtherCard,
	"fraudulent":                            declineOtherCard,
	"merchant_blacklist":                    declineOtherCard,
	"security_violation":                    declineOtherCard,
	"do_not_try_again":                      declineOtherCard,
}

// adviceClasses says what follows from Stripe's advice_code, if the decline code
// does not ask for more.
//
// Source: docs.stripe.com/declines, "Advice codes".
var adviceClasses = map[string]declineClass{
	"try_again_later":   declineRetry,
	"do_not_try_again":  declineOtherCard,
	"confirm_card_data": declineOtherCard,
}

// networkAdvice is what a code of the card network asks for.
type networkAdvice struct {
	class declineClass
	after time.Duration // the next try is not before
}

// networkAdvices are by network_advice_code. A code that is not listed asks for
// nothing.
//
// Source: Mastercard's merchant advice codes, as
// developer.paypal.com/braintree/docs/reference/general/merchant-responses/merchant-advice-codes
// lists them. Codes 02 and 24 to 30 come with a lack of funds or of credit.
var networkAdvices = map[string]networkAdvice{
	"01": {class: declineOtherCard}, // new account information available
	"02": {class: declineRetry},     // try again later
	"03": {class: declineOtherCard}, // do not try again
	"21": {class: declineOtherCard}, // the cardholder has stopped recurring payments
	"24": {declineRetry, time.Hour},
	"25": {declineRetry, 24 * time.Hour},
	"26": {declineRetry, 2 * 24 * time.Hour},
	"27": {declineRetry, 4 * 24 * time.Hour},
	"28": {declineRetry, 6 * 24 * time.Hour},
	"29": {declineRetry, 8 * 24 * time.Hour},
	"30": {declineRetry, 10 * 24 * time.Hour},
}

// declineLimits are the most declines of one card within a time. The strictest
// of Visa (15 in 30 days) and Mastercard (10 in 24 hours, 35 in 30 days) apply
// to every card, because an intent does not always name its brand.
var declineLimits = []struct {
	most   int
	within time.Duration
}{
	{10, 24 * time.Hour},
	{15, 30 * 24 * time.Hour},
}

// maxDeclinesKept is how many declines a record keeps: as many as the longest
// limit counts.
const maxDeclinesKept = 15

// minDeclineRetry is the shortest time between two tries after a decline.
const minDeclineRetry = time.Hour

// minUnprotectedRetry is the same while nothing holds the amount.
const minUnprotectedRetry = time.Minute

// classifyDecline returns the strictest class that a code of the decline has.
func classifyDecline(code string, advice DeclineAdvice) declineClass {
	return max(declineRetry, declineClasses[code], adviceClasses[advice.Code],
		networkAdvices[advice.NetworkCode].class)
}

// recordDecline adds a decline of the card and forgets those that no limit counts
// any more. The limits count each card of the hold, over all renewals and
// increments.
func recordDecline(r *Renewal, code string, advice DeclineAdvice, now time.Time) {
	if r.DeclinedCard != r.PaymentMethod {
		r.DeclinedCard, r.Declines, r.NeverAgain = r.PaymentMethod, nil, ""
	}
	if classifyDecline(code, advice) == declineOtherCard {
		r.NeverAgain = code
	}
	longest := declineLimits[len(declineLimits)-1].within
	var kept []time.Time
	for _, t := range r.Declines {
		if t.After(now.Add(-longest)) {
			kept = append(kept, t)
		}
	}
	kept = append(kept, now)
	r.Declines = kept[max(0, len(kept)-maxDeclinesKept):]
}

// mayTryCardAgain reports whether the networks allow another authorization of the
// hold's card now. code is the decline after which they do not.
func mayTryCardAgain(r *Renewal, now time.Time) (code string, ok bool) {
	switch {
	case r.DeclinedCard != r.PaymentMethod:
		return "", true
	case r.NeverAgain != "":
		return r.NeverAgain, false
	}
	return r.DeclineCode, !nextAllowedTryTime(r, now).After(now)
}

// nextAllowedTryTime returns from when on the limits allow another try.
func nextAllowedTryTime(r *Renewal, now time.Time) time.Time {
	at := now
	for _, l := range declineLimits {
		if len(r.Declines) >= l.most {
			// The oldest of the last most declines leaves the span at this time.
			at = maxTime(at, r.Declines[len(r.Declines)-l.most].Add(l.within))
		}
	}
	return at
}

// retryDelayWithoutAuthorization returns how long after a decline a renewal whose old
// authorization is released is tried again: ten times as long as since the
// decline before. A bank frees released money after seconds to days.
func retryDelayWithoutAuthorization(r *Renewal) time.Duration {
	n := len(r.Declines)
	if n < 2 {
		return minUnprotectedRetry
	}
	return min(max(minUnprotectedRetry, 10*r.Declines[n-1].Sub(r.Declines[n-2])), minDeclineRetry)
}

// retryTimeAfterDecline returns when a declined renewal is tried again: after a
// quarter of the time that is left before the authorization ends, and not before
// the card networks, their limits and their advice, allow it. ok is false if that
// is too late. A hold that nothing protects is tried again sooner.
func retryTimeAfterDecline(r *Renewal, expires, now time.Time) (at time.Time, ok bool) {
	wait := max(minDeclineRetry, expires.Sub(now)/4)
	if r.Unprotected {
		wait = retryDelayWithoutAuthorization(r)
	}
	at = now.Add(wait).Truncate(time.Millisecond)
	at = maxTime(at, now.Add(networkAdvices[r.Advice.NetworkCode].after))
	at = maxTime(at, nextAllowedTryTime(r, now))
	return at, at.Before(expires)
}
