// Package e2e tests the built binary from outside: real processes, a real
// redis-server, connections over the loopback interface, signals. Only Stripe
// is replaced. The package contains only tests.
//
// # Model
//
// A world is one Redis, one Stripe and the replicas of holdd that share them.
// Stripe is the project's simulator, which shares no code with holdd. It runs
// in the test process behind a real listener, so a test can refuse connections,
// revoke the key, lose replies, and read the ledger, which has the time and the
// idempotency key of every effect on money. A test checks money by the ledger,
// holds by the API, and logs by the lines on standard error. Webhooks pass
// through a proxy that can lose them.
//
// One test runs the blocks of the README and of requests.md as they are, with
// cmd/stripesim as Stripe. They need curl, openssl, redis-cli, python3 and
// node; the test fails if one is missing (make languages installs them).
// Others lint the OpenAPI document, compare it with that of the last release,
// and generate, type-check and run the clients in deploy/clients and the
// snippets of their page, with what make clients installs. Others copy the
// booking services of deploy/examples as their READMEs say, and run them.
//
// # Faults
//
// Replicas get SIGKILL at any time, SIGSTOP for longer than a lease followed by
// SIGCONT, and SIGTERM. Redis is killed during a drain and restarts with its
// append-only file. The time of a kill is not chosen here: the tests of worker
// and store try each step, in virtual time. The replicas of these tests are
// built with the race detector. A replica fails its test with a data race, with
// a line on standard error that is not JSON, or with a secret in one.
//
// # Time
//
// A test polls a state that is visible from outside, within a bound. Bounds are
// wide, because these tests share two cores with others. Where a time is a
// promise, such as the lateness of a capture, the test uses the recorded time.
// The cardholder's hour has no setting, so Stripe's clock is set back by nearly
// an hour. Tests that measure run before those that load the machine.
package e2e
