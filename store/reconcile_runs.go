package store

import (
	"context"
	"time"
)

// ReconcileRuns keeps the current or last reconcile run, and the lock under
// which one replica works on it.
type ReconcileRuns struct{ conn *redisConn }

var (
	reconcileBeginScript = newScript("reconcile_begin")
	reconcileSaveScript  = newScript("reconcile_save")
	reconcileReadScript  = newScript("reconcile_read")
)

const (
	maxFindings = 1000 // per run
	maxAccounts = 1000 // per call of ShareKnownAccounts
)

var reconcileKeys = []string{keyReconcileRun, keyReconcileFindings}

// BeginOrResumeReconcileRun acquires the lock and begins a run with the given state. If
// an unfinished run began less than maxAge ago and its lock has ended, it
// resumes that run: resumed is its state. Token 0 means that another replica
// holds the lock, or that a finished run began less than minInterval ago. The
// lock ends after lease unless [ReconcileRuns.SaveReconcileRunIfLockHeld] extends it.
func (s *ReconcileRuns) BeginOrResumeReconcileRun(
	ctx context.Context, state []byte, lease, maxAge, minInterval time.Duration,
) (token int64, resumed []byte, err error) {
	r := newScriptReply(s.conn.callScript(ctx, reconcileBeginScript, reconcileKeys,
		lease.Milliseconds(), state, maxAge.Milliseconds(), minInterval.Milliseconds()))
	token = r.nextInt()
	if saved := r.nextString(); saved != "" {
		resumed = []byte(saved)
	}
	return token, resumed, r.err
}

// SaveReconcileRunIfLockHeld saves the progress of the run with this token and renews the
// lock for lease; 0 releases it. It adds findings, up to 1,000 per run. If ok
// is false, another replica holds the lock and the caller must stop.
func (s *ReconcileRuns) SaveReconcileRunIfLockHeld(
	ctx context.Context, token int64, state []byte, findings [][]byte,
	lease time.Duration, done bool,
) (ok bool, err error) {
	args := append(make([]any, 0, 5+len(findings)),
		token, lease.Milliseconds(), boolArg(done), state, maxFindings)
	for _, f := range findings {
		args = append(args, f)
	}
	r := newScriptReply(s.conn.callScript(ctx, reconcileSaveScript, reconcileKeys, args...))
	return r.nextInt() == 1, r.err
}

// ReadReconcileRun reads the current or last run: its state, nil if there was no
// run, and up to n findings. locked says that a replica works on the run.
func (s *ReconcileRuns) ReadReconcileRun(
	ctx context.Context, n int,
) (state []byte, findings [][]byte, locked, done bool, err error) {
	r := newScriptReply(s.conn.callScript(ctx, reconcileReadScript, reconcileKeys,
		max(0, min(n, maxFindings))))
	if !r.hasMore() {
		return nil, nil, false, false, r.err
	}
	locked, done, state = r.nextFlag(), r.nextFlag(), []byte(r.nextString())
	for r.hasMore() {
		findings = append(findings, []byte(r.nextString()))
	}
	return state, findings, locked, done, r.err
}

// ShareKnownAccounts adds connected accounts to the set that all replicas
// share, and returns up to 1,000 of its members. After Redis has lost its data,
// every replica reconciles these accounts.
func (s *ReconcileRuns) ShareKnownAccounts(
	ctx context.Context, accounts []string,
) ([]string, error) {
	if len(accounts) > 0 {
		args := make([]any, len(accounts))
		for i, account := range accounts {
			args[i] = account
		}
		if err := s.conn.writeEvenIfFull(ctx, "SREM", "SADD", keyReconcileAccounts, args...); err != nil {
			return nil, err
		}
	}
	return s.conn.client.SRandMemberN(ctx, keyReconcileAccounts, maxAccounts).Result()
}
