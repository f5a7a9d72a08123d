// Package query answers questions about the schedule: which holds there are,
// what will happen next, and whether everything that is due gets its turn at
// Stripe in time.
//
//   - [Reader] finds one hold, and lists holds page by page.
//   - [Planner] tells hour by hour what will happen, and which holds are at
//     risk.
//   - [Forecaster] compares what is due within a day with the rate that
//     Stripe's limits allow.
//
// Nothing here changes a hold. The work of each question is bounded; an answer
// that is cut says so.
package query

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	defaultPageSize = 50
	maxPageSize     = 200
	// maxExamined bounds how many holds one page examines, so that a filter
	// that matches little costs no more than one that matches much.
	maxExamined = 1000
	// setPage is how many holds of a set are read at once.
	setPage = 256
)

// Store reads holds.
type Store interface {
	Read(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
	// Page returns up to n holds of a set that come after a position.
	ReadPage(
		ctx context.Context, set hold.SortedSet, after hold.Position, n int,
	) ([]hold.ListedHold, time.Time, error)
}

// Reader finds and lists holds.
type Reader struct {
	store  Store
	clock  *clock.Redis
	health *health.Redis
}

// NewReader returns a reader of store.
func NewReader(store Store, c *clock.Redis, h *health.Redis) *Reader {
	return &Reader{store: store, clock: c, health: h}
}

// Get returns a hold and Redis' time. Errors are *[hold.Problem] or wrap
// [health.ErrUnavailable].
func (r *Reader) Get(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if err := hold.CheckPaymentIntentID(id); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	holds, now, err := r.store.Read(ctx, id)
	if err != nil {
		return hold.Hold{}, now, r.health.Unavailable(ctx, "read a hold", err)
	}
	if holds[0] == nil {
		return hold.Hold{}, now, &hold.Problem{Code: hold.HoldNotFound,
			Detail: fmt.Sprintf("there is no hold %s: schedule it first", id)}
	}
	return *holds[0], now, nil
}

// Query selects holds for a list. Its zero value selects all.
type Query struct {
	State          hold.State    // 0 selects every state
	Reference      string        // a prefix
	Account        string        // exact
	ExpiringWithin time.Duration // only open holds that expire within it; 0 selects all
	Limit          int           // 0 means 50; never more than 200
	Cursor         string        // Next of the page before; empty for the first
}

// Page is one page of a list. Because the work per page is bounded, it may hold
// fewer than Limit holds, even none, and still have a Next.
type Page struct {
	Holds []hold.Hold
	Next  string    // cursor of the next page, empty at the end
	Now   time.Time // Redis' time when the page was read
}

// List returns a page of holds. Open ones come first, by the next milestone of
// their deadline, then settled ones, newest first. Those of a reference prefix
// come in the order of their references. Errors are *[hold.Problem] or wrap
// [health.ErrUnavailable].
func (r *Reader) List(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = defaultPageSize
	}
	limit = min(limit, maxPageSize)
	sets := q.sets()
	at, err := q.firstPosition(sets)
	if err != nil {
		return Page{}, err
	}
	page := Page{Now: r.clock.Now()}
	for examined := 0; ; {
		n := min(limit, maxExamined-examined)
		found, now, err := r.store.ReadPage(ctx, at.Set, at.Position, n)
		if err != nil {
			return Page{}, r.health.Unavailable(ctx, "list holds", err)
		}
		r.clock.Sync(now)
		page.Now = now
		endOfSet := len(found) < n
		for i := range found {
			examined++
			at.Position = found[i].Position
			if at.Set == hold.SetReferences && !strings.HasPrefix(at.Position.Member, q.Reference) {
				endOfSet = true
				break
			}
			if h := &found[i].Hold; h.State != 0 && q.matches(h, now) {
				page.Holds = append(page.Holds, *h)
				if len(page.Holds) == limit {
					page.Next = at.String()
					return page, nil
				}
			}
		}
		if endOfSet {
			i := slices.Index(sets, at.Set)
			if i < 0 || i == len(sets)-1 {
				return page, nil
			}
			at = cursor{Set: sets[i+1]}
		}
		if examined >= maxExamined {
			page.Next = at.String()
			return page, nil
		}
	}
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

// firstPosition is where the page begins.
func (q *Query) firstPosition(sets []hold.SortedSet) (cursor, error) {
	at := cursor{Set: sets[0]}
	switch {
	case q.Cursor != "":
		return parseCursor(q.Cursor)
	case at.Set == hold.SetReferences:
		at.Position.Member = q.Reference
	}
	return at, nil
}

// cursor is where the next page begins.
type cursor struct {
	Set      hold.SortedSet `json:"t"`
	Position hold.Position  `json:"m"`
}

func (c cursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // two numbers and a string
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (c cursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Set < hold.SetScheduled || c.Set > hold.SetReferences {
		return c, &hold.Problem{Code: hold.InvalidCursor, Field: "cursor",
			Detail: "invalid cursor: want the next of the page before, or none for the first page"}
	}
	return c, nil
}
