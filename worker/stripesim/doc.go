// Package stripesim is a stateful simulator of Stripe's API, from version
// 2023-10-16 to the newest: PaymentIntents and the objects that belong to them,
// for tests of programs that authorize first and capture later.
//
// It imports neither stripe-go nor another package of this module, so that a
// test notices a mistake that a client and its own server would share. Tests
// read its ledger, which has every effect on money in order and with its actor.
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
// cmd/stripesim is a server of [Sim.ServerHandler] and [Sim.Run].
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
// part stays captured, and the intent has succeeded. Klarna, PayPal, Affirm,
// Afterpay and Cash App have windows too, and no capture_before.
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
// # Saved cards
//
// A customer's saved card can be authorized without the cardholder, with
// off_session. [Cards.SaveCard] makes one. [Cards.SetCardOutcomes] and
// [Cards.SetCardCredit] say what its bank answers: declines and requests for 3-D
// Secure by date, and insufficient_funds while other holds use up the credit.
// The ledger has how many holds a customer has after each effect.
// [Cards.SetCardFeatures] takes extended and incremental authorization,
// multicapture and overcapture from an account.
//
// # Pages
//
// Stripe hosts the bank's authentication of an intent that was confirmed with a
// return_url, and the form of a Checkout Session in setup mode. [Sim.PagesHandler]
// serves both, for a browser. [Dashboard.CompleteAction] and
// [Cards.CompleteCardSetup] do the same without one. Checkout Sessions have no
// other mode and no events.
//
// /v3/ is a script with the interface of Stripe.js: elements card and cardCvc in
// frames of the simulator's origin, createPaymentMethod, createToken,
// handleNextAction, handleCardAction, confirmCardPayment, confirmCardSetup,
// retrievePaymentIntent and retrieveSetupIntent. A page runs against Stripe with
// another address and key.
//
// # Keys
//
// A secret key (sk_test_), a restricted one (rk_test_) and an organization's
// may make every call. A publishable one (pk_test_) makes payment methods,
// tokens and ConfirmationTokens, and reads and confirms an intent whose
// client_secret it names.
//
// # Clocks
//
// Objects, deadlines, keys and events use the simulator's clock: time.Now plus
// Options.ClockOffset, times Options.Speed, plus what [Sim.Advance] added. Rate
// limits, locks, delays and webhook retries use time.Now. Ids depend on
// Options.Seed and the order of calls, so that a seeded run can be repeated.
//
// # Fidelity
//
// testdata/recorded.yaml lists answers of Stripe with their sources; a test
// replays them. Every answer of the tests matches Stripe's OpenAPI document.
// Where Stripe's behaviour is uncertain, the simulator picks one answer, and
// programs should handle the other as well. A 404 is stored for its key. A
// cancel after a partial capture leaves the intent succeeded, as expiry does.
// Each of several captures emits charge.updated, and the last one
// charge.captured. [Settings.SetCaptureErrorCodes] chooses the codes for capturing
// an intent that is captured or expired.
//
// It does not simulate a minimum at capture or by converted amounts, the
// currencies and countries of payment methods, mandates, PayPal's extension,
// Japan's 30 days, the status processing, shipping, fees, disputes, failed
// refunds, and events of customers and payment methods. A balance transaction
// has the time of the first capture.
//
// # Protection against a mix-up with Stripe
//
// Every object has livemode false. A call with a live key is answered 401.
// Bodies, accounts, fault rules, events and pending webhooks are bounded.
package stripesim
