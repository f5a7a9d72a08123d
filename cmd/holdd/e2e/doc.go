// Package e2e holds holdd to its promises from outside, with nothing replaced
// but Stripe: the binary as it is built for users, real redis-server processes,
// connections over the loopback interface, signals. It has tests only.
//
// # The model
//
// A world is one Redis, one Stripe and the replicas of holdd that share them.
// Stripe is the project's simulator, which shares no code with what it judges:
// it runs in the test's process behind a real listener, so that a test can
// close the door on a replica, take its key away, lose its replies, and read
// the ledger, in which every effect on money stands with its time and its
// idempotency key. What a test says of money it says by the ledger, what it
// says of holds by the API, and what it says of the log by the lines on
// standard error. Its webhooks go through a proxy that can lose them, under a
// name that isn't the daemon's, as in front of most services.
//
// The README's section on the ways in is read by a test, which runs its blocks
// as they stand: there Stripe is cmd/stripesim as its users start it. The
// blocks need curl, openssl, redis-cli, python3 and node; one that is missing
// fails the test (make languages installs them), for a snippet that isn't run
// is a guess.
//
// # What can go wrong
//
// Replicas are ended as machines end them: SIGKILL between any two steps,
// SIGSTOP for longer than a lease and SIGCONT into a world in which others have
// done the work, SIGTERM. Redis is killed in the middle of a drain and comes
// back with the append-only file that it left. The point of the kill isn't
// chosen: in packages worker and store the same is tried at each step, in
// virtual time; here it is shown that the parts, put together as they are
// shipped, behave as they do there. The replicas of these tests are built with
// the race detector, and every replica fails its test with a race, with a line
// on standard error that isn't JSON, or with a secret in one.
//
// # Why it is so
//
// A guest's hour can't be shortened by a setting. So Stripe's clock is set
// behind by nearly that much: what is made now is nearly an hour old to holdd.
//
// Nothing waits for a fixed time: a test looks again and again at what can be
// seen from outside, within a bound. Bounds are wide, because these tests share
// two cores with others; where a time is a promise (lateness, taking over), it
// is reckoned from what was written down when it happened, not from when the
// test came to look. Tests that measure run before those that load the machine.
package e2e
