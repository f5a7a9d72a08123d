package store

import (
	"context"
	"slices"
	"strconv"

	"github.com/holdd/holdd/worker/hold"
)

var commitScript = newScript("commit")

// commitKeys are the keys of commit.lua, which uses KEY_NAME as the index of
// NAME in KEYS.
var commitKeys = []struct {
	name string
	of   func(*partitionKeys) string
}{
	{"HOLDS", func(k *partitionKeys) string { return k.holds }},
	{"SCHEDULED", func(k *partitionKeys) string { return k.scheduled }},
	{"LEASED", func(k *partitionKeys) string { return k.leased }},
	{"EXPIRING", func(k *partitionKeys) string { return k.expiring }},
	{"SETTLED", func(k *partitionKeys) string { return k.settled }},
	{"ATTENTION", func(k *partitionKeys) string { return k.attention }},
	{"UNVERIFIED", func(k *partitionKeys) string { return k.unverified }},
	{"REFERENCES", func(k *partitionKeys) string { return k.references }},
	{"LANES", func(k *partitionKeys) string { return k.lanes }},
	{"READY", func(k *partitionKeys) string { return k.ready }},
	{"EVENTS", func(k *partitionKeys) string { return k.events }},
	{"MIRROR", func(k *partitionKeys) string { return k.mirror }},
	{"UNMATCHED", func(k *partitionKeys) string { return k.unmatched }},
	{"DOUBLE_HELD", func(k *partitionKeys) string { return k.doubleHeld }},
	{"REFRESH", func(k *partitionKeys) string { return k.refresh }},
	{"CHANGES", func(k *partitionKeys) string { return k.changes }},
}

func commitScriptKeyConstants() []luaConstant {
	out := make([]luaConstant, len(commitKeys))
	for i, key := range commitKeys {
		out[i] = luaConstant{"KEY_" + key.name, i + 1}
	}
	return out
}

// Arguments of one write, in the order in which commit.lua gets them. The
// script documents each.
const (
	writeID = iota
	writeVersion
	writeRecord
	writeScheduled
	writeLeased
	writeExpiring
	writeSettled
	writeAttention
	writeUnverified
	writeMirror
	writeDoubleHeld
	writeLane
	writeDeadline
	writeReferenceRemove
	writeReferenceAdd
	writeEventCount
	writeSize
)

var writeArgs = scriptArgNames{"WRITE", []string{
	writeID:              "ID",
	writeVersion:         "VERSION",
	writeRecord:          "RECORD",
	writeScheduled:       "SCHEDULED",
	writeLeased:          "LEASED",
	writeExpiring:        "EXPIRING",
	writeSettled:         "SETTLED",
	writeAttention:       "ATTENTION",
	writeUnverified:      "UNVERIFIED",
	writeMirror:          "MIRROR",
	writeDoubleHeld:      "DOUBLE_HELD",
	writeLane:            "LANE",
	writeDeadline:        "DEADLINE",
	writeReferenceRemove: "REFERENCE_REMOVE",
	writeReferenceAdd:    "REFERENCE_ADD",
	writeEventCount:      "EVENT_COUNT",
}}

// keepScore keeps a hold's score in a set.
const keepScore = "="

