package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Read returns holds by id, nil where there is none, and Redis' time. With an error that is [hold.ErrRecord], those that could be read are there.
func (s *Store) Read(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error) {
	holds := make([]*hold.Hold, len(ids))
	where := make([][]int, len(s.parts)) // positions in ids, by partition
	for i, id := range ids {
		p := s.partition(id)
		where[p] = append(where[p], i)
	}
	if len(ids) == 0 {
		where[0] = []int{}
	}
	var runs []run
	var spots [][]int
	for p, at := range where {
		if at == nil {
			continue
		}
		pieces := chunks(at)
		if len(pieces) == 0 {
			pieces = [][]int{nil}
		}
		for _, piece := range pieces {
			r := run{keys: []string{s.parts[p].holds}}
			for _, i := range piece {
				r.args = append(r.args, ids[i])
			}
			runs, spots = append(runs, r), append(spots, piece)
		}
	}
	now := time.Time{}
	var bad error
	for i, cmd := range s.exec(ctx, readScript, runs) {
		r := open(cmd)
		now = r.time()
		for _, at := range spots[i] {
			rec := r.str()
			if rec == "" || r.err != nil {
				continue
			}
			h, _, err := decode(ids[at], rec)
			if err != nil {
				bad = errors.Join(bad, err)
				continue
			}
			holds[at] = &h
		}
		if r.err != nil {
			return nil, now, r.err
		}
	}
	return holds, now, bad
}

// Commit writes changes, each whole or not at all; ok[i] is false where somebody else was first. A write that is sent twice, because the
// reply to the first was lost, is committed once and reported as committed both times. On an error the writes may or may not have happened.
// A hold must not be named twice.
func (s *Store) Commit(ctx context.Context, writes []hold.Write) (ok []bool, err error) {
	ok = make([]bool, len(writes))
	where := make([][]int, len(s.parts))
	for i := range writes {
		p := s.partition(writes[i].Hold.ID)
		where[p] = append(where[p], i)
	}
	var runs []run
	var spots [][]int
	for p, at := range where {
		k := &s.parts[p]
		for _, piece := range chunks(at) {
			r := run{
				keys: []string{k.holds, k.scheduled, k.leased, k.expiring, k.settled, k.attention, k.unverified, k.refs, k.lanes, k.ready, k.events, k.mirror, k.heard, k.looks},
				args: make([]any, 1, 1+17*len(piece)),
			}
			r.args[0] = s.eventsMax
			for _, i := range piece {
				r.args = appendWrite(r.args, &writes[i])
			}
			runs, spots = append(runs, r), append(spots, piece)
		}
	}
	for i, cmd := range s.exec(ctx, commitScript, runs) {
		r := open(cmd)
		for _, at := range spots[i] {
			ok[at] = r.int() == 1
		}
		if r.err != nil {
			return ok, r.err
		}
	}
	return ok, nil
}

func appendWrite(args []any, w *hold.Write) []any {
	h, p := w.Hold, w.Place
	version, record := "", ""
	if w.Version > 0 {
		version = version48(w.Version)
	}
	if !w.Drop {
		h.Version = w.Version + 1
		record = string(encode(make([]byte, 0, 256), &h))
	} else {
		p = hold.Placement{}
	}
	scheduled, leased, lane := "", "", ""
	switch {
	case p.Due.IsZero():
	case p.Ready:
		lane = laneName(byte(h.Next), h.Account)
	case p.Pressing:
		// Nobody holds this lease: it ends when the hold is to be looked at again.
		leased = score(p.Due)
	default:
		scheduled = score(p.Due)
	}
	expiring := score(p.Milestone)
	switch {
	case p.Keep && !w.Drop:
		expiring = "="
	case p.Overdue && w.Version > 0 && expiring != "":
		expiring = "<" + expiring
		if !p.UntoldBy.IsZero() {
			expiring += ":" + score(p.UntoldBy) + ":" + score(p.UntoldAt)
		}
	}
	attention := ""
	if p.Attention {
		attention = score(h.ExpiresAt)
	}
	mirror := score(p.Mirror)
	if p.MirrorKeep && !w.Drop {
		mirror = "="
	}
	refOut, refIn := "", ""
	if w.Was != "" && (w.Drop || w.Was != h.Reference) {
		refOut = w.Was + "\x00" + h.ID
	}
	if h.Reference != "" && !w.Drop && (w.Version == 0 || w.Was != h.Reference) {
		refIn = h.Reference + "\x00" + h.ID
	}
	args = append(args, h.ID, version, record, scheduled, leased, expiring, score(p.Settled), attention, score(p.Verify),
		lane, score(h.ExpiresAt), refOut, refIn, mirror, len(w.Events))
	for _, e := range w.Events {
		args = append(args, e)
	}
	return args
}

// Due looks at the schedule of all partitions: leases that ran out become ready again, and so do, with promote, holds whose time has
// come. At most limit of each per partition. With an error, what the partitions that answered said is there.
func (s *Store) Due(ctx context.Context, promote bool, limit int) (hold.Due, error) {
	flag := "0"
	if promote {
		flag = "1"
	}
	runs := make([]run, len(s.parts))
	for p := range s.parts {
		k := &s.parts[p]
		runs[p] = run{keys: []string{k.scheduled, k.leased, k.holds, k.lanes, k.ready}, args: []any{bounded(limit), flag, maxLanes}}
	}
	var d hold.Due
	var failed error
	for p, cmd := range s.exec(ctx, dueScript, runs) {
		r := open(cmd)
		if now := r.time(); !now.IsZero() {
			d.Now = now
		}
		d.Promoted += int(r.int())
		d.TakenOver += int(r.int())
		if next := r.optionalTime(); !next.IsZero() && (d.Next.IsZero() || next.Before(d.Next)) {
			d.Next = next
		}
		d.More = r.str() == "1" || d.More
		for r.more() {
			op, account, ok := parseLane(r.str())
			lane := hold.Lane{Partition: p, Account: account, Op: hold.Op(op), Head: r.time(), Ready: int(r.int())}
			if ok && r.err == nil {
				d.Lanes = append(d.Lanes, lane)
			}
		}
		failed = errors.Join(failed, r.err)
	}
	slices.SortStableFunc(d.Lanes, func(a, b hold.Lane) int { return a.Head.Compare(b.Head) })
	return d, failed
}

