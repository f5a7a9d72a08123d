// Package libraries runs Stripe's own libraries against the simulator: current
// stripe-go, stripe-node as node/package-lock.json pins it, and stripe-python as
// the distribution has it. Their programs follow the READMEs and Stripe's
// guides, and differ from a program for Stripe in the address and the key.
//
// It is a module of its own, so that the product does not depend on them.
package libraries