// Commit commits writes to holds, each completely or not at all. A repeated
// write, whose reply was lost, is committed once and reported as repeated. After
// an error each write may or may not be committed. A hold must have at most one
// of the writes.
func (s *Holds) Commit(
	ctx context.Context, writes []hold.HoldWrite,
) (results []hold.CommitResult, err error) {
	batches := s.conn.splitByPartition(len(writes), func(i int) string { return writes[i].Hold.ID })
	calls := make([]scriptCall, len(batches))
	for n, b := range batches {
		keys := make([]string, len(commitKeys))
		for i, key := range commitKeys {
			keys[i] = key.of(&s.conn.partitions[b.partition])
		}
		args := append(make([]any, 0, 2+(writeSize+2)*len(b.indexes)), s.conn.maxEventBytes,
			boolArg(slices.ContainsFunc(b.indexes,
				func(i int) bool { return writes[i].DespiteMaxmemory })))
		for _, i := range b.indexes {
			args = appendCommitArgs(args, &writes[i])
		}
		calls[n] = scriptCall{keys: keys, args: args}
	}
	results = make([]hold.CommitResult, len(writes))
	for n, cmd := range s.conn.callScriptBatch(ctx, commitScript, calls) {
		r := newScriptReply(cmd)
		for _, i := range batches[n].indexes {
			results[i] = hold.CommitResult(r.nextInt())
		}
		if r.err != nil {
			return results, r.err
		}
	}
	return results, nil
}

// appendCommitArgs appends the arguments and the events of a write.
func appendCommitArgs(args []any, w *hold.HoldWrite) []any {
	h := w.Hold
	var a [writeSize]string
	a[writeID], a[writeVersion] = h.ID, versionBytesArg(w.Version)
	a[writeDeadline] = scoreArg(hold.DeadlineForQueueOrder(&h))
	if !w.Drop {
		h.Version = w.Version + 1
		a[writeRecord] = string(appendRecord(make([]byte, 0, 256), &h))
		setPlacementArgs(&a, w)
	}
	if h.Renewal == nil { // it never had a second intent
		a[writeDoubleHeld] = keepScore
	} else if since, ok := h.Renewal.OverlapSince(); ok && !w.Drop {
		a[writeDoubleHeld] = scoreArg(since)
	}
	setReferenceArgs(&a, w)
	a[writeEventCount] = strconv.Itoa(len(w.Events))
	for _, v := range a {
		args = append(args, v)
	}
	for _, e := range w.Events {
		args = append(args, e)
	}
	return args
}

// setPlacementArgs sets the arguments for the sets of the hold after a write.
func setPlacementArgs(a *[writeSize]string, w *hold.HoldWrite) {
	p := &w.Placement
	switch {
	case p.DueAt.IsZero():
	case p.Ready:
		a[writeLane] = laneNameOfOpAndAccount(w.Hold.NextOp, w.Hold.Account)
	case p.Urgent:
		// No worker has this lease. When it ends, the hold is promoted even
		// outside the window of the schedule.
		a[writeLeased] = scoreArg(p.DueAt)
	default:
		a[writeScheduled] = scoreArg(p.DueAt)
	}
	a[writeExpiring] = scoreArg(p.NextMilestone)
	switch {
	case p.KeepMilestone:
		a[writeExpiring] = keepScore
	case p.KeepOverdueMilestone && w.Version > 0 && a[writeExpiring] != "":
		a[writeExpiring] = "<" + a[writeExpiring]
		if !p.UnwarnedBy.IsZero() {
			a[writeExpiring] += ":" + scoreArg(p.UnwarnedBy) + ":" + scoreArg(p.UnwarnedAt)
		}
	}
	a[writeSettled], a[writeUnverified] = scoreArg(p.SettledAt), scoreArg(p.VerifyAt)
	if p.NeedsAttention {
		a[writeAttention] = scoreArg(w.Hold.ExpiresAt)
	}
	a[writeMirror] = scoreArg(p.MirrorAt)
	if p.KeepMirror {
		a[writeMirror] = keepScore
	}
}

// setReferenceArgs sets the arguments for the change of references in a write.
func setReferenceArgs(a *[writeSize]string, w *hold.HoldWrite) {
	id, before, after := w.Hold.ID, w.PreviousReference, w.Hold.Reference
	if before != "" && (w.Drop || before != after) {
		a[writeReferenceRemove] = referenceMember(before, id)
	}
	if after != "" && !w.Drop && (w.Version == 0 || before != after) {
		a[writeReferenceAdd] = referenceMember(after, id)
	}
}
