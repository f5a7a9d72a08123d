package store

import (
	"context"
	"time"
)

// ReconcileRuns keeps the reconcile run that is in progress or was last, under
// a lock for one replica.
type ReconcileRuns struct{ conn *conn }

var (
	reconcileBeginScript = newScript("reconcile_begin")
	reconcileSaveScript  = newScript("reconcile_save")
	reconcileReadScript  = newScript("reconcile_read")
)

const (
	maxFindings = 1000 // of one run
	maxAccounts = 1000 // that one call returns
)

var reconcileKeys = []string{keyReconcileRun, keyReconcileFindings}

// BeginReconcile takes the lock and begins a run with the given state. It takes
// over an unfinished run that no replica holds and that began less than stale
// ago: found is its state. Token 0 means that another replica holds the lock,
// or that a finished run began less than gap ago. The lock ends after lease
// unless [ReconcileRuns.SaveReconcile] extends it.
func (s *ReconcileRuns) BeginReconcile(
	ctx context.Context, state []byte, lease, stale, gap time.Duration,
) (token int64, found []byte, err error) {
	r := newReply(s.conn.runOnce(ctx, reconcileBeginScript, reconcileKeys,
		lease.Milliseconds(), state, stale.Milliseconds(), gap.Milliseconds()))
	token = r.int()
	if f := r.str(); f != "" {
		found = []byte(f)
	}
	return token, found, r.err
}

// SaveReconcile saves the progress of the run with this token, adds findings,
// of which the first 1,000 are kept, and extends the lock; a lease of 0
// releases it. ok is false if another replica holds the lock now: the caller
// must stop.
func (s *ReconcileRuns) SaveReconcile(
	ctx context.Context, token int64, state []byte, findings [][]byte,
	lease time.Duration, done bool,
) (ok bool, err error) {
	args := append(make([]any, 0, 5+len(findings)),
		token, lease.Milliseconds(), flagArg(done), state, maxFindings)
	for _, f := range findings {
		args = append(args, f)
	}
	r := newReply(s.conn.runOnce(ctx, reconcileSaveScript, reconcileKeys, args...))
	return r.int() == 1, r.err
}

// ReadReconcile reads the run in progress or the last one: its state, nil if
// there was none, and up to n findings. held says that a replica works on it.
func (s *ReconcileRuns) ReadReconcile(
	ctx context.Context, n int,
) (state []byte, findings [][]byte, held, done bool, err error) {
	r := newReply(s.conn.runOnce(ctx, reconcileReadScript, reconcileKeys,
		max(0, min(n, maxFindings))))
	if !r.hasMore() {
		return nil, nil, false, false, r.err
	}
	held, done, state = r.flag(), r.flag(), []byte(r.str())
	for r.hasMore() {
		findings = append(findings, []byte(r.str()))
	}
	return state, findings, held, done, r.err
}

// ShareAccounts adds the connected accounts that this replica has met, and
// returns up to 1,000 of those that any replica has met. So every replica knows
// what to reconcile after Redis has lost its data.
func (s *ReconcileRuns) ShareAccounts(ctx context.Context, met []string) ([]string, error) {
	pipe := s.conn.client.Pipeline()
	if len(met) > 0 {
		pipe.SAdd(ctx, keyReconcileAccounts, met)
	}
	all := pipe.SRandMemberN(ctx, keyReconcileAccounts, maxAccounts)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	return all.Val(), nil
}
