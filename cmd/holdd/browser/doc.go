// Package browser tests the console as its visitors use it: in Chromium, with
// and without JavaScript, with the mouse and the keys.
//
// Each test starts a daemon in the test process, with a Redis and a Stripe
// simulator beside it, on real time. There are tests only.
package browser
