package worker

import "sync/atomic"

// inFlight counts the claims of this replica. The dispatcher adds, the executor
// and the completer subtract.
type inFlight struct {
	awaitingStripe atomic.Int64 // claims whose calls are not finished
	uncommitted    atomic.Int64 // claims whose outcome is not committed
	concurrency    int
}

// claimsAllowed is how many more holds may be claimed now.
//
// Twice the concurrency may await Stripe: as many as can be under way and as
// many again, so that no worker waits for Redis and one claim takes as many
// holds as there are workers. More would make other replicas wait behind this
// one. Four times the concurrency may be uncommitted, so that workers go on
// while outcomes are written, and what piles up meanwhile shares the next round
// trip.
func (f *inFlight) claimsAllowed() int {
	return min(f.maxAwaitingStripe()-int(f.awaitingStripe.Load()),
		f.maxUncommitted()-int(f.uncommitted.Load()))
}

func (f *inFlight) maxAwaitingStripe() int { return 2 * f.concurrency }
func (f *inFlight) maxUncommitted() int    { return 4 * f.concurrency }
