// Package gateway is the only code that talks to Stripe.
//
// [Gateway.Do] sends one request for a [hold.Call] and classifies what came
// back as a [hold.Answer]. It makes one attempt. Package hold decides what
// follows from an answer, and when to send again.
//
// [Caller] is what the rest of holdd calls. It applies the shared budget, the
// circuit breaker, the timeout and the metrics to every call. [ParseEvent]
// verifies and reads a webhook. [Gateway.Inspect] shows the operator what a key
// may do.
//
// # What an answer means
//
// The question behind each row is not "did it work" but "may it have taken
// effect". The set of kinds is closed, and whatever no row names is unknown: an
// unknown outcome costs a retry with the same idempotency key, a wrong "failed"
// can cost the cardholder money.
//
//	what came back                                                     kind
//	200 and the PaymentIntent (or the page) that the call asks for     ok
//	200 and any other body; any other 2xx; a redirect                  unknown
//	no answer, the request got a connection                            unknown
//	no answer, the request got no connection                           unreachable
//	5xx, 424                                                           unknown
//	the same with Idempotent-Replayed: true or Stripe-Should-Retry:
//	  false, for a mutation                                            replayed_error
//	code idempotency_key_in_use; 409 of type idempotency_error         key_in_use
//	code lock_timeout                                                  lock_timeout
//	any other 429, whatever its body                                   rate_limited
//	code payment_intent_unexpected_state                               unexpected_state, with the intent
//	codes charge_already_captured, charge_expired_for_capture,
//	  capture_charge_authorization_expired,
//	  capture_unauthorized_payment                                     charge_gone
//	code amount_too_large                                              amount_too_large
//	code resource_missing                                              not_found
//	401, 403                                                           unauthorized, forbidden
//	any other 409; 408, 425                                            unknown
//	type idempotency_error                                             idempotency_error
//	type card_error                                                    declined
//	any other 4xx with an error of the API                             invalid
//	the same with Stripe-Should-Retry: true                            unknown
//	4xx without an error of the API (a proxy's page)                   unknown
//
// The rows are tried in this order. A code counts with any 4xx, because Stripe
// documents the codes more reliably than their statuses.
//
// # Invariants
//
//   - Unreachable means that not a byte was sent. net/http/httptrace reports
//     when a request gets its connection. From then on every failure is
//     unknown, also a dial error of a later try.
//   - The parameters of a mutation follow from its [hold.Call] alone and stay
//     the same in every version of holdd: Stripe compares them when it sees an
//     idempotency key again.
//   - No answer, error or log line has a secret. Errors of stripe-go contain
//     client secrets and pieces of bodies, so they are never printed. What is
//     taken from an answer is searched for secrets and cut.
//   - Only a body that one of the signing secrets signed lately is read as an
//     event. An event is read by the few fields that are the same in every
//     version of the API.
//   - An error of Caller is a [hold.NotSentError]: nothing was sent. The
//     breaker opens after five consecutive calls without an answer, lets one
//     call through every five seconds, and ignores a call whose caller went
//     away.
//
// The package does not retry, follow redirects, decide about holds, or keep
// anything. The reasons and the bounds are in deploy/docs/stripe.md.
package gateway
