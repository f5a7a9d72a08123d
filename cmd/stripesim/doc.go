// Command stripesim serves a stateful stand-in for Stripe's API, for
// integration tests of anything that captures payments.
//
// Point a Stripe client's base URL at it and use any key that starts with
// sk_test_ or rk_test_. Under /_sim/ it takes orders from tests: faults, the
// clock, a person at the Dashboard, the ledger. `stripesim --help` lists them
// all.
//
// A live key never gets anywhere: a call with one is answered 401, and the
// program refuses to start where one is set in its environment.
package main