// maxLanes bounds how many lanes one look tells of in each partition.
const maxLanes = 1024

func bounded(n int) int { return max(1, min(n, batch)) }

// Claim leases up to n holds of a lane, nearest deadline first; with before set only such whose deadline is not after it.
// The lease begins at the time returned. Claims that come along with an error are good.
func (s *Store) Claim(ctx context.Context, lane hold.Lane, n int, lease time.Duration, before time.Time) ([]hold.Claim, time.Time, error) {
	if n <= 0 {
		return nil, time.Time{}, nil
	}
	k := &s.parts[lane.Partition]
	name := laneName(byte(lane.Op), lane.Account)
	cmd := s.exec(ctx, claimScript, []run{{
		keys: []string{k.ready + ":" + name, k.leased, k.holds, k.lanes},
		args: []any{min(n, batch), lease.Milliseconds(), name, score(before)},
	}})[0]
	r := open(cmd)
	now := r.time()
	var claims []hold.Claim
	var bad error
	for r.more() {
		id, rec, taken := r.str(), r.str(), r.str()
		if r.err != nil {
			break
		}
		h, since, err := decode(id, rec)
		if err != nil { // must not hide the others; its lease runs out and it is met again
			bad = errors.Join(bad, err)
			continue
		}
		claims = append(claims, hold.Claim{Hold: h, Since: since, TakenOver: taken == "1"})
	}
	return claims, now, errors.Join(r.err, bad)
}

// Milestones returns holds whose next milestone has come, up to n per partition.
func (s *Store) Milestones(ctx context.Context, n int) ([]hold.Milestone, time.Time, error) {
	return s.sweep(ctx, func(k *keys) string { return k.expiring }, n, "")
}

// Unverified returns holds that wait to be checked against Stripe, those first whose time is nearest.
func (s *Store) Unverified(ctx context.Context, n int) ([]hold.Milestone, time.Time, error) {
	found, now, err := s.sweep(ctx, func(k *keys) string { return k.unverified }, n, "+inf")
	slices.SortStableFunc(found, func(a, b hold.Milestone) int { return a.Due.Compare(b.Due) })
	return found, now, err
}

// sweep returns up to n holds per partition of a set, up to a score ("": now).
func (s *Store) sweep(ctx context.Context, set func(*keys) string, n int, upto string) ([]hold.Milestone, time.Time, error) {
	runs := make([]run, len(s.parts))
	for p := range s.parts {
		k := &s.parts[p]
		runs[p] = run{keys: []string{set(k), k.holds}, args: []any{bounded(n), upto}}
	}
	var found []hold.Milestone
	var bad error
	now := time.Time{}
	for _, cmd := range s.exec(ctx, milestonesScript, runs) {
		r := open(cmd)
		if t := r.time(); !t.IsZero() {
			now = t
		}
		for r.more() {
			id, due, rec := r.str(), r.time(), r.str()
			if r.err != nil {
				break
			}
			if rec == "" { // no such hold: nothing to keep a milestone for
				found = append(found, hold.Milestone{Hold: hold.Hold{ID: id}, Due: due})
				continue
			}
			h, _, err := decode(id, rec)
			if err != nil {
				bad = errors.Join(bad, err)
				continue
			}
			found = append(found, hold.Milestone{Hold: h, Due: due})
		}
		bad = errors.Join(bad, r.err)
	}
	return found, now, bad
}

// Touch moves milestones on and publishes what is to be told, each only if nobody else did so before, or wrote to the hold.
func (s *Store) Touch(ctx context.Context, touches []hold.Touch) ([]bool, error) {
	moved := make([]bool, len(touches))
	where := make([][]int, len(s.parts))
	for i := range touches {
		p := s.partition(touches[i].ID)
		where[p] = append(where[p], i)
	}
	var runs []run
	var spots [][]int
	for p, at := range where {
		for _, piece := range chunks(at) {
			r := run{keys: []string{s.parts[p].expiring, s.parts[p].events, s.parts[p].holds}, args: []any{s.eventsMax}}
			for _, i := range piece {
				t := &touches[i]
				version := ""
				if t.Version > 0 {
					version = version48(t.Version)
				}
				r.args = append(r.args, t.ID, version, score(t.Was), score(t.New), len(t.Events))
				for _, e := range t.Events {
					r.args = append(r.args, e)
				}
			}
			runs, spots = append(runs, r), append(spots, piece)
		}
	}
	for i, cmd := range s.exec(ctx, touchScript, runs) {
		r := open(cmd)
		for _, at := range spots[i] {
			moved[at] = r.int() == 1
		}
		if r.err != nil {
			return moved, r.err
		}
	}
	return moved, nil
}

// Settled returns up to n holds that ended before t, oldest first, for [Store.Commit] to drop.
func (s *Store) Settled(ctx context.Context, before time.Time, n int) ([]hold.Milestone, error) {
	found, _, err := s.sweep(ctx, func(k *keys) string { return k.settled }, n, strconv.FormatInt(before.UnixMilli(), 10))
	return found, err
}
