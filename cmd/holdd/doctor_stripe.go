package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

const slowStripeAnswer = 2 * time.Second // of the first request, with the connection's setup

// requiredWebhookEvents are the types of events that make holdd read an intent.
var requiredWebhookEvents = []string{
	"payment_intent.amount_capturable_updated", "payment_intent.succeeded",
	"payment_intent.canceled", "payment_intent.payment_failed",
	"payment_intent.requires_action", "charge.captured", "charge.expired",
	"review.opened", "review.closed",
}

// checkStripeInspection checks what an inspection of Stripe found. err is what
// kept the inspection from starting.
func checkStripeInspection(
	s *config.Settings, in gateway.Inspection, err error,
) []doctorCheckResult {
	if err != nil {
		return []doctorCheckResult{errorResult("stripe", "", "%v", err)}
	}
	read, took := in.ListIntents, in.Latency.Round(time.Millisecond)
	switch read.Kind {
	case hold.AnswerOK, hold.AnswerForbidden, hold.AnswerRateLimited, hold.AnswerUnauthorized:
	default:
		return []doctorCheckResult{errorResult("stripe",
			"check stripe_api_base, proxies, firewalls and "+
				"Stripe's status page", "%s gives no usable answer: %s", s.StripeAPIBase,
			cmp.Or(read.Message, read.Kind.String()))}
	}
	out := []doctorCheckResult{okResult("stripe", "%s answered in %s", s.StripeAPIBase, took)}
	if took > slowStripeAnswer {
		out[0] = warningResult("stripe", "check the network: each capture takes at least as long",
			"%s took %s to answer", s.StripeAPIBase, took)
	}
	kind := stripeKeyKind(s)
	if read.Kind == hold.AnswerUnauthorized {
		return append(out, errorResult("stripe key", "create a new key in the Dashboard "+
			"(Developers, API keys) and set STRIPE_API_KEY or STRIPE_API_KEY_FILE",
			"Stripe rejects this %s key of %s mode: it is revoked, expired or invalid", kind,
			stripeModeName(s)))
	}
	if s.IsOrganizationKey() {
		out = append(out, okResult("stripe key", "an organization key of %s mode that acts for %s",
			stripeModeName(s), s.StripeContext))
	} else {
		out = append(out, okResult("stripe key", "a %s key of %s mode", kind, stripeModeName(s)))
	}
	out = append(out, checkStripePermissions(&in)...)
	out = append(out, checkCardholderPermission(s, &in)...)
	out = append(out, checkFeaturesOfRecentCardCharges(&in)...)
	return append(out, checkWebhookEndpoints(s, &in)...)
}

// stripeKeyKind returns what kind of key the Stripe key is, as in "this secret
// key".
func stripeKeyKind(s *config.Settings) string {
	switch {
	case s.IsOrganizationKey():
		return "organization"
	case strings.HasPrefix(s.StripeAPIKey.Reveal(), "rk_"):
		return "restricted"
	}
	return "secret"
}

func stripeModeName(s *config.Settings) string {
	if s.Livemode() {
		return "live"
	}
	return "test"
}

func checkStripePermissions(in *gateway.Inspection) (out []doctorCheckResult) {
	const (
		check = "stripe permissions"
		edit  = "edit the key in the Dashboard (Developers, API keys) and grant "
	)
	for _, p := range []struct {
		answer              hold.Answer
		action, permissions string
	}{
		{in.ListIntents, "read PaymentIntents", "PaymentIntents: Write"},
		{in.ListExpanded,
			"read the charge of a PaymentIntent, which has the deadline",
			"Charges: Read and Reviews: Read"},
		{in.CaptureIntent, "capture or cancel PaymentIntents", "PaymentIntents: Write"},
	} {
		switch p.answer.Kind {
		case 0, hold.AnswerOK, hold.AnswerNotFound:
		case hold.AnswerForbidden:
			out = append(out, errorResult(check, edit+p.permissions,
				"this key may not %s", p.action))
		case hold.AnswerRateLimited:
			out = append(out, warningResult(check, "try again later",
				"whether this key may %s is unknown: Stripe limited the rate", p.action))
		default:
			out = append(out, warningResult(check, "try again",
				"whether this key may %s is unknown: %s", p.action,
				cmp.Or(p.answer.Message, p.answer.Kind.String())))
		}
	}
	if len(out) == 0 {
		out = append(out, okResult(check, "this key may read, capture and cancel PaymentIntents"))
	}
	return out
}

// checkCardholderPermission checks whether cardholders can give another card, for
// which the key creates Checkout Sessions. Without public_url there is no page.
func checkCardholderPermission(s *config.Settings, in *gateway.Inspection) []doctorCheckResult {
	const check = "stripe cardholders"
	switch a := in.CreateSession; {
	case s.PublicURL == "" || a.Kind == 0:
		return nil
	case a.Kind == hold.AnswerForbidden:
		return []doctorCheckResult{errorResult(check, "edit the key in the Dashboard (Developers, "+
			"API keys) and grant Checkout Sessions: Write",
			"this key may not create Checkout Sessions, so no cardholder can give another card")}
	case a.Kind == hold.AnswerInvalid, a.Kind == hold.AnswerNotFound:
		return []doctorCheckResult{okResult(check, "this key may create Checkout Sessions, in which "+
			"cardholders give another card")}
	default:
		return []doctorCheckResult{warningResult(check, "try again", "whether this key may create "+
			"Checkout Sessions is unknown: %s", cmp.Or(a.Message, a.Kind.String()))}
	}
}

