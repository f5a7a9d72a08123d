// Package torture runs several processes of the shipped binary beside a real
// Redis and injects faults, while a booking system places, changes and cancels
// holds. Afterwards it checks the money.
//
//	go test ./cmd/holdd/torture                                         the short form, less than a minute
//	go test ./cmd/holdd/torture -run TestTorture -torture.for=5m -v     a long run; -v prints the report
//	… -torture.seed=N -torture.scenario=sentinel                        the same plan of faults again
//
// # Scenarios
//
//	standalone  replicas are killed, stopped for longer than their lease, and restarted; Redis is killed, frozen, and loses
//	            the end of its append-only file as in a power cut
//	network     a proxy cuts, resets, slows and blackholes each replica's connections to Redis and Stripe
//	sentinel    the master is killed, also while its replicas lag: the new master then lacks the last writes
//	cluster     masters of a Cluster are killed, with a failover and without
//
// In all of them Stripe, the simulator behind a real socket, loses replies,
// breaks bodies, fails before and after the effect, is slow, locked and rate
// limited. A seed determines the plan of faults. Processes and the kernel
// determine the rest, so the same seed gives the same plan but not the same
// run.
//
// # The checker
//
// The checker knows the simulator's ledger and the requests and answers of the
// booking system. It reads no record in Redis and no log. Its rules:
//
//   - A hold has at most one effect, of exactly the requested amount, and not
//     before its time.
//   - A change counts from its acknowledgement on: nothing is captured after an
//     accepted cancel.
//   - An acknowledged hold exists, and ends soon after the faults.
//   - The API reports what happened.
//
// # What Redis may lose
//
// A Redis that flushes its file once a second, or whose replicas lag, loses its
// last writes when it dies. The checker allows and counts two consequences:
//
//   - A request that was acknowledged within two seconds before the death may
//     be gone, and its hold with it.
//   - A claim may be gone while its request is on the way to Stripe. A cancel
//     may then be accepted too late: the money is captured once, and the API
//     reports the hold as captured. This is possible only for a request sent
//     between two seconds before the death and the end of a lease after it.
//
// # Processes
//
// The test ends every process by its id. The kernel ends them if the test
// process dies. Waits are for a state, with a bound; only the faults are timed.
// A replica that exits is restarted and counted; one that panics fails the
// test. On a violation the test prints the requests, the answers, the ledger,
// the history and the log lines of that hold.
package torture
