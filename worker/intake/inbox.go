package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	inboxBatch = 128
	// maxInboxBatches bounds the batches that one tick reads.
	maxInboxBatches = 1000
	// MaxInboxEntryBytes is the maximum size of an inbox entry.
	MaxInboxEntryBytes = 64 << 10
	// unknownIntentRetryFor is how long an entry is retried if Stripe does not
	// find its intent. Stripe rarely does not find a new intent for a moment,
	// and no caller repeats the request.
	unknownIntentRetryFor = 2 * time.Minute
)

// Codes of inbox entries that could not be decoded.
const (
	EntryTooLarge    hold.ProblemCode = "entry_too_large"
	EntryWithoutHold hold.ProblemCode = "entry_without_hold"
	EntryUnreadable  hold.ProblemCode = "entry_unreadable"
)

// RequestInboxStore reads the inbox, a Redis stream. store.Inbox implements it.
type RequestInboxStore interface {
	// ReadInboxEntries returns up to n entries for a replica: new entries, and
	// entries that were read at least idle ago and not acknowledged. It
	// truncates the text of an entry to maxBytes.
	ReadInboxEntries(
		ctx context.Context, replica string, n int, idle time.Duration, maxBytes int,
	) ([]hold.InboxEntry, time.Time, error)
	// AckInboxEntries acknowledges and deletes entries.
	AckInboxEntries(ctx context.Context, ids []string) error
}

// RequestScheduler decides schedule requests. [Scheduler] implements it.
type RequestScheduler interface {
	Schedule(ctx context.Context, reqs []hold.ScheduleRequest, by string) []ScheduleResult
}

// RequestRejector rejects requests from the inbox and from metadata. [Rejector]
// implements it.
type RequestRejector interface {
	Reject(ctx context.Context, req hold.RejectedRequest, account string) error
}

// RequestInboxOptions configure an [RequestInboxConsumer].
type RequestInboxOptions struct {
	Replica string        // this process, unique among the replicas
	Lease   time.Duration // an entry that is not acknowledged within it is read again
	// DecodeRequest decodes a request by the API's rules. Its errors are
	// *[hold.Problem]. If it is nil, the inbox is not read.
	DecodeRequest func(text []byte) (hold.ScheduleRequest, error)
	// ParseTraceparent returns the trace that an entry continues, zero if the
	// text is invalid. Nil: entries continue none.
	ParseTraceparent func(text string) hold.TraceContext
	Gate             *changes.PollGate // closed while the inbox is empty; nil: always open
	Clock            *clock.RedisClock
	Health           *health.Reporter
	Logger           *zap.Logger
}

// RequestInboxConsumer is the job that schedules requests from the Redis
// stream.
type RequestInboxConsumer struct {
	store     RequestInboxStore
	scheduler RequestScheduler
	rejector  RequestRejector
	o         RequestInboxOptions
}

// NewRequestInboxConsumer returns the job. It reads entries from store and
// passes their requests to scheduler.
func NewRequestInboxConsumer(
	store RequestInboxStore, scheduler RequestScheduler, rejector RequestRejector,
	o RequestInboxOptions,
) *RequestInboxConsumer {
	return &RequestInboxConsumer{store: store, scheduler: scheduler, rejector: rejector, o: o}
}

// Run schedules the requests of all entries in the stream. It acknowledges an
// entry after its hold or its rejection is written. Any replica reads an
// undecided entry again after the lease.
func (b *RequestInboxConsumer) Run(ctx context.Context) {
	if b.o.DecodeRequest == nil || !b.o.Gate.IsOpen(ctx) {
		return
	}
	for range maxInboxBatches {
		if ctx.Err() != nil {
			return
		}
		poll := b.o.Gate.BeginPoll()
		entries, now, err := b.store.ReadInboxEntries(ctx,
			b.o.Replica, inboxBatch, b.o.Lease, MaxInboxEntryBytes)
		if err != nil {
			b.o.Health.ReportError(ctx, "read the inbox", err)
			return
		}
		b.o.Clock.AdjustTo(now)
		if len(entries) == 0 {
			poll.CloseForLongestWait()
			return
		}
		if done := b.scheduleOrRejectEntries(ctx, entries, now); len(entries) < inboxBatch || !done {
			return
		}
	}
}

