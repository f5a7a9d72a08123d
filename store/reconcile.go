package store

import (
	"context"
	"maps"
	"slices"
	"time"
)

// maxFindings bounds how many findings of one comparison are kept.
const maxFindings = 1000

// maxAccounts bounds how many accounts are told of at once.
const maxAccounts = 1000

const (
	keyReconcile = "holdd:{reconcile}:run"
	keyFindings  = "holdd:{reconcile}:findings"
	keyAccounts  = "holdd:{reconcile}:accounts"
)

var (
	beginScript      = script("reconcile_begin")
	saveScript       = script("reconcile_save")
	reconciledScript = script("reconcile_read")
)

var reconcileKeys = []string{keyReconcile, keyFindings}

// BeginReconcile takes the lock under which one replica at a time compares with Stripe. state is what a new run begins with. A run that is unfinished
// and that nobody holds, begun less than stale ago, is gone on with: found is its state. Token 0 means that somebody is at it, or that
// one was begun less than gap ago and has ended. The lock ends by itself after lease unless [Store.SaveReconcile] renews it.
func (s *Store) BeginReconcile(ctx context.Context, state []byte, lease, stale, gap time.Duration) (token int64, found []byte, err error) {
	r := newReply(s.runScript(ctx, beginScript, []scriptCall{{keys: reconcileKeys, args: []any{lease.Milliseconds(), state, stale.Milliseconds(), gap.Milliseconds()}}})[0])
	token = r.int()
	if f := r.str(); f != "" {
		found = []byte(f)
	}
	return token, found, r.err
}

// SaveReconcile notes how far the run of this token has come, adds findings (of which the first 1,000 are kept), and renews the lock; a lease of 0 gives it
// back. ok is false where the lock belongs to somebody else by now: whoever is told so stops.
func (s *Store) SaveReconcile(ctx context.Context, token int64, state []byte, findings [][]byte, lease time.Duration, done bool) (ok bool, err error) {
	flag := "0"
	if done {
		flag = "1"
	}
	args := make([]any, 0, 5+len(findings))
	args = append(args, token, lease.Milliseconds(), flag, state, maxFindings)
	for _, f := range findings {
		args = append(args, f)
	}
	r := newReply(s.runScript(ctx, saveScript, []scriptCall{{keys: reconcileKeys, args: args}})[0])
	return r.int() == 1, r.err
}

// ReadReconcile tells of the run that is under way or was last: its state, nil if there was none, and up to n findings. held says that somebody is at it.
func (s *Store) ReadReconcile(ctx context.Context, n int) (state []byte, findings [][]byte, held, done bool, err error) {
	r := newReply(s.runScript(ctx, reconciledScript, []scriptCall{{keys: reconcileKeys, args: []any{max(0, min(n, maxFindings))}}})[0])
	if !r.more() {
		return nil, nil, false, false, r.err
	}
	held, done, state = r.str() == "1", r.str() == "1", []byte(r.str())
	for r.more() {
		findings = append(findings, []byte(r.str()))
	}
	return state, findings, held, done, r.err
}

// ShareAccounts tells which connected accounts any replica has met, up to 1,000, and adds those that this one has. Replicas that know them all know what to
// look at after Redis has lost everything.
func (s *Store) ShareAccounts(ctx context.Context, met []string) ([]string, error) {
	pipe := s.rdb.Pipeline()
	if len(met) > 0 {
		pipe.SAdd(ctx, keyAccounts, met)
	}
	all := pipe.SRandMemberN(ctx, keyAccounts, maxAccounts)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	return all.Val(), nil
}

// DetectDataLoss looks whether Redis has lost everything while it was in use, and writes down again what it is. Of several replicas that look, one is told.
func (s *Store) DetectDataLoss(ctx context.Context) (emptied bool, err error) {
	for _, key := range slices.Sorted(maps.Keys(s.identity)) {
		wrote, err := s.rdb.SetNX(ctx, key, s.identity[key], 0).Result()
		if err != nil {
			return emptied, err
		}
		if key == keyPartitions { // one of them decides, or two who look at once would each be told
			emptied = wrote
		}
	}
	return emptied, nil
}
