// Package audit computes what an integration with Stripe loses on manual
// captures: authorizations that expired, captures just before the end, money
// held twice, and what is held now.
//
// It is pure: [NewPayment] turns a PaymentIntent into a [Payment], [ComputeReport]
// turns payments into a [Report], and [RenderPage] turns a report into one HTML page.
// Package auditread reads the payments.
//
// # What is known
//
//   - The time of an authorization is the charge's. An authorization counts in
//     the period in which it was placed.
//   - A cancel and an expiry have the intent's canceled_at. An intent that
//     Stripe canceled by itself, and that a bank had authorized, expired.
//   - A capture has the time of the charge's balance transaction, or of the
//     event charge.captured. Without both its time is unknown, and the report
//     says how many there are.
//   - The end of an authorization is the charge's capture_before. Where a charge
//     has none, the end is assumed from the payment method, and the report says
//     for how many.
//
// The part that a capture did not take was released then. If another system
// captured a part and let the rest expire, that rest counts as released.
package audit
