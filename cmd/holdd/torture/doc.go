// Package torture runs the shipped binary as its users do, several processes
// beside a real Redis, and does to all of them what happens in the field, while
// a booking system goes on placing, changing and canceling holds. Afterwards it
// asks one question: is the money right?
//
//	go test ./cmd/holdd/torture                                         the short form, less than a minute
//	go test ./cmd/holdd/torture -run TestTorture -torture.for=5m -v     as long as wanted; -v prints the report
//	… -torture.seed=N -torture.scenario=sentinel                        the same plan of faults once more
//
// # The scenarios
//
//	standalone  replicas killed, stopped for longer than their lease and told to restart; Redis killed, frozen, and cut off from power,
//	            which loses the end of its append-only file
//	network     each replica's connections to Redis and to Stripe cut, reset, slowed and blackholed by a proxy
//	sentinel    the master killed, with its replicas in step and with replicas that had lost touch: the new master lacks the tail
//	cluster     masters of a Cluster killed, with a failover and without
//
// In all of them Stripe, which is the simulator behind a real socket, loses
// replies, breaks bodies, fails before and after the effect, is slow, locked
// and rate limited. A seed draws what happens, to whom and when; processes and
// the kernel decide the rest, so the same seed gives the same plan and not the
// same run.
//
// # The judge
//
// The simulator's ledger knows what happened to the money, and the booking
// system's notes know what was asked and what was answered. The judge knows
// nothing else: no record in Redis, no log. Its rules are the promises that
// holdd makes, one by one:
//
//   - a hold has at most one effect, of exactly the amount that was asked for,
//     and not before its time;
//   - what replaced a wish counts from its acknowledgement on: nothing is
//     captured once a cancel was accepted;
//   - what was acknowledged is there and comes to its end, soon after the
//     faults have;
//   - what the API tells is what happened.
//
// # What Redis may lose
//
// A Redis that flushes its file once a second, or whose replicas follow it a
// moment later, forgets the last moment when it dies. holdd can't know what was
// forgotten, so some things are allowed, are counted and are in the report.
// They are bounded by when Redis died (where the end of its file is taken away,
// by the moment from which on it is):
//
//   - a wish whose acknowledgement came within two seconds before that may be
//     gone, and so may the hold;
//   - a claim may be gone while its request is on the way to Stripe. Then a
//     cancel is accepted that comes too late: the money is taken once, and the
//     hold ends as captured, which the API tells. It can only be so for a
//     request sent between two seconds before Redis died and the end of a lease
//     after it.
//
// Everything else must be right, whatever Redis lost.
//
// # How it holds together
//
// Every process is ended by its number when the test ends, and by the kernel if
// the test process dies. Waiting is for a state, with a bound; only the faults
// are timed. A replica that ends by itself is started again, as a supervisor
// would, and counted; one that panics fails the test. On a violation the test
// prints the story of that hold: what was asked and answered, its lines of the
// ledger, its history from the API, and what each replica logged about it.
package torture
