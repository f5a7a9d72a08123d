package gateway

import (
	"context"
	"fmt"
	"maps"
	"unicode/utf8"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// Stripe's limits of metadata, in pairs and characters.
const (
	maxPairs     = 50
	maxPairKey   = 40
	maxPairValue = 500
)

// Update sets pairs of an intent's metadata; an empty value removes its pair, and what isn't named stays. It makes one attempt, see
// [Gateway.Do]. The answer carries the intent as it is then, its charge included.
func (g *Gateway) Update(ctx context.Context, id, account string, metadata map[string]string, key string) hold.Answer {
	if why := wrong(id, account, key, true); why != "" {
		return notSent(why)
	}
	if len(metadata) == 0 {
		return notSent("an update of nothing")
	}
	if why := wrongPairs(metadata); why != "" {
		return notSent(why)
	}
	p := &stripe.PaymentIntentParams{Metadata: maps.Clone(metadata), Expand: latestCharge()}
	return g.one(ctx, id, true, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = params(ctx, account, key)
		return g.intents.Update(id, p)
	})
}

// latestCharge asks for what is expanded of one intent: the charge tells the deadline, the review whether it is open.
func latestCharge() []*string {
	return []*string{stripe.String("latest_charge"), stripe.String("review")}
}

// wrongPairs says why pairs can't be sent, or nothing. It quotes no value. A key with brackets would name another parameter.
func wrongPairs(m map[string]string) string {
	if len(m) > maxPairs {
		return fmt.Sprintf("%d pairs of metadata: Stripe takes %d", len(m), maxPairs)
	}
	for k, v := range m {
		if k == "" || utf8.RuneCountInString(k) > maxPairKey || !utf8.ValidString(k) || hasBracket(k) {
			return fmt.Sprintf("a key of metadata is not 1 to %d characters without brackets", maxPairKey)
		}
		if utf8.RuneCountInString(v) > maxPairValue || !utf8.ValidString(v) {
			return fmt.Sprintf("a value of metadata has more than %d characters or is no UTF-8", maxPairValue)
		}
	}
	return ""
}

func hasBracket(s string) bool {
	for i := range len(s) {
		if s[i] == '[' || s[i] == ']' {
			return true
		}
	}
	return false
}
