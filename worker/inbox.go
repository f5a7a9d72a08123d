package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// InboxStore is what the worker needs of the store about the inbox.
type InboxStore interface {
	ReadInbox(ctx context.Context, consumer string, n int, idle time.Duration, most int) ([]hold.InboxEntry, time.Time, error)
	AckInbox(ctx context.Context, ids []string) error
	RecordRejection(ctx context.Context, r hold.RejectedRequest) error
	PruneConsumers(ctx context.Context) error
}

const (
	inboxBatch = 128
	// MaxInboxEntryBytes is the most bytes that an entry of the inbox may have.
	MaxInboxEntryBytes = 64 << 10
	// unknownIntentRetryFor is how long an intent that Stripe doesn't know may still come to be known: nobody can send the entry again.
	unknownIntentRetryFor = 2 * time.Minute
)

// Codes of entries of the inbox that never became a wish.
const (
	EntryTooLarge    hold.Code = "entry_too_large"
	EntryWithoutHold hold.Code = "entry_without_hold"
	EntryUnreadable  hold.Code = "entry_unreadable"
)

// readInbox is the job that takes wishes from the inbox. An entry is acknowledged once the hold or the reject is written; what can't be
// decided now comes again after the lease, to whichever replica.
func (w *Worker) readInbox(ctx context.Context) {
	if w.o.DecodeRequest == nil {
		return
	}
	for range maxSweepsPerTick {
		if ctx.Err() != nil {
			return
		}
		entries, now, err := w.store.ReadInbox(ctx, w.o.Replica, inboxBatch, w.o.Lease, MaxInboxEntryBytes)
		if err != nil {
			w.reportStoreError(ctx, "read the inbox", err)
			return
		}
		w.syncClock(now)
		if len(entries) == 0 {
			return
		}
		if done := w.scheduleEntries(ctx, entries, now); len(entries) < inboxBatch || !done {
			return
		}
	}
}

// scheduleEntries grants what entries wish for. It reports whether all of them were answered.
func (w *Worker) scheduleEntries(ctx context.Context, entries []hold.InboxEntry, now time.Time) bool {
	var reqs []hold.ScheduleRequest
	var of []*hold.InboxEntry
	var handled []string
	all := true
	reject := func(l *hold.InboxEntry, p *hold.Problem, account string) {
		r := hold.RejectedRequest{Source: "inbox", ID: l.ID, Code: p.Code, Field: p.Field, Reason: p.Detail, Text: l.Text}
		if err := w.rejectRequest(ctx, r, account); err != nil {
			all = false
			return
		}
		handled = append(handled, l.ID)
	}
	for i := range entries {
		l := &entries[i]
		req, p := w.decodeEntry(l)
		if p != nil {
			reject(l, p, "")
			continue
		}
		reqs, of = append(reqs, req), append(of, l)
	}
	if len(reqs) > 0 {
		for i, s := range w.Schedule(ctx, reqs, "inbox") {
			var p *hold.Problem
			switch {
			case s.Err == nil:
				handled = append(handled, of[i].ID)
			case !errors.As(s.Err, &p), p.Code == hold.IntentNotFound && now.Sub(of[i].At) < unknownIntentRetryFor:
				all = false
				w.log.Debug("an entry of the inbox is tried again", zap.String("id", of[i].ID), zap.Error(s.Err))
			default:
				reject(of[i], p, reqs[i].Account)
			}
		}
	}
	if err := w.store.AckInbox(ctx, handled); err != nil {
		w.reportStoreError(ctx, "acknowledge entries of the inbox", err) // they come again, and the same wish again is fine
		return false
	}
	return all
}

// decodeEntry reads one entry by the API's own rules.
func (w *Worker) decodeEntry(l *hold.InboxEntry) (req hold.ScheduleRequest, p *hold.Problem) {
	switch {
	case l.Size < 0:
		return req, &hold.Problem{Code: EntryWithoutHold, Field: "hold", Detail: "the entry has no field hold: XADD holdd:inbox '*' hold '{…}'"}
	case l.Size > MaxInboxEntryBytes:
		return req, &hold.Problem{Code: EntryTooLarge, Field: "hold", Detail: fmt.Sprintf("the entry has %d bytes: at most %d are read", l.Size, MaxInboxEntryBytes)}
	}
	defer func() {
		if r := recover(); r != nil { // an entry that takes the job down would do so for ever
			w.log.Error("reading an entry of the inbox panicked", zap.String("id", l.ID), zap.Any("panic", r))
			p = &hold.Problem{Code: EntryUnreadable, Field: "hold", Detail: "the entry can't be read, and that is a fault of holdd's"}
		}
	}()
	req, err := w.o.DecodeRequest([]byte(l.Text))
	if err != nil && !errors.As(err, &p) {
		p = &hold.Problem{Code: EntryUnreadable, Field: "hold", Detail: err.Error()}
	}
	return req, p
}
