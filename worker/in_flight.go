package worker

import "sync/atomic"

// claimsInFlight counts the claims of this replica. The dispatcher adds to it.
// The executor and the completer subtract.
type claimsInFlight struct {
	awaitingStripe atomic.Int64 // claims whose calls are not finished
	uncommitted    atomic.Int64 // claims whose outcome is not committed
	concurrency    int
}

// claimsAllowed returns how many more holds may be claimed now.
//
// Twice the concurrency may await Stripe: the calls under way and as many
// again, so that no goroutine of the executor waits for Redis. More would take
// holds that other replicas could execute earlier. Four times the concurrency
// may be uncommitted, so that the executor continues while the completer writes
// a batch.
func (f *claimsInFlight) claimsAllowed() int {
	return min(f.maxAwaitingStripe()-int(f.awaitingStripe.Load()),
		f.maxUncommitted()-int(f.uncommitted.Load()))
}

func (f *claimsInFlight) maxAwaitingStripe() int { return 2 * f.concurrency }
func (f *claimsInFlight) maxUncommitted() int    { return 4 * f.concurrency }
