package hold

import "time"

// declineClass is what follows from a decline of a renewal.
type declineClass uint8

const (
	declineRetry      declineClass = iota + 1 // the bank may accept it later
	declineCardholder                         // only the cardholder can go on
	declineNever                              // the networks forbid another try with this card
)

// declineClasses says what follows from a decline code. A code that is not
// listed is retried, within declineLimits.
//
// Sources: docs.stripe.com/declines/codes for the meaning; Visa's rules for
// reattempts (category 1, "issuer will never approve") and Mastercard's merchant
// advice code 03 ("do not try again") for declineNever.
var declineClasses = map[string]declineClass{
	"authentication_required":          declineCardholder,
	"authentication_not_handled":       declineCardholder,
	"offline_pin_required":             declineCardholder,
	"online_or_offline_pin_required":   declineCardholder,
	"expired_card":                     declineCardholder,
	"incorrect_number":                 declineCardholder,
	"invalid_number":                   declineCardholder,
	"invalid_expiry_month":             declineCardholder,
	"invalid_expiry_year":              declineCardholder,
	"incorrect_cvc":                    declineCardholder,
	"invalid_cvc":                      declineCardholder,
	"incorrect_zip":                    declineCardholder,
	"lost_card":                        declineNever,
	"stolen_card":                      declineNever,
	"pickup_card":                      declineNever,
	"restricted_card":                  declineNever,
	"revocation_of_authorization":      declineNever,
	"revocation_of_all_authorizations": declineNever,
	"stop_payment_order":               declineNever,
	"invalid_account":                  declineNever,
	"card_not_supported":               declineNever,
	"currency_not_supported":           declineNever,
	"transaction_not_allowed":          declineNever,
	"service_not_allowed":              declineNever,
	"not_permitted":                    declineNever,
	"fraudulent":                       declineNever,
	"merchant_blacklist":               declineNever,
	"security_violation":               declineNever,
	"do_not_try_again":                 declineNever, // an advice code
	"confirm_card_data":                declineCardholder,
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

func classifyDecline(code string) declineClass {
	if c := declineClasses[code]; c != 0 {
		return c
	}
	return declineRetry
}

// recordDecline adds a decline of the card and forgets those that no limit counts
// any more. The limits count each card of the hold, over all renewals and
// increments.
func recordDecline(r *Renewal, code string, now time.Time) {
	if r.DeclinedCard != r.PaymentMethod {
		r.DeclinedCard, r.Declines, r.NeverAgain = r.PaymentMethod, nil, ""
	}
	if classifyDecline(code) == declineNever {
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

// mayTryCard reports whether the networks allow another authorization of the
// hold's card now. code is the decline after which they do not.
func mayTryCard(r *Renewal, now time.Time) (code string, ok bool) {
	switch {
	case r.DeclinedCard != r.PaymentMethod:
		return "", true
	case r.NeverAgain != "":
		return r.NeverAgain, false
	}
	return r.DeclineCode, !nextTryAllowed(r, now).After(now)
}

// nextTryAllowed returns from when on the limits allow another try.
func nextTryAllowed(r *Renewal, now time.Time) time.Time {
	at := now
	for _, l := range declineLimits {
		if len(r.Declines) >= l.most {
			// The oldest of the last most declines leaves the span at this time.
			at = maxTime(at, r.Declines[len(r.Declines)-l.most].Add(l.within))
		}
	}
	return at
}

// retryAfterDecline returns when a declined renewal is tried again: after a
// quarter of the time that is left before the authorization ends, and not before
// the card networks allow it. ok is false if that is too late.
func retryAfterDecline(r *Renewal, expires, now time.Time) (at time.Time, ok bool) {
	at = now.Add(max(minDeclineRetry, expires.Sub(now)/4)).Truncate(time.Millisecond)
	at = maxTime(at, nextTryAllowed(r, now))
	return at, at.Before(expires)
}
