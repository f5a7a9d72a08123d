// Package cardholder is the page on which the cardholder of a hold goes on with
// a renewal that the bank refused: the link to it, and what it shows.
//
// The page has no session and no script. Its link names one renewal of one hold
// and a time at which it expires; an HMAC proves that holdd made it ([Links]).
// A request without a valid link reads nothing. A GET changes nothing but when
// holdd reads Stripe, because mail scanners follow links.
//
// The page leads to pages that Stripe hosts. No card data passes holdd.
package cardholder
