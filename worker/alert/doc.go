// Package alert tells people and machines what happens, where they already
// look: events go to the booking system as signed callbacks, alerts to chats,
// mail and pagers. It decides nothing about holds, and nothing that it waits
// for keeps a hold waiting.
//
// # The model
//
// Everything worth telling stands in the partitions' streams of events: a
// hold's events since the change that they tell of, in the same script; all
// else (a reject, an orphan, Stripe away, a replica that stopped, too little
// capacity) once over all replicas in the first partition's stream
// (worker/facts.go). That a threshold is told of once, and in time, is decided
// there. Here an event is made an alert by a pure function ([FromEvent]), so
// that the same event is the same alert whoever sends it and however often.
//
// A sink is a way out: the callback, or one of notify_urls. Each has a
// deliverer (courier.go) for each partition, a goroutine of its own, and reads
// the stream from its own cursor. Of several replicas one delivers, under a
// lease with a fencing token in Redis; the cursor and what else it knows are
// saved under that token. After a crash another goes on within a minute and a
// half from what was saved: what was sent since is sent again, under the same
// webhook-id, which is the event's id. So: at least once, in order for each
// hold; a receiver drops what it has seen. Therefore no two pieces of news ever
// have one id: it says when the change was decided, as versions begin again
// where Redis has lost them, or which threshold of which deadline it tells of.
//
// # When a sink doesn't take something
//
//	taken    any 2xx
//	later    429, or 503 with Retry-After: the whole sink waits for as long as it says
//	gone     410: it is not told any more until its address changes; people are told
//	refused  400, 409, 413, 422: it is this event. Its hold is parked, those of others go on
//	failed   all else, and no answer at all: nobody knows whether it is the event or the sink. If it took another hold's in the same round, it is the
//	         event, and the hold is parked. If it took nothing, it is the sink: the cursor stays, and three holds' events are tried at a time, so that one
//	         that can't be taken doesn't hide that others can
//
// Tries back off, with jitter, from five seconds to ten minutes for a sink and
// from ten seconds to an hour for a parked hold. What has not been taken three
// days after it happened is a dead letter: kept, counted, told of, and sent
// once more by "holdd callbacks replay" (out of its order, necessarily: its
// hold went on meanwhile; its timestamp and revision tell). Bounds: 256 parked
// holds for each sink and partition with 64 events each, 10,000 dead letters; a
// sink that refuses more is treated as one that takes nothing. What a sink that
// takes nothing is not told of costs nothing but its place in the stream, which
// is trimmed at events_max: 50,000 events are two days of 6,000 holds a day
// with four events each. What was trimmed before a sink was back is counted
// (Redis 7.0 or newer knows how many) and told of. A new sink begins with what
// happens from then on.
//
// # What people are sent
//
// Each sink has its own least severity. What comes in at once is one message of
// up to 20 lines, so that a morning with 500 deadlines is no flood. Texts say
// the booking, the money, when it ends, what will happen by itself, and what to
// do. Text from outside (a reference, a reason) is cut and stripped of what
// chats would act on. A pager is told the end of what it was told of, under the
// same key; what has an end is therefore a message of its own there.
//
// Notification libraries were measured and left out: shoutrrr v0.13 brings
// text/template, with which Go's linker keeps every exported method of
// everything: the binary grows from 19 to 31 MB and the idle daemon from 24 to
// 30 MB resident. Its addresses are kept as the form of notify_urls. What is
// lost is its length: whatever is not among the services here is reached by
// generic+https:// through a relay. What is won: each message can be bounded in
// time, and its status code and Retry-After count.
//
// # What can go wrong
//
//   - Redis is away: nothing is read, so nothing is delivered; what was
//     delivered and not noted is remembered and not sent twice by the same
//     replica. People are told of it past Redis, by each replica once an
//     episode, since replicas share nothing then; a replica that dies in
//     between doesn't tell the end of it.
//   - All replicas stop: nobody is left to tell. That is what ping_url is for.
//   - A replica sleeps and wakes with an old lease: it may send what another
//     has sent; it notes nothing.
//   - A digest is taken and the connection breaks before the answer: it is sent
//     again.
//   - A receiver's clock is off: Standard Webhooks has it refuse what is older
//     than five minutes. Each try is signed with the time of that try.
//
// Errors and logs never carry an address: its path or user is often the secret.
// Redirects are not followed. Private addresses are allowed: a sidecar is a
// common place for a receiver, and the operator alone says where to.
package alert
