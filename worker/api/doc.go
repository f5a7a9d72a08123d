// Package api is the HTTP API of holds, and the endpoint of Stripe's webhooks.
// Package client has the Go client, and declares requests and responses.
//
// A request passes these steps:
//
//  1. Access: [Tokens] decide who calls and what the caller may do.
//  2. Routing, with 404 and 405 as problems.
//  3. The body, within 2 seconds and under a bound of memory for all bodies.
//  4. A slot: at most [Options].MaxInFlight requests are served at a time, and
//     three quarters of them for one token. Others wait. /healthz, /readyz and
//     /metrics need no slot, because they must answer when all requests hang.
//  5. Strict decoding of path, parameters, headers and body.
//  6. One call of the worker, through the small interface that the handler
//     declares. This package knows neither Redis nor Stripe, and does not
//     decide what may happen to a hold.
//  7. The response: a [hold.View], or a [Problem] as defined by RFC 9457.
//
// Each concern has one handler, which registers its routes. huma derives
// routes, parameters and the OpenAPI document from Go types. An operation
// without an example in openapi_examples.go fails a test, and /openapi.json. The
// documentation page is made here, because huma's page loads scripts from
// another server into the daemon's origin. Its own script, docs.js, sends the
// requests that a reader tries; the page's policy names its digest.
//
// # Problems
//
// problem_catalog.go maps each code to a status, a cause and what to do. Errors of package hold, of the
// JSON decoder, of the router and of huma have the same form. An error that is
// not about the request is logged once, and the caller sees only internal_error
// or unavailable. After unavailable the outcome is unknown. Every request may
// be repeated: it takes effect once.
//
// # Bodies
//
// A field's name must match exactly and appear once, an unknown field is an
// error, numbers are whole, and nothing may follow the object. Otherwise a
// misspelled amount would capture everything. encoding/json accepts names in
// any case and duplicates, so bodies are decoded with
// github.com/go-json-experiment/json, and not by huma. null and 0 are rejected
// wherever they could mean both "nothing" and "everything". In a batch each
// hold has its own result; invalid JSON is an error of the batch.
//
// # Protection
//
//   - Without tokens, only callers on this machine are served. Other hosts and
//     addresses are rejected, which stops DNS rebinding. Web pages of other
//     origins are rejected with or without tokens.
//   - Tokens are stored as digests and compared in constant time. They appear
//     in no error or log line. The client follows no redirect and uses no
//     proxy.
//   - A hold's history shows the token's name. The names of callers without a
//     token, such as cli, are reserved.
//   - Connections, headers, bodies, times, pages and requests in flight are
//     bounded. A [ConnectionLimiter] closes connections that have proved nothing
//     before it refuses a new one.
//   - If-Match is compared with the hold's revision by intake.Changer, and the
//     store writes only on the version that was read.
//   - The client retries only if it is asked to. [UnreachableError] says whether the
//     outcome is unknown.
//   - Changing /v1/log-level requires the role operate, and logs who did.
//
// Webhooks pass no access control: Stripe has no token and proves itself by the
// signature. Before the signature is verified, a caller can use a connection for
// 2 seconds and a share of the memory of bodies, but none of the 64 slots.
// Rejections are counted ([API.InvalidSignatures]) and
// logged once a minute. A 200 means that the event's effect is stored.
//
// If tokens are required, /healthz and /readyz still answer callers without
// one, but omit version and details. /docs and /openapi.json are public.
//
// Responses have no validator for caches. ETag is the revision of the terms,
// while state and history change without it.
package api
