// Package stripesim is a stateful simulator of Stripe's API, from version
// 2023-10-16 to the newest: PaymentIntents and the objects that belong to them,
// for tests of programs that authorize first and capture later.
//
// It imports neither stripe-go nor another package of this module, so that a
// test notices a mistake that a client and its own server would share. Its
// ledger records every effect on money, in order and with its actor. Tests read
// the ledger instead of the program under test.
//
// # Use
//
// In process, also inside a testing/synctest bubble:
//
//	sim := stripesim.New(stripesim.Options{Seed: 1})
//	client := &http.Client{Transport: sim.Transport()} // any host, any sk_test_ key
//	id, err := sim.Authorize(stripesim.Hold{Amount: 10000, Currency: "eur"})
//	…
//	sim.Ledger()
//
// As a server, [Sim.Handler] serves Stripe's API, [Sim.ControlHandler] the
// control endpoints, and [Sim.Run] expires authorizations and delivers
// webhooks. cmd/stripesim combines the three.
//
// # Model
//
// An account holds its objects, limits and idempotency keys under one mutex. No
// goroutine waits while it holds the mutex. A call goes through these steps:
//
//	choose the fault ─ delay ─ authenticate ─ rate limits ─ look up the idempotency key
//	─ check parameters ─ lock the intent ─ execute ─ store the answer for the key
//	─ service time ─ delay ─ answer
//
// A call that fails before execution stores nothing: 401, 403, 409, 413, 429,
// invalid parameters. A call that executes stores its status and body for
// Options.IdempotencyKeyRetention, be it a 200, 400, 402, 404 or 500. The same
// key with other parameters or at another endpoint is an idempotency_error.
//
// The effect happens at the start of the service time. During it the intent
// answers other changes with lock_timeout, and the key answers
// idempotency_key_in_use. A caller that gives up meanwhile does not know the
// outcome, as with Stripe.
//
// An authorization lasts until capture_before (Options.AuthorizationWindow).
// The next operation on the account after that time expires it, with the events
// of that time. [Sim.ProcessDue] and Run expire it without a call. A captured
// part stays captured, and the intent has succeeded.
//
//	requires_payment_method ─▶ requires_confirmation ─▶ requires_action ─▶ requires_capture
//	requires_capture ─▶ succeeded (capture) or canceled (cancel, expiry)
//	a status before requires_capture ─▶ canceled (cancel), or requires_payment_method
//	    (decline, failed 3-D Secure, an hour without the server's confirmation)
//
// For each intent, authorized + incremented + overcaptured = captured +
// released + canceled + expired + held, and at most one effect is final. The
// tests check both against random sequences of calls.
//
// # Clocks
//
// Objects, deadlines, keys and events use the simulator's clock: time.Now plus
// Options.ClockOffset, times Options.Speed, plus what [Sim.Advance] added. Rate
// limits, locks, delays and webhook retries use time.Now. Ids and client
// secrets depend on Options.Seed and the order of calls, so that a seeded run
// can be repeated. Ids of different accounts never collide.
//
// # Where Stripe's behaviour is uncertain
//
// The simulator picks one answer, and programs should handle the other as well.
// A 404 is stored for its key. A cancel after a partial capture releases the
// rest and leaves the intent succeeded, as expiry does. Each of several
// captures emits charge.updated, and the last one charge.captured. A released
// charge shows refunded. [Sim.SetCaptureErrorCodes] chooses the codes for
// capturing an intent that is captured or expired.
//
// # Protection against a mix-up with Stripe
//
// Every object has livemode false. A call with a live key is answered 401 with
// the advice to roll the key. Bodies, accounts, fault rules, events and pending
// webhooks are bounded. The ledger is not.
package stripesim
