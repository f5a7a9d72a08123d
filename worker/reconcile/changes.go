package reconcile

import (
	"context"
	"fmt"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/hold"
)

// proposedChange is a decision of a comparison.
type proposedChange struct {
	before   hold.Hold // zero for a new hold
	decision hold.Decision
	finding  Finding    // its kind is empty if there is nothing to report
	release  *hold.Call // sent once the decision is written; nil for none
}

// changeWriter writes the changes of one run and records their findings.
type changeWriter struct {
	run       *run
	committer Committer
	clock     *clock.RedisClock
	listed    *listedIntentIDs
	findings  *findingRecorder
	leftovers *leftoverReleaser
}

// commitChangesAndSendReleases writes each change whose hold has not changed since it was
// compared. The next run compares the others again. A dry run only records the
// findings.
func (w *changeWriter) commitChangesAndSendReleases(
	ctx context.Context,
	changes []proposedChange,
) error {
	if w.run.dryRun {
		for i := range changes {
			w.findings.recordFindingAndReportManual(ctx, changes[i].finding)
		}
		return nil
	}
	if len(changes) == 0 {
		return nil
	}
	now := w.clock.Now()
	writes := make([]commit.Change, len(changes))
	for i := range changes {
		writes[i] = commit.Change{Before: &changes[i].before, Decision: changes[i].decision,
			At: now}
	}
	written, err := w.committer.CommitWithRetry(ctx, writes)
	if err != nil {
		return fmt.Errorf("commit changes: %w", err)
	}
	for i := range changes {
		if !written[i] {
			continue
		}
		if changes[i].before.Version == 0 {
			w.listed.add(changes[i].decision.Hold.ID)
		}
		if release := changes[i].release; release != nil {
			released, err := w.leftovers.sendLeftoverRelease(ctx, release)
			if err != nil {
				return err
			}
			if !released {
				changes[i].finding.Kind = FoundOrphan
				changes[i].finding.Detail += "; its release has no outcome yet"
			}
		}
		w.findings.recordFindingAndReportManual(ctx, changes[i].finding)
	}
	return nil
}
