// Command holdd-dev is holdd for a first look: one process with everything in
// it. It needs no Redis, no Stripe account and no settings, and moves no money.
//
// Inside run the real daemon (package daemon, the very code of `holdd serve`),
// an embedded Redis (miniredis, on a loopback port), the Stripe simulator (on a
// loopback port as well), and a small hotel that makes bookings, places holds
// on its guests' cards and asks the daemon to see to them, through the daemon's
// HTTP API with its own client. Each booking is one of the stories in
// stories.go; the first round tells each of them once, in an order in which
// something happens every second or so, and after it they come by chance, as
// often as in life.
//
// # Time
//
// A day lasts three seconds (--day). Only lengths of time are made short: the
// card networks' seven days, the stay, the margin and the threshold of the
// warnings. The daemon's own clockwork runs as always: its jobs tick each
// second and its retries wait as long as they do elsewhere. The margin and the
// threshold are below what the settings allow, for good reason, so they are set
// behind the settings' back.
//
// # What is told, and by whom
//
// A line about a wish (booked, refused, changed) is the hotel's, written when
// it has its answer. A line about what became of a hold is the daemon's log
// line for it, caught by a zap core and told in words (events.go). Nothing else
// makes an outcome: the hotel's books are kept from those lines alone. So the
// summary holds the daemon to its word: for each hold, what the log said is
// compared with what the simulator's ledger says was done (audit.go). They
// agree, or the process says how they differ and ends with 1.
//
// What can keep the two apart without anybody being wrong is named in the
// summary and counted as the ledger has it: somebody acted at Stripe, or an
// answer got lost, so late that holdd had not read it when it was stopped. With
// its Redis kept it would go on from there; here the Redis ends with the
// process. PaymentIntents that are not the hotel's, made by a newcomer with
// curl, are counted apart.
//
// # The seed
//
// Guests, amounts, lengths of stay and the order of the stories come from
// --seed alone and are drawn in one goroutine before a story begins, so that
// the same seed makes the same bookings. When a line appears, and which of two
// that happen at once comes first, is real time's.
//
// # How it ends
//
// At SIGINT, SIGTERM or after --for: first the hotel, which finishes the
// requests under way; then the daemon, gracefully; then the simulator; then the
// books are compared, with nobody left who could write; Redis last. A second
// signal ends it at once.
//
// The daemon reaches the simulator without the network, so that a lost reply is
// seen by holdd and not repeated by net/http on its own; the port is there for
// people. Everything grows with the number of bookings (books, ledger, Redis):
// it is for looking at, not for weeks.
package main
