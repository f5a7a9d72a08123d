package authorize

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// maxResumedPerRun bounds the attempts that one run resumes.
const maxResumedPerRun = 64

// AttemptResumer is the job that finishes the attempts that a crash or the
// cardholder left unfinished. It places the holds of authorized intents, and
// cancels and publishes abandoned ones.
type AttemptResumer struct{ o Options }

// NewAttemptResumer returns a resumer.
func NewAttemptResumer(o Options) *AttemptResumer { return &AttemptResumer{o: o} }

// Run resumes the attempts that are due.
func (r *AttemptResumer) Run(ctx context.Context) {
	ids, now, err := r.o.Attempts.ListDueAttemptIDs(ctx, maxResumedPerRun)
	if err != nil {
		r.o.Health.ReportError(ctx, "list due authorization attempts", err)
		return
	}
	r.o.Clock.AdjustTo(now)
	for _, id := range ids {
		if ctx.Err() != nil || r.o.Caller.IsKeyRejected() {
			return
		}
		r.resumeAttempt(ctx, id)
	}
}

// resumeAttempt resumes one attempt unless another process has its lease.
func (r *AttemptResumer) resumeAttempt(ctx context.Context, id string) {
	run := &attemptRun{o: &r.o, token: rand.Text(),
		leaseEnd: time.Now().Add(r.o.Lease - leaseSlack)}
	unknown := hold.AuthorizationAttempt{ID: id}
	attempt, lookup, now, err := r.o.Attempts.BeginOrResumeAuthorization(
		ctx, unknown, run.token, r.o.Lease, hold.ResumeAttemptAfter)
	r.o.Clock.AdjustTo(now)
	switch {
	case err != nil:
		r.o.Health.ReportError(ctx, "resume an authorization attempt", err)
		return
	case lookup == hold.LookupNotFound: // the record has expired
		if err := r.o.Attempts.DeleteAuthorizationIfLeaseHeld(ctx, unknown, run.token); err != nil {
			r.o.Health.ReportError(ctx, "delete an authorization attempt", err)
		}
		return
	case lookup != hold.LookupResumed: // another process has the lease
		return
	}
	attempt.ID = id
	if r.o.Tracer != nil {
		traced, end := r.o.Tracer.StartAuthorizationResumption(ctx, &attempt)
		defer end()
		ctx = traced
	}
	run.machine = hold.NewResumedAttemptMachine(attempt)
	run.driveToEnd(ctx)
	if c := run.machine.CanceledAbandonedIntent(); c != nil {
		logCanceledAbandonedIntent(&r.o, c, attempt.Account)
	}
}
