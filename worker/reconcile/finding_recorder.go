package reconcile

import (
	"cmp"
	"context"
	"fmt"

	"github.com/holdd/holdd/worker/hold"
)

// findingRecorder records the findings of one run.
type findingRecorder struct {
	run      *run
	reporter *findingReporter
	logged   int // findings
}

// recordFindingAndReportManual adds a finding to the run, and reports it if
// only the operator can settle it. A dry run reports none.
func (r *findingRecorder) recordFindingAndReportManual(ctx context.Context, f Finding) {
	if f.Kind == "" {
		return
	}
	r.run.addFinding(f)
	if r.run.dryRun || !f.needsSeparateReport() || r.logged >= maxFindingLines {
		return
	}
	if r.reporter.reportOncePerInterval(ctx, f) {
		r.logged++
	}
}

// recordRefusedList records that Stripe refuses to list an account.
func (r *findingRecorder) recordRefusedList(ctx context.Context, account string, a *hold.Answer) {
	r.run.updateCheckpoint(func(s *runCheckpoint) { s.Unreadable[account] = true })
	r.recordFindingAndReportManual(ctx, Finding{
		Kind: FoundUnreadable, Account: account,
		Detail: fmt.Sprintf("Stripe refuses to list its intents (%s): "+
			"check the key's permissions and the account", cmp.Or(a.Code, a.Kind.String())),
	})
}
