// Command holdd is the daemon and its command line.
//
// main handles signals and exit codes. [Run] runs one command line with its
// streams and environment as arguments, so that tests can run whole commands.
// Each command is a function that returns a cobra command; it takes a terminal,
// for input and output, and the environment.
//
// holdd serve reads the settings and runs package daemon. holdd doctor reads
// the same settings and inspects the Redis and the Stripe account that they
// name, because it is needed most when no daemon starts: store and gateway
// inspect, this package decides what a finding means. holdd repartition changes
// Redis while no daemon runs. holdd audit needs neither Redis nor a daemon: it
// reads Stripe through a read-only gateway. Every other command is a client of a running
// holdd's HTTP API, and its changes are in the same history as those of other
// clients.
//
// # Invariants
//
//   - What the operator confirms is what happens. A question shows the hold and
//     keeps its revision as If-Match. holdd rejects the request if the hold
//     changes before the operator answers.
//   - A script never hangs on a question. Without a terminal, a command that
//     moves money does nothing and names --yes.
//   - Exit code 4 means that nothing was done, 6 that the outcome is unknown.
//     Exit codes are an interface; exit.go and holdd help exit-codes list them.
//   - An accepted capture is not yet a capture. holdd capture and holdd cancel
//     wait for the outcome, and have exit code 6 if it does not arrive in time.
//   - References, notes and metadata come from outside. Control characters in
//     them never reach the terminal.
//   - holdd reconcile starts or joins a run of the daemon. Interrupting the
//     command does not stop the run.
//   - holdd doctor writes nothing to Redis, sends at most five requests to
//     Stripe, takes at most half a minute, and prints no secret. It learns
//     whether the key may capture from the capture of a PaymentIntent that does
//     not exist.
//   - Every table and every question in live mode says so.
package main
