package worker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
)

const (
	defaultPageSize = 50
	maxPageSize     = 200
	// maxExamined bounds how many holds one page looks at, so that a filter that matches little costs no more than a page that matches much.
	maxExamined = 1000
)

// listCursor is where the next page begins.
type listCursor struct {
	Set  hold.SortedSet `json:"t"`
	Mark hold.Position  `json:"m"`
}

func (c listCursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // two numbers and a string
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (c listCursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Set < hold.SetScheduled || c.Set > hold.SetReferences {
		return c, &hold.Problem{Code: hold.InvalidCursor, Field: "cursor", Detail: "this cursor is not one of ours: begin again without it"}
	}
	return c, nil
}

// sets are the orders in which a query finds its holds, one after the other.
func (q *Query) sets() []hold.SortedSet {
	switch {
	case q.Reference != "":
		return []hold.SortedSet{hold.SetReferences}
	case q.State == hold.Working:
		return []hold.SortedSet{hold.SetWorking}
	case q.State == hold.Attention:
		return []hold.SortedSet{hold.SetAttention}
	case q.State.Final():
		return []hold.SortedSet{hold.SetSettled}
	case q.State != 0 || q.ExpiringWithin > 0:
		return []hold.SortedSet{hold.SetExpiring}
	default:
		return []hold.SortedSet{hold.SetExpiring, hold.SetSettled}
	}
}

func (q *Query) matches(h *hold.Hold, now time.Time) bool {
	switch {
	case q.State != 0 && h.StateAt(now) != q.State,
		q.Account != "" && h.Account != q.Account,
		q.Reference != "" && !strings.HasPrefix(h.Reference, q.Reference),
		q.ExpiringWithin > 0 && (h.State.Final() || h.ExpiresAt.After(now.Add(q.ExpiringWithin))):
		return false
	}
	return true
}

// List returns a page of holds. Open ones come first, by what their deadline brings next; then settled ones, newest first; those of
// a reference prefix in the order of their references. Errors are *hold.Problem or wrap ErrUnavailable.
func (w *Worker) List(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = defaultPageSize
	}
	limit = min(limit, maxPageSize)
	sets := q.sets()
	at := listCursor{Set: sets[0]}
	if q.Cursor != "" {
		c, err := parseCursor(q.Cursor)
		if err != nil {
			return Page{}, err
		}
		at = c
	} else if at.Set == hold.SetReferences {
		at.Mark.Member = q.Reference
	}
	page := Page{Now: w.redisNow()}
	for seen := 0; ; {
		n := min(limit, maxExamined-seen)
		found, now, err := w.store.Page(ctx, at.Set, at.Mark, n)
		if err != nil {
			return Page{}, w.unavailable(ctx, "list holds", err)
		}
		w.syncClock(now)
		page.Now = now
		done := len(found) < n
		for _, f := range found {
			seen++
			at.Mark = f.Position
			if at.Set == hold.SetReferences && !strings.HasPrefix(f.Position.Member, q.Reference) {
				done = true
				break
			}
			if f.Hold.State != 0 && q.matches(&f.Hold, now) {
				page.Holds = append(page.Holds, f.Hold)
				if len(page.Holds) == limit {
					page.Next = at.String()
					return page, nil
				}
			}
		}
		if done {
			i := slices.Index(sets, at.Set)
			if i < 0 || i == len(sets)-1 {
				return page, nil
			}
			at = listCursor{Set: sets[i+1]}
		}
		if seen >= maxExamined {
			page.Next = at.String()
			return page, nil
		}
	}
}

// Ready says what keeps this replica from working, a line for each thing that it needs.
func (w *Worker) Ready(ctx context.Context) []Check {
	redis := Check{Name: "redis", OK: true}
	if err := w.store.Ping(ctx); err != nil {
		redis.OK, redis.Detail = false, "Redis does not answer: holds are safe and wait; start it, or see what keeps it"
	}
	stripe := Check{Name: "stripe", OK: true}
	switch {
	case w.keyRejected.Load():
		stripe.OK, stripe.Detail = false, "Stripe rejects the key: set stripe_api_key to a valid one and restart"
	case w.breaker.State() != gobreaker.StateClosed:
		stripe.OK, stripe.Detail = false, "Stripe does not answer: holds wait, and work resumes by itself"
	}
	scheduler := Check{Name: "scheduler", OK: w.running.Load()}
	if !scheduler.OK {
		scheduler.Detail = "this replica is starting or stopping"
	}
	return append([]Check{redis, stripe, scheduler}, w.dataLossCheck()...)
}
