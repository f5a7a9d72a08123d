// Package bulkread reads many PaymentIntents with few requests.
//
// A page of Stripe's list has 100 intents and costs one request of the read
// budget, as a single read does. [IntentRetriever.RetrieveEach] therefore reads pages of
// an account's list if many of its intents wait to be read, and reads the
// others one by one. The verifier and the refresher use it, on one replica at a time:
// two would read the same intents.
//
// # A walk
//
// A list has the newest intents first and has no filter for ids. A walk starts
// at the time at which the newest of the waiting intents is known to have
// existed, and skips a gap in which none of them can be. Where a page answers
// few of them, the walk goes on behind one that still waits, because intents
// that wait together were often created together. It ends after two to five
// pages in a row that answer fewer than two, because single reads cost no more
// from there. A call has time for some pages only: the walk of the next call
// begins at the page that this one had no time for.
//
// # Invariants
//
//   - The caller reads its records before it calls RetrieveEach, so each page is
//     newer than the record to which the caller applies it. A record that
//     another writer changed meanwhile has another version, and the commit of
//     the answer fails.
//   - An intent that no page contains is read by itself. Only Stripe's answer
//     to that read says that the intent does not exist.
//   - Each intent has at most one answer.
//   - One 404 is no answer. The intent is read again 10 seconds later at the
//     earliest; with a wrong key, the caller has seen many 404s by then and
//     believes none of them.
package bulkread