// checkFeaturesOfRecentCardCharges says which features the newest card charges have. A charge
// has one only if its PaymentIntent requested it, and Stripe offers it to the
// account and for the card.
func checkFeaturesOfRecentCardCharges(in *gateway.Inspection) []doctorCheckResult {
	const check = "stripe features"
	switch names := in.CardFeatures.Names(); {
	case in.ListExpanded.Kind != hold.AnswerOK:
		return nil
	case in.CardCharges == 0:
		return []doctorCheckResult{okResult(check, "unknown: no card charge among the newest "+
			"PaymentIntents")}
	case len(names) == 0:
		return []doctorCheckResult{okResult(check, "none of the last %d card charges has one: "+
			"Stripe offers them on IC+ pricing or on request, if the PaymentIntent requests them",
			in.CardCharges)}
	default:
		return []doctorCheckResult{okResult(check, "the last %d card charges have %s",
			in.CardCharges, strings.Join(names, ", "))}
	}
}

// checkAccount compares the account of the key with the one that Redis records.
// It checks nothing if Stripe was not asked.
func checkAccount(recorded string, in *gateway.Inspection) []doctorCheckResult {
	const check = "stripe account"
	switch {
	case in.ReadAccount.Kind == 0:
		return nil
	case in.Account == "":
		return []doctorCheckResult{warningResult(check,
			"edit the key in the Dashboard (Developers, API keys) and grant the permission to read "+
				"accounts, so that a key of another account is refused",
			"this key may not read its account: %s", in.ReadAccount.Kind)}
	case recorded == "":
		return []doctorCheckResult{okResult(check, "%s, and this Redis records none", in.Account)}
	case recorded != in.Account:
		return []doctorCheckResult{errorResult(check, "set stripe_api_key to a key of "+
			sanitize(recorded)+", or redis_url to another Redis",
			"this Redis keeps holds of %s, and the Stripe key is of %s", sanitize(recorded),
			in.Account)}
	}
	return []doctorCheckResult{okResult(check, "%s, as in this Redis", in.Account)}
}

const webhookPage = "in the Dashboard (Developers, Webhooks)"

// checkWebhookEndpoints checks the webhook endpoints that lead to holdd.
// Without one, holdd learns of changes made elsewhere only when it reconciles.
func checkWebhookEndpoints(s *config.Settings, in *gateway.Inspection) (out []doctorCheckResult) {
	const check = "stripe webhooks"
	if a := in.ListEndpoints; a.Kind != hold.AnswerOK {
		return []doctorCheckResult{
			warningResult(check, "grant the key Webhook Endpoints: Read, or check "+
				webhookPage+" that an endpoint leads to "+api.WebhookPath,
				"cannot list the endpoints: %s", cmp.Or(a.Message, a.Kind.String()))}
	}
	for i := range in.Endpoints {
		if strings.HasSuffix(strings.TrimSuffix(in.Endpoints[i].Path, "/"), api.WebhookPath) {
			out = append(out, checkWebhookEndpoint(check, s, &in.Endpoints[i]))
		}
	}
	if len(out) == 0 {
		out = append(out, warningResult(check, "add an endpoint "+webhookPage+
			" whose URL leads to "+api.WebhookPath+
			" of holdd, unless a destination of thin events "+
			"does, which this check cannot see",
			"no endpoint of this account ends in %s: holdd learns of changes made elsewhere late, "+
				"by reconciling", api.WebhookPath))
	}
	return out
}

func checkWebhookEndpoint(
	check string, s *config.Settings, e *gateway.WebhookEndpoint,
) doctorCheckResult {
	var missing []string
	for _, t := range requiredWebhookEvents {
		if !slices.Contains(e.Events, t) && !slices.Contains(e.Events, "*") {
			missing = append(missing, t)
		}
	}
	url := sanitize(e.URL)
	switch {
	case !e.Enabled:
		return warningResult(check, "enable it "+webhookPage, "%s is disabled", url)
	case len(missing) > 0:
		return warningResult(check, "add them to the endpoint "+webhookPage,
			"%s does not listen for %s", url, strings.Join(missing, ", "))
	case len(s.StripeWebhookSecrets) == 0:
		return warningResult(check, "set STRIPE_WEBHOOK_SECRETS to the endpoint's signing secret",
			"%s sends events, and holdd cannot verify them: stripe_webhook_secrets is not set", url)
	}
	// The fields that holdd reads are the same in all API versions.
	return okResult(check, "%s listens for all required events, API version %s (any version works)",
		url, sanitize(cmp.Or(e.APIVersion, "the account's default")))
}
