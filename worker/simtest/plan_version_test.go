package simtest

import "github.com/holdd/holdd/worker/stripesim"

// drawEventVersion returns the version in which Stripe renders its events, by a
// rng of its own.
func drawEventVersion(seed uint64) string {
	d := newRNG(seed, "event version")
	return pickOne(d, "", "", "2025-03-31.basil", stripesim.NewestAPIVersion,
		stripesim.NewestAPIVersion)
}
