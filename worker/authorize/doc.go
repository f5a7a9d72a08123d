// Package authorize places authorizations. It creates and confirms
// PaymentIntents for waiting callers, and finishes the attempts that a crash or
// the cardholder left unfinished.
//
// An attempt is one request under the caller's idempotency key. Its record is
// in the store before its first call to Stripe, under a lease of one process.
// [hold.AuthorizationAttemptMachine] decides the next step of an attempt and is
// pure. This package performs the steps: it sends calls through
// [execute.MachineDriver], saves the record, places the hold, and publishes.
//
//	Authorizer   begins an attempt, or resumes the one with the same key; answers the caller
//	Resumer      a job: resumes the attempts that are due
//	attemptRun   drives one attempt under one lease
//
// # Invariants
//
//   - A card is authorized at most once for each key, for any number of
//     repetitions and processes.
//   - An attempt continues after its caller disconnects, because the card may
//     be authorized by then.
//   - Every authorized intent gets its hold from the first run, a repetition or
//     the Resumer. The hold's terms come from the intent's metadata, because a
//     repetition of an old request must not restore terms that have changed
//     since.
//   - An intent that the cardholder does not complete is canceled after its
//     confirmation window, and that is published once.
//
// This package decides nothing about money. Package hold decides which call
// follows, when a new idempotency key is safe, and how the caller is answered.
package authorize
