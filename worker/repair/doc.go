// Package repair replaces an unreadable record of a hold.
//
// The bytes go to a quarantine, and the hold is rebuilt from what Stripe and the
// metadata of its PaymentIntent say. Stripe is read first: while it does not
// answer, nothing changes. A repair that was interrupted after the record had
// been removed continues with the quarantined record.
//
// It refuses a record that is readable, and, unless it is forced, one that seems
// to be of a later release: that release can still read it.
package repair
