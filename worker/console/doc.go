// Package console serves web pages for operators under /console/: lists of
// holds, one page for each hold, and pages that confirm a capture, a release or
// another change.
//
// The pages are written on the server and work without JavaScript. A script
// adds live updates and keys. Each page is one function that reads through
// the same parts of the worker as the API and returns a [node].
//
// Pages are built from nodes, not from html/template: that package calls
// methods by name, so the linker would keep every exported method of every
// package, and the binary would grow by 8 MB. A node escapes every text and
// every attribute, and there is no node for raw HTML.
//
// # Access
//
// Package api checks the caller's address and origin before it passes a request
// on. If the API has tokens, a visitor signs in with one. The session is a
// cookie with the token's name and an end, authenticated with a key that
// follows from the token: every replica accepts it, and deleting the token from
// the file ends it. A token with the role read sees no buttons, and its
// changes are refused.
//
// # Money
//
// A change is confirmed on a page that names the booking, the amount and the
// effect. The confirmation sends the revision that the page showed, and a hold
// that has changed since is not touched.
package console
