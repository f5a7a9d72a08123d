// Package gateway sends requests to Stripe. No other code of holdd does.
//
// [Gateway.Do] sends one request for a [hold.Call] and classifies the response
// as a [hold.Answer]. It does not retry. Package hold decides what an answer
// means for a hold and when to send again. There is one client for each kind of
// request: intents, authorizations, lists, cards and the account. They send
// through the requestSender, which applies the timeout and classifies.
//
// [Caller] is the entry point for the rest of holdd. It applies the shared
// budget, the circuit breaker, the timeout and the metrics to every call.
// [ParseEvent] verifies and parses a webhook. [Gateway.InspectAPIKeyAndAccount] tests
// the connection and the permissions of the API key for the operator.
//
// # Classification
//
// The kind of an answer says whether the request may have taken effect. The set
// of kinds is closed, and a response that matches no row is unknown. An unknown
// outcome costs a retry with the same idempotency key. A wrong "failed" can
// cost the cardholder money.
//
//	response                                                       kind
//	200 with the PaymentIntent or page that the call requests      ok
//	200 with any other body; any other 2xx; a redirect             unknown
//	none, the request got a connection                             unknown
//	none, the request got no connection                            unreachable
//	5xx, 424                                                       unknown
//	the same with Idempotent-Replayed: true or
//	  Stripe-Should-Retry: false, for a mutation                   replayed_error
//	code idempotency_key_in_use; 409 of type idempotency_error     key_in_use
//	code lock_timeout                                              lock_timeout
//	any other 429, with or without a Stripe error                  rate_limited
//	code payment_intent_unexpected_state                           unexpected_state
//	codes charge_already_captured, charge_expired_for_capture,
//	  capture_charge_authorization_expired,
//	  capture_unauthorized_payment                                 charge_gone
//	code amount_too_large                                          amount_too_large
//	code resource_missing                                          not_found
//	401                                                            unauthorized
//	403                                                            forbidden
//	any other 409; 408, 425                                        unknown
//	type idempotency_error                                         idempotency_error
//	type card_error                                                declined
//	any other 4xx with a Stripe error                              invalid
//	4xx without a Stripe error, such as the page of a proxy        unknown
//
// The first matching row applies. For an error of Stripe's API the header
// Stripe-Should-Retry overrides it: true makes each refusal unknown, and false
// makes key_in_use, lock_timeout, rate_limited and unknown a replayed_error, for
// a mutation. Idempotent-Replayed: true makes unknown a replayed_error too. A
// code counts with any 4xx, because Stripe documents codes more reliably than
// their statuses.
//
// # Invariants
//
//   - Unreachable means that no byte was sent. net/http/httptrace reports when
//     a request gets its connection. Every later failure is unknown, even a
//     dial error of another try.
//   - The parameters of a mutation depend only on its [hold.Call] and are the
//     same in every version of holdd. Stripe compares them when an idempotency
//     key is used again.
//   - Answers, errors and log lines contain no secrets. Errors of stripe-go
//     contain client secrets and parts of bodies, so they are not printed. The
//     texts in an answer are redacted and truncated.
//   - ParseEvent reads only a body with a recent and valid signature, and only
//     fields that are the same in every version of the API.
//   - A read-only gateway sends no request but a GET. It refuses others before
//     anything is sent.
//   - With an organization's key, Stripe-Context takes the place of
//     Stripe-Account, and events of its other accounts are about no intent.
//   - An error of Caller is a [hold.CallNotSentError]: nothing was sent. The
//     breaker opens after five consecutive calls without an answer and then
//     lets one call through every five seconds. It ignores canceled calls.
//
// The package does not retry, follow redirects, decide about holds or keep
// state of them. deploy/docs/stripe.md has the reasons and the bounds.
package gateway
