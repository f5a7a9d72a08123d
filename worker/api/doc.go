// Package api is the HTTP API of holds, and its client.
//
// The model. A request passes through, in this order:
//
//  1. admission ([Options].Tokens): who is it, and may it come in;
//  2. routing, with 404 and 405 as problems;
//  3. a slot: as many requests as Options.MaxInFlight are served at a time, the
//     others wait until Options.Timeout. /healthz, /readyz and /metrics need
//     none, for they must answer when all else is stuck;
//  4. strict reading of path, parameters, headers and body;
//  5. one call of [HoldService], which decides; this package knows neither
//     Redis nor Stripe nor what may happen to a hold;
//  6. the answer: a [hold.View] or a [Problem].
//
// What comes out. Errors are RFC 9457 problems, and there is one shape: those
// of package hold, of the JSON reader, of the router and of huma's check of
// parameters are all brought to it. The catalog in problem.go maps each code to
// its status and is printed at /docs, where the type of each problem points.
// What is wrong inside is logged once and told as internal_error or
// unavailable, without its text. unavailable says that it isn't known whether
// the request was granted, because a time-out can't tell; all requests may be
// repeated without harm.
//
// What goes in. A JSON reader that guesses is dangerous where "amount" spelled
// "Amount" means "take everything". So names are exact, unknown and duplicate
// ones are refused, numbers are whole, and nothing follows the object.
// encoding/json can't be told to do that (it takes any case and the last of
// duplicates); github.com/go-json-experiment/json, from which Go's
// encoding/json/v2 comes, does it by default. Where null or 0 could mean either
// "nothing to say" or "everything" (PATCH, the amount of a capture) it is
// refused as well. In a batch each hold is read by itself: one that is wrong is
// answered by its own problem, while broken JSON is the batch's.
//
// huma makes routes, parameters and the OpenAPI document from Go types. Bodies
// are read here and not by huma, because it decodes twice, through
// map[string]any, which is slow for batches and forgets duplicates. The
// examples and problems of the document are added in openapi.go, and a new
// operation without them doesn't start. The documentation page is plain HTML of
// our own: huma's would load scripts from a third party into a page that has
// the daemon's origin.
//
// What can go wrong, and what stands against it:
//
//   - Somebody else's browser. Without tokens the daemon trusts this machine,
//     and so would every web page opened on it. A page of another origin is
//     refused by net/http's CrossOriginProtection, bodies must be
//     application/json, and names other than loopback ones in Host are refused,
//     which ends DNS rebinding. A connection that arrives at an address that
//     isn't loopback is refused too, whatever the settings said.
//   - A guessed token. Tokens have 24 bytes or more, are kept as digests, and
//     each is compared with all in constant time. Refusals are counted
//     ([API.UnauthorizedRequests]) so that somebody can be told.
//   - A token that leaks. It is in no error, log line or %v; the client follows
//     no redirect and uses no proxy with it.
//   - Forged history. The name that the history shows is the token's. Without
//     tokens it is "api", or "cli" if the client says so; tokens can't have
//     these names.
//   - Floods. Bodies (64 KiB, a batch 1 MiB), headers, times, items, pages,
//     cursors and requests in flight have bounds. A body announced as too large
//     is refused before it is read.
//   - Lost updates. If-Match compares revisions in the store's script, not
//     here.
//   - Two daemons at one socket. Looking whether a socket is stale and binding
//     a new one happens under a lock of its folder.
//   - A lost answer. The client never repeats a change by itself and says that
//     it isn't known whether it was done ([UnreachableError]).
//   - A log that was silenced, or left at debug. Changing the level at
//     /v1/log-level takes the role operate, logs who did it, whatever the
//     levels are, and lasts until the process restarts.
//
// Webhooks. /webhooks/stripe stands before admission: whoever calls shows by
// the signature that it is Stripe, has no token, and may come through a proxy
// under any name. Before the signature is found good nothing is done for
// anybody: no header, no body; and what is spent until then is bounded: 64 at a
// time in places of their own, so that a flood takes none from the API; 1 MiB
// of body, which has 5 s to arrive; one log line a minute; a counter
// ([API.InvalidSignatures]). A good answer means that what the event says is
// safe in the store. Events of the other mode are refused, but for those of
// connected accounts, whose endpoints are sent both.
//
// /healthz and /readyz speak to callers without a token, because what watches
// processes has none; where tokens are required they leave out version and
// details for them. /docs and /openapi.json are open as well: they are the same
// for every holdd, and a browser can't send a token by itself.
//
// POST /v1/reconcile begins a run that outlives its request, or joins the one
// under way: so it may be repeated, and a caller that lost the answer finds the
// run with GET. What it does is package worker's.
//
// Answers carry no validator for caching: a hold's revision is that of its
// terms, while state and history move on. ETag is for If-Match only.
package api
