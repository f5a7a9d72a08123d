// Package hotel is the website of a small hotel: an example of a checkout to
// copy. It talks to holdd with the client of package api, and to Stripe only to
// make a customer.
//
// A booking takes these steps:
//
//	browser: Stripe.js turns the card into a PaymentMethod
//	server:  POST /v1/authorizations with the PaymentMethod
//	browser: if the answer is requires_action, Stripe.js shows the bank's dialog
//	server:  POST /v1/authorizations/{id}/confirm, and the guest is booked
//
// No card number reaches this server: the fields are in frames of Stripe's. Each
// booking has one Idempotency-Key, which is part of its address, so that a
// second click, a reload and the back button authorize nothing twice. A
// declined booking is confirmed with another card under a new key.
//
// The front desk checks guests out: it captures the stay with its extras, and
// Stripe releases the rest of the deposit.
//
// Bookings are in memory, and at most 1,000 of them. A real hotel keeps them in
// its database, and protects the front desk with a login.
package hotel
