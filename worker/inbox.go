package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// Mailbox is what the worker needs of the store about the inbox.
type Mailbox interface {
	Inbox(ctx context.Context, consumer string, n int, idle time.Duration, most int) ([]hold.Letter, time.Time, error)
	Handled(ctx context.Context, ids []string) error
	Reject(ctx context.Context, r hold.Rejected) error
	Tidy(ctx context.Context) error
}

const (
	inboxBatch = 128
	// MaxLetter is the most bytes that an entry of the inbox may have.
	MaxLetter = 64 << 10
	// doubtful is how long an intent that Stripe doesn't know may still come to be known: nobody can send the entry again.
	doubtful = 2 * time.Minute
)

// Codes of entries of the inbox that never became a wish.
const (
	LetterTooLarge hold.Code = "entry_too_large"
	LetterEmpty    hold.Code = "entry_without_hold"
	LetterBroken   hold.Code = "entry_unreadable"
)

// inbox is the job that takes wishes from the inbox. An entry is acknowledged once the hold or the reject is written; what can't be
// decided now comes again after the lease, to whichever replica.
func (w *Worker) inbox(ctx context.Context) {
	if w.o.Decode == nil {
		return
	}
	for range maxSweeps {
		if ctx.Err() != nil {
			return
		}
		letters, now, err := w.store.Inbox(ctx, w.o.Replica, inboxBatch, w.o.Lease, MaxLetter)
		if err != nil {
			w.storeFailed(ctx, "read the inbox", err)
			return
		}
		w.sync(now)
		if len(letters) == 0 {
			return
		}
		if done := w.open(ctx, letters, now); len(letters) < inboxBatch || !done {
			return
		}
	}
}

// open grants what entries wish for. It reports whether all of them were answered.
func (w *Worker) open(ctx context.Context, letters []hold.Letter, now time.Time) bool {
	var wishes []hold.Wish
	var of []*hold.Letter
	var handled []string
	all := true
	reject := func(l *hold.Letter, p *hold.Problem, account string) {
		r := hold.Rejected{Source: "inbox", ID: l.ID, Code: p.Code, Field: p.Field, Reason: p.Detail, Text: l.Text}
		if err := w.reject(ctx, r, account); err != nil {
			all = false
			return
		}
		handled = append(handled, l.ID)
	}
	for i := range letters {
		l := &letters[i]
		wish, p := w.decode(l)
		if p != nil {
			reject(l, p, "")
			continue
		}
		wishes, of = append(wishes, wish), append(of, l)
	}
	if len(wishes) > 0 {
		for i, s := range w.Schedule(ctx, wishes, "inbox") {
			var p *hold.Problem
			switch {
			case s.Err == nil:
				handled = append(handled, of[i].ID)
			case !errors.As(s.Err, &p), p.Code == hold.IntentNotFound && now.Sub(of[i].At) < doubtful:
				all = false
				w.log.Debug("an entry of the inbox is tried again", zap.String("id", of[i].ID), zap.Error(s.Err))
			default:
				reject(of[i], p, wishes[i].Account)
			}
		}
	}
	if err := w.store.Handled(ctx, handled); err != nil {
		w.storeFailed(ctx, "acknowledge entries of the inbox", err) // they come again, and the same wish again is fine
		return false
	}
	return all
}

// decode reads one entry by the API's own rules.
func (w *Worker) decode(l *hold.Letter) (wish hold.Wish, p *hold.Problem) {
	switch {
	case l.Size < 0:
		return wish, &hold.Problem{Code: LetterEmpty, Field: "hold", Detail: "the entry has no field hold: XADD holdd:inbox '*' hold '{…}'"}
	case l.Size > MaxLetter:
		return wish, &hold.Problem{Code: LetterTooLarge, Field: "hold", Detail: fmt.Sprintf("the entry has %d bytes: at most %d are read", l.Size, MaxLetter)}
	}
	defer func() {
		if r := recover(); r != nil { // an entry that takes the job down would do so for ever
			w.log.Error("reading an entry of the inbox panicked", zap.String("id", l.ID), zap.Any("panic", r))
			p = &hold.Problem{Code: LetterBroken, Field: "hold", Detail: "the entry can't be read, and that is a fault of holdd's"}
		}
	}()
	wish, err := w.o.Decode([]byte(l.Text))
	if err != nil && !errors.As(err, &p) {
		p = &hold.Problem{Code: LetterBroken, Field: "hold", Detail: err.Error()}
	}
	return wish, p
}
