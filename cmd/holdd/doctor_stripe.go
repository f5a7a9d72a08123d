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

const (
	slowStripeAnswer = 2 * time.Second // the first answer, connecting included
)

// requiredWebhookEvents are those that tell holdd of what others do to a hold.
var requiredWebhookEvents = []string{
	"payment_intent.amount_capturable_updated", "payment_intent.succeeded",
	"payment_intent.canceled", "payment_intent.payment_failed",
	"payment_intent.requires_action", "charge.captured", "charge.expired",
	"review.opened", "review.closed",
}

// checkStripe turns what was seen of Stripe into findings. problem is what kept
// it from being asked.
func checkStripe(s *config.Settings, in gateway.Inspection, problem error) (out []checkResult) {
	if problem != nil {
		return []checkResult{errorResult("stripe", "", "%v", problem)}
	}
	kind, mode := "secret", "test"
	if strings.HasPrefix(s.StripeAPIKey.Reveal(), "rk_") {
		kind = "restricted"
	}
	if s.Livemode() {
		mode = "live"
	}
	read, took := in.ListIntents, in.Latency.Round(time.Millisecond)
	switch read.Kind {
	case hold.AnswerOK, hold.AnswerForbidden, hold.AnswerRateLimited, hold.AnswerUnauthorized:
	default:
		return []checkResult{
			errorResult("stripe",
				"see whether stripe_api_base is right and what is between: a proxy, a firewall, Stripe's own status page",
				"%s gives no answer that can be used: %s", s.StripeAPIBase,
				cmp.Or(read.Message, read.Kind.String()))}
	}
	switch {
	case took > slowStripeAnswer:
		out = append(
			out, warningResult("stripe", "see what is between: each capture takes at least as long",
				"%s answers, and took %s for it", s.StripeAPIBase, took))
	default:
		out = append(out, okResult("stripe", "%s answered in %s", s.StripeAPIBase, took))
	}
	if read.Kind == hold.AnswerUnauthorized {
		return append(
			out, errorResult("stripe key", "make a new key in the Dashboard (Developers, API keys) and give it as STRIPE_API_KEY or STRIPE_API_KEY_FILE",
				"Stripe rejects this %s key of %s mode: it was revoked, has expired, or is no key",
				kind, mode))
	}
	out = append(out, okResult("stripe key", "a %s key of %s mode", kind, mode))
	out = append(out, checkStripePermissions(&in)...)
	return append(out, checkWebhookEndpoints(s, &in)...)
}

func checkStripePermissions(in *gateway.Inspection) (out []checkResult) {
	const (
		check = "stripe permissions"
		edit  = "edit the key in the Dashboard (Developers, API keys) and give it "
	)
	for _, p := range []struct {
		answer             hold.Answer
		lacks, permissions string
	}{
		{in.ListIntents, "read PaymentIntents", "PaymentIntents: Write"},
		{in.ListExpanded,
			"read what belongs to a PaymentIntent, such as its charge, where the deadline stands",
			"Charges: Read and Reviews: Read"},
		{in.CaptureIntent, "capture or cancel PaymentIntents", "PaymentIntents: Write"},
	} {
		switch p.answer.Kind {
		case 0, hold.AnswerOK, hold.AnswerNotFound:
		case hold.AnswerForbidden:
			out = append(out, errorResult(check, edit+p.permissions,
				"this key may not %s", p.lacks))
		case hold.AnswerRateLimited:
			out = append(out, warningResult(check, "try again when there is less to do",
				"whether this key may %s wasn't told: Stripe found requests too many", p.lacks))
		default:
			out = append(out, warningResult(check, "try again",
				"whether this key may %s wasn't told: %s", p.lacks,
				cmp.Or(p.answer.Message, p.answer.Kind.String())))
		}
	}
	if len(out) == 0 {
		out = append(out, okResult(check, "PaymentIntents may be read, captured and canceled"))
	}
	return out
}

// checkWebhookEndpoints looks for the webhook endpoint that leads to holdd.
// Without one, what others do to a hold is learned by comparing, later.
func checkWebhookEndpoints(s *config.Settings, in *gateway.Inspection) (out []checkResult) {
	const check = "stripe webhooks"
	if in.ListEndpoints.Kind != hold.AnswerOK {
		return []checkResult{
			warningResult(check,
				"give the key Webhook Endpoints: Read, or see in the Dashboard (Developers, Webhooks) that one leads to "+api.WebhookPath,
				"the endpoints can't be listed: %s", cmp.Or(in.ListEndpoints.Message,
					in.ListEndpoints.Kind.String()))}
	}
	found := false
	for _, e := range in.Endpoints {
		if !strings.HasSuffix(strings.TrimSuffix(e.Path, "/"), api.WebhookPath) {
			continue
		}
		found = true
		var missing []string
		for _, t := range requiredWebhookEvents {
			if !slices.Contains(e.Events, t) && !slices.Contains(e.Events, "*") {
				missing = append(missing, t)
			}
		}
		switch {
		case !e.Enabled:
			out = append(
				out, warningResult(check, "enable it in the Dashboard (Developers, Webhooks)",
					"%s is disabled", sanitize(e.URL)))
		case len(missing) > 0:
			out = append(
				out, warningResult(check, "add them to the endpoint in the Dashboard (Developers, Webhooks)", "%s doesn't listen for %s", sanitize(e.URL), strings.Join(missing, ", ")))
		case len(s.StripeWebhookSecrets) == 0:
			out = append(
				out, warningResult(check, "give the endpoint's signing secret as STRIPE_WEBHOOK_SECRETS", "%s sends events, and stripe_webhook_secrets is not set, so that they can't be told from forged ones", sanitize(e.URL)))
		default:
			// The few fields that are read of an event have been the same in
			// all versions.
			out = append(
				out, okResult(check, "%s listens for all that is needed, API version %s (any will do)", sanitize(e.URL), sanitize(cmp.Or(e.APIVersion, "the account's default"))))
		}
	}
	if !found {
		out = append(
			out, warningResult(check, "add an endpoint in the Dashboard (Developers, Webhooks) whose URL leads to "+api.WebhookPath+" of holdd",
				"no endpoint of this account ends in %s: what others do to a hold is learned late, by comparing", api.WebhookPath))
	}
	return out
}
