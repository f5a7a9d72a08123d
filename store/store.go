package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Read returns holds by id, nil where there is none, and Redis' time. With an error that is [hold.ErrUnreadableRecord], those that could be read are there.
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
	var runs []scriptCall
	var spots [][]int
	for p, at := range where {
		if at == nil {
			continue
		}
		pieces := splitBatches(at)
		if len(pieces) == 0 {
			pieces = [][]int{nil}
		}
		for _, piece := range pieces {
			r := scriptCall{keys: []string{s.parts[p].holds}}
			for _, i := range piece {
				r.args = append(r.args, ids[i])
			}
			runs, spots = append(runs, r), append(spots, piece)
		}
	}
	now := time.Time{}
	var bad error
	for i, cmd := range s.runScript(ctx, readScript, runs) {
		r := newReply(cmd)
		now = r.time()
		for _, at := range spots[i] {
			rec := r.str()
			if rec == "" || r.err != nil {
				continue
			}
			h, _, err := decodeRecord(ids[at], rec)
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
func (s *Store) Commit(ctx context.Context, writes []hold.RecordWrite) (ok []bool, err error) {
	ok = make([]bool, len(writes))
	where := make([][]int, len(s.parts))
	for i := range writes {
		p := s.partition(writes[i].Hold.ID)
		where[p] = append(where[p], i)
	}
	var runs []scriptCall
	var spots [][]int
	for p, at := range where {
		k := &s.parts[p]
		for _, piece := range splitBatches(at) {
			r := scriptCall{
				keys: []string{k.holds, k.scheduled, k.leased, k.expiring, k.settled, k.attention, k.unverified, k.references, k.lanes, k.ready, k.events, k.mirror, k.unmatched, k.refresh},
				args: make([]any, 1, 1+17*len(piece)),
			}
			r.args[0] = s.eventsMax
			for _, i := range piece {
				r.args = appendCommitArgs(r.args, &writes[i])
			}
			runs, spots = append(runs, r), append(spots, piece)
		}
	}
	for i, cmd := range s.runScript(ctx, commitScript, runs) {
		r := newReply(cmd)
		for _, at := range spots[i] {
			ok[at] = r.int() == 1
		}
		if r.err != nil {
			return ok, r.err
		}
	}
	return ok, nil
}

func appendCommitArgs(args []any, w *hold.RecordWrite) []any {
	h, p := w.Hold, w.Placement
	version, record := "", ""
	if w.Version > 0 {
		version = version48(w.Version)
	}
	if !w.Drop {
		h.Version = w.Version + 1
		record = string(encodeRecord(make([]byte, 0, 256), &h))
	} else {
		p = hold.Placement{}
	}
	scheduled, leased, lane := "", "", ""
	switch {
	case p.DueAt.IsZero():
	case p.Ready:
		lane = laneName(byte(h.NextOp), h.Account)
	case p.Urgent:
		// Nobody holds this lease: it ends when the hold is to be looked at again.
		leased = scoreArg(p.DueAt)
	default:
		scheduled = scoreArg(p.DueAt)
	}
	expiring := scoreArg(p.NextMilestone)
	switch {
	case p.KeepMilestone && !w.Drop:
		expiring = "="
	case p.KeepOverdueMilestone && w.Version > 0 && expiring != "":
		expiring = "<" + expiring
		if !p.UntoldBy.IsZero() {
			expiring += ":" + scoreArg(p.UntoldBy) + ":" + scoreArg(p.UntoldAt)
		}
	}
	attention := ""
	if p.NeedsAttention {
		attention = scoreArg(h.ExpiresAt)
	}
	mirror := scoreArg(p.MirrorAt)
	if p.KeepMirror && !w.Drop {
		mirror = "="
	}
	refOut, refIn := "", ""
	if w.PreviousReference != "" && (w.Drop || w.PreviousReference != h.Reference) {
		refOut = w.PreviousReference + "\x00" + h.ID
	}
	if h.Reference != "" && !w.Drop && (w.Version == 0 || w.PreviousReference != h.Reference) {
		refIn = h.Reference + "\x00" + h.ID
	}
	args = append(args, h.ID, version, record, scheduled, leased, expiring, scoreArg(p.SettledAt), attention, scoreArg(p.VerifyAt),
		lane, scoreArg(h.ExpiresAt), refOut, refIn, mirror, len(w.Events))
	for _, e := range w.Events {
		args = append(args, e)
	}
	return args
}

// PromoteDue looks at the schedule of all partitions: leases that ran out become ready again, and so do, with promote, holds whose time has
// come. At most limit of each per partition. With an error, what the partitions that answered said is there.
func (s *Store) PromoteDue(ctx context.Context, promote bool, limit int) (hold.PromoteResult, error) {
	flag := "0"
	if promote {
		flag = "1"
	}
	runs := make([]scriptCall, len(s.parts))
	for p := range s.parts {
		k := &s.parts[p]
		runs[p] = scriptCall{keys: []string{k.scheduled, k.leased, k.holds, k.lanes, k.ready}, args: []any{clampBatch(limit), flag, maxLanes}}
	}
	var d hold.PromoteResult
	var failed error
	for p, cmd := range s.runScript(ctx, promoteScript, runs) {
		r := newReply(cmd)
		if now := r.time(); !now.IsZero() {
			d.Now = now
		}
		d.PromotedHolds += int(r.int())
		d.ExpiredLeases += int(r.int())
		if next := r.optionalTime(); !next.IsZero() && (d.NextDueAt.IsZero() || next.Before(d.NextDueAt)) {
			d.NextDueAt = next
		}
		d.More = r.str() == "1" || d.More
		for r.more() {
			op, account, ok := parseLane(r.str())
			lane := hold.Lane{Partition: p, Account: account, Op: hold.Op(op), NearestDeadline: r.time(), Ready: int(r.int())}
			if ok && r.err == nil {
				d.Lanes = append(d.Lanes, lane)
			}
		}
		failed = errors.Join(failed, r.err)
	}
	slices.SortStableFunc(d.Lanes, func(a, b hold.Lane) int { return a.NearestDeadline.Compare(b.NearestDeadline) })
	return d, failed
}

// maxLanes bounds how many lanes one look tells of in each partition.
const maxLanes = 1024

func clampBatch(n int) int { return max(1, min(n, scriptBatch)) }

// Claim leases up to n holds of a lane, nearest deadline first; with before set only such whose deadline is not after it.
// The lease begins at the time returned. Claims that come along with an error are good.
func (s *Store) Claim(ctx context.Context, lane hold.Lane, n int, lease time.Duration, before time.Time) ([]hold.Claim, time.Time, error) {
	if n <= 0 {
		return nil, time.Time{}, nil
	}
	k := &s.parts[lane.Partition]
	name := laneName(byte(lane.Op), lane.Account)
	cmd := s.runScript(ctx, claimScript, []scriptCall{{
		keys: []string{k.ready + ":" + name, k.leased, k.holds, k.lanes},
		args: []any{min(n, scriptBatch), lease.Milliseconds(), name, scoreArg(before)},
	}})[0]
	r := newReply(cmd)
	now := r.time()
	var claims []hold.Claim
	var bad error
	for r.more() {
		id, rec, taken := r.str(), r.str(), r.str()
		if r.err != nil {
			break
		}
		h, since, err := decodeRecord(id, rec)
		if err != nil { // must not hide the others; its lease runs out and it is met again
			bad = errors.Join(bad, err)
			continue
		}
		claims = append(claims, hold.Claim{Hold: h, Since: since, TakenOver: taken == "1"})
	}
	return claims, now, errors.Join(r.err, bad)
}

// DueMilestones returns holds whose next milestone has come, up to n per partition.
func (s *Store) DueMilestones(ctx context.Context, n int) ([]hold.DueHold, time.Time, error) {
	return s.readDue(ctx, func(k *keys) string { return k.expiring }, n, "")
}

// Unverified returns holds that wait to be checked against Stripe, those first whose time is nearest.
func (s *Store) Unverified(ctx context.Context, n int) ([]hold.DueHold, time.Time, error) {
	found, now, err := s.readDue(ctx, func(k *keys) string { return k.unverified }, n, "+inf")
	slices.SortStableFunc(found, func(a, b hold.DueHold) int { return a.DueAt.Compare(b.DueAt) })
	return found, now, err
}

// readDue returns up to n holds per partition of a set, up to a score ("": now).
func (s *Store) readDue(ctx context.Context, set func(*keys) string, n int, upto string) ([]hold.DueHold, time.Time, error) {
	runs := make([]scriptCall, len(s.parts))
	for p := range s.parts {
		k := &s.parts[p]
		runs[p] = scriptCall{keys: []string{set(k), k.holds}, args: []any{clampBatch(n), upto}}
	}
	var found []hold.DueHold
	var bad error
	now := time.Time{}
	for _, cmd := range s.runScript(ctx, readDueScript, runs) {
		r := newReply(cmd)
		if t := r.time(); !t.IsZero() {
			now = t
		}
		for r.more() {
			id, due, rec := r.str(), r.time(), r.str()
			if r.err != nil {
				break
			}
			if rec == "" { // no such hold: nothing to keep a milestone for
				found = append(found, hold.DueHold{Hold: hold.Hold{ID: id}, DueAt: due})
				continue
			}
			h, _, err := decodeRecord(id, rec)
			if err != nil {
				bad = errors.Join(bad, err)
				continue
			}
			found = append(found, hold.DueHold{Hold: h, DueAt: due})
		}
		bad = errors.Join(bad, r.err)
	}
	return found, now, bad
}

// AdvanceMilestones moves milestones on and publishes what is to be told, each only if nobody else did so before, or wrote to the hold.
func (s *Store) AdvanceMilestones(ctx context.Context, touches []hold.MilestoneAdvance) ([]bool, error) {
	moved := make([]bool, len(touches))
	where := make([][]int, len(s.parts))
	for i := range touches {
		p := s.partition(touches[i].ID)
		where[p] = append(where[p], i)
	}
	var runs []scriptCall
	var spots [][]int
	for p, at := range where {
		for _, piece := range splitBatches(at) {
			r := scriptCall{keys: []string{s.parts[p].expiring, s.parts[p].events, s.parts[p].holds}, args: []any{s.eventsMax}}
			for _, i := range piece {
				t := &touches[i]
				version := ""
				if t.Version > 0 {
					version = version48(t.Version)
				}
				r.args = append(r.args, t.ID, version, scoreArg(t.From), scoreArg(t.To), len(t.Events))
				for _, e := range t.Events {
					r.args = append(r.args, e)
				}
			}
			runs, spots = append(runs, r), append(spots, piece)
		}
	}
	for i, cmd := range s.runScript(ctx, advanceScript, runs) {
		r := newReply(cmd)
		for _, at := range spots[i] {
			moved[at] = r.int() == 1
		}
		if r.err != nil {
			return moved, r.err
		}
	}
	return moved, nil
}

// SettledBefore returns up to n holds that ended before t, oldest first, for [Store.Commit] to drop.
func (s *Store) SettledBefore(ctx context.Context, before time.Time, n int) ([]hold.DueHold, error) {
	found, _, err := s.readDue(ctx, func(k *keys) string { return k.settled }, n, strconv.FormatInt(before.UnixMilli(), 10))
	return found, err
}
