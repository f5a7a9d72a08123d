// Package gateway is the only code that speaks Stripe. It sends one request at a time and says what became of it as a [hold.Answer]; what
// follows from an answer is decided by package hold, and when to try again by the worker.
//
// # What an answer means
//
// The question behind each row is not "did it work" but "may the effect have happened". The set of kinds is closed, and what nobody foresaw
// is unknown: an unknown outcome costs a retry with the same key, a wrong "failed" costs somebody's money.
//
//	what came back                                                     kind
//	200, and the body is the PaymentIntent (or the page) asked for     ok
//	200 and any other body; any other 2xx; a redirect                  unknown
//	no answer, a connection was had                                    unknown
//	no answer, no connection was had                                   unreachable
//	5xx, 424                                                           unknown
//	the same, and Idempotent-Replayed: true or Stripe-Should-Retry:
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
//	any other 4xx with an error of Stripe's                            invalid
//	the same, and Stripe-Should-Retry: true                            unknown
//	4xx without an error of Stripe's (a proxy's HTML, another API)     unknown
//
// The rows are tried in this order; those with a code apply to any 4xx, because Stripe's docs are sure of the codes and not always of the
// statuses. What is unknown for a capture is unknown for a read as well, where it only means to read again.
//
// Whether a request has left is told by net/http/httptrace: before a connection is handed to the request, not a byte of it was written. A
// wait for a free connection, a lookup, a dial or a TLS handshake that ends in an error or with the context is therefore unreachable;
// everything later is unknown, even if the last error was one of a dial, because net/http repeats a request with an idempotency key by
// itself when a kept-alive connection turns out to be dead.
//
// Stripe-Should-Retry is heeded where it says more than the status did, and always to the careful side. "true" on a 4xx that nobody knows
// reopens a matter that would be closed; "false" on a 5xx means that this key is spent, so Stripe is read before anything else is tried. On
// codes that are known, and on 409 and 429, it changes nothing: our retries are minutes and hours apart, not the seconds it speaks of.
//
// # What is sent
//
// The parameters of a mutation follow from its [hold.Call] alone, and must stay as they are: Stripe compares them when a key comes again,
// also when it comes from the next version of this program. Whoever changes them must change how keys are made.
//
//   - capture: amount_to_capture if part is wanted, else nothing. Never final_capture from [Gateway.Do]: without it a capture is final, and
//     Stripe takes the parameter only where multicapture is available. [Gateway.Capture] has it for those who know that it is.
//   - cancel: cancellation_reason abandoned. Of the four reasons it is the only one that says nothing untrue: the guest did not
//     ask, nothing is a duplicate, and "fraudulent" would put the card on a block list. Having one tells our release from the
//     network's, whose reason is automatic.
//   - authorize and confirm: capture_method and confirmation_method manual, payment_method_types card; use_stripe_sdk where the guest is there and no
//     return_url is given. The client secret and the bank's page come out as a [hold.Secret], which nothing prints.
//   - read and list: latest_charge expanded, because capture_before is there and nowhere else; review as well, because only it says
//     whether it is open.
//
// stripe-go's own retries are off: they sleep without looking at the context, and retries here are durable ones. Its telemetry is off. It
// runs uname -a once and sends what that says along as X-Stripe-Client-User-Agent; it can't be told not to.
//
// Beside what holds need, [Gateway.Inspect] asks on an operator's behalf what the key may do and what time it is at Stripe. Whether the key may
// capture is learned from the capture of an intent that there isn't: permissions are looked at first, so 403 is a no and 404 a yes.
//
// # Secrets
//
// An error of stripe-go prints the intent's client_secret, and its errors about unreadable bodies print the body. So none of them is
// ever printed: an [hold.Answer] takes Stripe's message, code and decline code, and fixed words of ours for everything else. What is taken
// is searched for the key, for anything that has the form of a secret and for card numbers, and is bounded. stripe-go's logger is one that
// can't print. A [Key] can't be printed.
//
// # Events
//
// [ParseEvent] takes a webhook for Stripe's if one of the secrets signed it not long ago; while a secret is being replaced there are several on
// either side. Of the body it reads the few fields that have been the same in all versions of the API for ten years, and none of the rest, so
// that the version that the endpoint is set to doesn't matter. An event repeated within the tolerance passes: what comes twice must do no harm
// anyway. Nothing of a body that isn't signed is looked at, and nothing of one that is gets into an error.
//
// # Bounds
//
// One attempt a call; 10 s each, the wait for a connection included; as many connections as there may be calls, kept alive, with pings that
// find dead ones; 1 MiB of body (4 MiB for a page), and a longer one is unreadable rather than cut; 64 KiB of headers; a page a List call.
package gateway
