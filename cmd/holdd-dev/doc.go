// Command holdd-dev shows holdd at work in one process. It needs no Redis, no
// Stripe account and no settings, and it moves no money.
//
// The process runs the daemon of `holdd serve` (package daemon), an embedded
// Redis (miniredis), the Stripe simulator (package stripesim) and the booking
// system of a small hotel. The booking system is an example to copy. It
// schedules holds with the client of package api (booking_system.go) and learns
// their outcomes from signed callbacks (callbacks.go). The hotel's website takes
// cards in the browser (package hotel).
//
// # Time
//
// A day lasts three seconds (--day). Only the authorization windows, the stays,
// the expiry margin and the alert threshold are short. The margin and the
// threshold are below the minimum that the settings accept, so holdd-dev sets
// them after the settings have been checked. Jobs, retries and time limits of
// the daemon take as long as in production.
//
// Authorizations of the website last as long as Stripe's, so that a person has
// the time to look at them in the console.
//
// # Shutdown
//
// SIGINT, SIGTERM or --for stops the booking system first, then the daemon,
// then the callback receiver and the simulator. A second signal ends the
// process at once. The summary at the end is computed from the simulator's
// ledger, not from the callbacks. The exit code is 1 if the ledger has a
// PaymentIntent that was captured twice.
//
// The daemon reaches the simulator without the network, so that net/http does
// not repeat a request whose reply is lost. The simulator also listens on a
// port, for requests with curl. Memory grows with the number of bookings.
package main
