// Command stripesim serves a stateful simulator of Stripe's API, for
// integration tests of programs that capture payments.
//
// Point a Stripe client's base URL at it, by default http://127.0.0.1:12113,
// and use any key that starts with sk_test_, rk_test_ or pk_test_. A browser at
// / reads what it serves. Tests control it under /_sim/: faults, the clock, acts
// at the Dashboard, the ledger. `stripesim --help` lists the endpoints. Under
// /_pages/ it serves the pages that Stripe hosts: the bank's authentication and
// the form for a card. Under /v3/ is a script with the interface of Stripe.js.
//
// `stripesim run FILE…` runs scenarios from files: requests, moves of the clock,
// and what is expected. The folder scenarios has examples.
//
// Like an account that was created today, it answers in the newest API version
// unless a call names another with Stripe-Version.
//
// A call with a live key is answered 401. The program does not start if its
// environment or its flags have a live key.
package main
