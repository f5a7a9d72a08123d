// Package authorize places authorizations: it creates and confirms
// PaymentIntents for callers who wait, and ends what a crash or the cardholder
// left unfinished.
//
// An attempt is one request of a caller, named by the caller's idempotency key.
// Its record is in the store before its request leaves, under a lease that one
// process has at a time. What an attempt needs next is decided by
// [hold.AuthorizationMachine], which is pure. This package does what the
// machine names: it sends calls through [execute.Driver], saves the record,
// places the hold, and publishes.
//
//	Authorizer  begins an attempt, or takes on the one with the same key; answers the caller
//	Resumer     a job: takes on attempts that are due to be resumed
//	run         one attempt under one lease: the machine, and the steps that are not calls
//
// What holds here:
//
//   - However often a request is repeated with the same key, and by however
//     many processes, the card is authorized at most once.
//   - An authorization goes on though its caller goes away, because the card
//     may be authorized by then.
//   - An authorized intent gets its hold: from this run, from a repetition, or
//     from the Resumer. The terms of the hold are those in the intent's
//     metadata and not the caller's, because a repetition of an old request
//     must not bring back terms that were changed since.
//   - An intent that the cardholder does not finish is canceled after its time,
//     and that is published once.
//
// The package decides nothing about money: which call follows, when a new
// idempotency key is safe, and what the caller is told stand in package hold.
package authorize
