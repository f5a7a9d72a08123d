// Package stripesim is a stateful, independent stand-in for Stripe's API at
// version 2023-10-16: PaymentIntents and what belongs to them, for tests of
// anything that authorizes now and captures later.
//
// It imports neither stripe-go nor any other package of this module, so that it
// can judge them: a mistake that a client and its server share is one that no
// test sees. What it keeps is the ledger, every effect on money in the order in
// which it happened and by whom, and tests ask it rather than the program under
// test.
//
// # Use
//
// In process, also inside a testing/synctest bubble (make the simulator there):
//
//	sim := stripesim.New(stripesim.Options{Seed: 1})
//	client := &http.Client{Transport: sim.Transport()} // any host, a key that starts with sk_test_
//	id, err := sim.Authorize(stripesim.Hold{Amount: 10000, Currency: "eur"})
//	…
//	sim.Ledger()
//
// As a server: Handler is Stripe's API, ControlHandler the orders that tests
// give under /_sim/ (see ControlHelp), Run what time brings by itself;
// cmd/stripesim puts the three together.
//
// # Model
//
// An account holds its objects, limits and idempotency keys under one mutex,
// which is never held while anything waits. A call goes through these steps,
// and the order is what the rules of idempotency follow from:
//
//	the fault is decided ─ delay ─ key and account ─ limits ─ the key is looked up ─ parameters are checked
//	─ the intent's lock ─ execution ─ the answer is stored for the key ─ service time ─ delay ─ the answer leaves
//
// Whatever fails before execution stores nothing: 401, 403, 409, 413, 429,
// wrong parameters. Whatever executes is stored with its status and body for
// KeyRetention, be it a 200, a 400, a 402, a 404 or a 500; thereafter the same
// key executes anew. The same key with other parameters or at another endpoint
// is an idempotency_error.
//
// The effect happens at the beginning of the service time; during it the intent
// answers other changes with lock_timeout, and the key answers
// idempotency_key_in_use. A caller who gives up meanwhile therefore doesn't
// know what every caller of a real server doesn't know.
//
// An authorization is held until capture_before, which Options.Deadline gives
// (by default the card networks' table). Then it expires by itself: whatever
// looks at the account next finds it expired, at its time and with its events;
// Tick and Run look. A part that was captured stays captured, and the intent
// has succeeded.
//
//	requires_payment_method ─▶ requires_confirmation ─▶ requires_action ─▶ requires_capture ─▶ succeeded
//	        ▲ decline, failed 3-D Secure, an hour without the server's confirmation │                 (capture)
//	        └──────────────────────────────────────────────┘        cancel, expiry ─▶ canceled
//
// For each intent, at every moment: authorized + incremented + overcaptured =
// captured + released + canceled + expired + held, and at most one effect is
// final. The tests hold both against random sequences of calls.
//
// # Clocks
//
// Objects, deadlines, keys and events live by the simulator's own clock:
// time.Now plus ClockOffset, times Speed, plus what Advance added. Limits,
// locks, delays and webhook retries live by time.Now, because those who wait
// for them do. Inside a bubble both are virtual. Ids and client secrets come
// from Options.Seed and the order of calls, so that a seeded run can be told
// again; ids of different accounts never collide.
//
// # Faults
//
// A Fault says what goes wrong with one call, a FaultKind at what point: before
// anything happens, after the effect with the answer lost, broken or replaced,
// or as a false error that is stored for the key although the effect happened.
// Options.Faults decides call by call; AddFault adds rules. A dropped
// connection is a real one in Handler (net/http's client repeats some requests
// by itself then, as it does with Stripe), and an error in Transport.
//
// # Where Stripe itself is not known for certain
//
// The simulator picks one answer, and programs should be safe with the other as
// well: a 404 is stored for its key; cancelling after a part was captured
// releases the rest and leaves the intent succeeded, as expiry does; multiple
// captures emit charge.updated each and charge.captured once at the end; a
// released charge shows refunded. The codes for capturing what is captured or
// expired can be chosen (SetCodes), because more than one is seen.
//
// # What keeps it from being mistaken for Stripe
//
// Every object says livemode:false. A live key is answered 401 with the advice
// to roll it. Bodies, accounts, fault rules, events and pending webhooks are
// bounded; the ledger is not, since it is the judge.
package stripesim