// scheduleOrRejectEntries schedules or rejects the requests of entries. It
// returns false if some entries were not acknowledged.
func (b *RequestInboxConsumer) scheduleOrRejectEntries(
	ctx context.Context, entries []hold.InboxEntry, now time.Time,
) bool {
	var reqs []hold.ScheduleRequest
	var of []*hold.InboxEntry // the entry of each request
	var handled []string
	for i := range entries {
		entry := &entries[i]
		req, problem := b.decodeEntry(entry)
		if problem != nil {
			if b.recordEntryRejection(ctx, entry, problem, "") {
				handled = append(handled, entry.ID)
			}
			continue
		}
		reqs, of = append(reqs, req), append(of, entry)
	}
	if len(reqs) > 0 {
		for i, result := range b.scheduler.Schedule(ctx, reqs, sourceInbox) {
			if b.rejectOrRetry(ctx, of[i], result.Err, reqs[i].Account, now) {
				handled = append(handled, of[i].ID)
			}
		}
	}
	if err := b.store.AckInboxEntries(ctx, handled); err != nil {
		// The entries are read again, and a repeated request finds its hold.
		b.o.Health.ReportError(ctx, "acknowledge inbox entries", err)
		return false
	}
	return len(handled) == len(entries)
}

// rejectOrRetry rejects an entry if err is a problem of its request. It returns
// false if the entry must be read again.
func (b *RequestInboxConsumer) rejectOrRetry(
	ctx context.Context, entry *hold.InboxEntry, err error, account string, now time.Time,
) bool {
	var problem *hold.Problem
	switch {
	case err == nil:
		return true
	case !errors.As(err, &problem),
		problem.Code == hold.IntentNotFound && now.Sub(entry.At) < unknownIntentRetryFor:
		b.o.Logger.Debug("inbox entry not decided; retrying after the lease",
			zap.String("id", entry.ID), zap.Error(err))
		return false
	}
	return b.recordEntryRejection(ctx, entry, problem, account)
}

// recordEntryRejection records that an entry is rejected, for the caller to
// acknowledge it. It returns false if it could not be recorded.
func (b *RequestInboxConsumer) recordEntryRejection(
	ctx context.Context, entry *hold.InboxEntry, p *hold.Problem, account string,
) bool {
	rejected := hold.RejectedRequest{Source: sourceInbox, ID: entry.ID,
		Code: p.Code, Field: p.Field,
		Reason: p.Detail, Text: entry.Text}
	return b.rejector.Reject(ctx, rejected, account) == nil
}

// decodeEntry decodes the request of an entry.
func (b *RequestInboxConsumer) decodeEntry(
	entry *hold.InboxEntry,
) (req hold.ScheduleRequest, problem *hold.Problem) {
	switch {
	case entry.Size < 0:
		return req, &hold.Problem{Code: EntryWithoutHold, Field: "hold",
			Detail: "missing field hold: XADD holdd:inbox '*' hold '{…}'"}
	case entry.Size > MaxInboxEntryBytes:
		return req, &hold.Problem{Code: EntryTooLarge, Field: "hold",
			Detail: fmt.Sprintf("invalid entry of %d bytes: want at most %d",
				entry.Size, MaxInboxEntryBytes)}
	}
	defer func() {
		if r := recover(); r != nil { // without this, the entry would end every run of the job
			b.o.Logger.Error("panic while decoding an inbox entry",
				zap.String("id", entry.ID), zap.Any("panic", r))
			problem = &hold.Problem{Code: EntryUnreadable, Field: "hold",
				Detail: "holdd panicked while decoding this entry: please report this bug"}
		}
	}()
	req, err := b.o.DecodeRequest([]byte(entry.Text))
	if err != nil && !errors.As(err, &problem) {
		problem = &hold.Problem{Code: EntryUnreadable, Field: "hold", Detail: err.Error()}
	}
	if b.o.ParseTraceparent != nil && entry.Traceparent != "" {
		req.Trace = b.o.ParseTraceparent(entry.Traceparent)
	}
	return req, problem
}
