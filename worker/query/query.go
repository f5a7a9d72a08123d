// Package query reads the schedule without changing it.
//
//   - [HoldReader] finds one hold, and lists holds page by page.
//   - [Planner] forecasts hour by hour what the worker will do, and which
//     holds are at risk.
//   - [CapacityRiskForecaster] forecasts whether the rate that Stripe allows is
//     enough for the captures that fall due within a day.
//
// Each query examines a bounded number of holds. A result that omits some says
// so.
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
	// that matches few holds costs no more than one that matches many.
	maxExamined = 1000
	// setPage is the number of holds of a set that are read at once.
	setPage = 256
)

// HoldStore reads holds. store.Holds implements it.
type HoldStore interface {
	ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
	// ReadSortedSetPage returns up to n holds of a set that come after a position.
	ReadSortedSetPage(
		ctx context.Context, set hold.SortedSet, after hold.SortedSetPosition, n int,
	) ([]hold.HoldAtPosition, time.Time, error)
}

// HoldReader finds and lists holds.
type HoldReader struct {
	store  HoldStore
	clock  *clock.RedisClock
	health *health.Reporter
}

// NewHoldReader returns a reader of store.
func NewHoldReader(
	store HoldStore, c *clock.RedisClock, h *health.Reporter,
) *HoldReader {
	return &HoldReader{store: store, clock: c, health: h}
}

// Get returns a hold and Redis' time. Errors are *[hold.Problem] or wrap
// [health.ErrUnavailable].
func (r *HoldReader) Get(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if err := hold.CheckPaymentIntentID(id); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	holds, now, err := r.store.ReadHolds(ctx, id)
	if err != nil {
		return hold.Hold{}, now, r.health.ReportAndWrapUnavailable(ctx, "read a hold", err)
	}
	if holds[0] == nil {
		return hold.Hold{}, now, &hold.Problem{Code: hold.HoldNotFound,
			Detail: fmt.Sprintf("there is no hold %s: schedule it first", id)}
	}
	return *holds[0], now, nil
}

// HoldQuery selects holds for a list. Its zero value selects all.
type HoldQuery struct {
	State          hold.State    // 0 selects every state
	Reference      string        // a prefix
	Account        string        // exact
	ExpiringWithin time.Duration // only open holds that expire within it; 0 selects all
	RequiresAction bool          // only holds whose renewal requires their cardholder
	// Metadata selects holds that have all these pairs. There is no index of
	// them: a page examines up to 1,000 holds.
	Metadata    map[string]string
	Group       HoldStateGroup // 0 selects every hold
	ByReference bool           // ordered by reference; leaves out holds without one
	Limit       int            // 0 means 50; at most 200
	Cursor      string         // Next of the previous page; empty for the first
}

// HoldStateGroup is a group of states, and the order in which its holds are listed.
type HoldStateGroup uint8

// Groups of holds.
const (
	GroupOpen    HoldStateGroup = iota + 1 // by the next milestone of the deadline
	GroupDue                               // with a time to act: due ones first, then by that time
	GroupSettled                           // newest first
)

// HoldPage is one page of a list. Because a page examines a bounded number of
// holds, it may have fewer than Limit, even none, and still have a Next.
type HoldPage struct {
	Holds []hold.Hold
	Next  string    // cursor of the next page, empty at the end
	Now   time.Time // Redis' time when the page was read
}

// List returns a page of holds. Open holds are first, ordered by the next
// milestone of their deadline. Settled holds follow, newest first. Holds of a
// reference prefix are ordered by reference. Errors are *[hold.Problem] or wrap
// [health.ErrUnavailable].
func (r *HoldReader) List(ctx context.Context, q HoldQuery) (HoldPage, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = defaultPageSize
	}
	limit = min(limit, maxPageSize)
	sets := q.sortedSets()
	at, err := q.startPosition(sets)
	if err != nil {
		return HoldPage{}, err
	}
	page := HoldPage{Now: r.clock.Now()}
	for examined := 0; ; {
		n := min(limit, maxExamined-examined)
		found, now, err := r.store.ReadSortedSetPage(ctx, at.Set, at.Position, n)
		if err != nil {
			return HoldPage{}, r.health.ReportAndWrapUnavailable(ctx, "list holds", err)
		}
		r.clock.AdjustTo(now)
		page.Now = now
		endOfSet := len(found) < n
		for i := range found {
			examined++
			at.Position = found[i].Position
			if at.Set == hold.SetReferences && !strings.HasPrefix(at.Position.Member, q.Reference) {
				endOfSet = true
				break
			}
			if h := &found[i].Hold; h.State != 0 && q.matchesHold(h, now) {
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
			at = pageCursor{Set: sets[i+1]}
		}
		if examined >= maxExamined {
			page.Next = at.String()
			return page, nil
		}
	}
}

// HoldTotals are the sums of the holds that a query selects.
type HoldTotals struct {
	Holds int
	Sums  []hold.Sum // by currency
	// Unprotected is the amounts that nothing holds, because a renewal has
	// released the old authorization first. Sums leaves them out.
	Unprotected []hold.Sum
	AtLeast     bool // there are more holds than were examined
}

// maxTotaled bounds how many holds are examined for totals.
const maxTotaled = 2000

// SumTotals sums the amounts of the holds of a query, of which it examines at
// most 2,000. A captured hold counts with its captured amount. It ignores Limit
// and Cursor. Errors are those of [HoldReader.List].
func (r *HoldReader) SumTotals(ctx context.Context, q HoldQuery) (t HoldTotals, err error) {
	q.Limit, q.Cursor = maxPageSize, ""
	for range maxTotaled / maxPageSize {
		page, err := r.List(ctx, q)
		if err != nil {
			return HoldTotals{}, err
		}
		for i := range page.Holds {
			h := &page.Holds[i]
			amount := h.Amount
			if h.State == hold.Captured {
				amount = h.CapturedAmount
			}
			t.Holds++
			if hold.IsOpenWithoutAuthorization(h) {
				t.Unprotected = hold.AddToCurrencySums(t.Unprotected, h.Currency, amount)
				continue
			}
			t.Sums = hold.AddToCurrencySums(t.Sums, h.Currency, amount)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	t.AtLeast = q.Cursor != ""
	sortSums(t.Sums)
	sortSums(t.Unprotected)
	return t, nil
}

// sortedSets returns the sorted sets that have the holds of a query, in order.
func (q *HoldQuery) sortedSets() []hold.SortedSet {
	switch {
	case q.Reference != "" || q.ByReference:
		return []hold.SortedSet{hold.SetReferences}
	case q.Group == GroupDue:
		return []hold.SortedSet{hold.SetReady, hold.SetWorking, hold.SetScheduled}
	case q.Group == GroupSettled:
		return []hold.SortedSet{hold.SetSettled}
	case q.State == hold.Working:
		return []hold.SortedSet{hold.SetWorking}
	case q.State == hold.Attention:
		return []hold.SortedSet{hold.SetAttention}
	case q.State.IsFinal():
		return []hold.SortedSet{hold.SetSettled}
	case q.State != 0 || q.ExpiringWithin > 0 || q.RequiresAction || q.Group == GroupOpen:
		return []hold.SortedSet{hold.SetExpiring}
	default:
		return []hold.SortedSet{hold.SetExpiring, hold.SetSettled}
	}
}

func (q *HoldQuery) matchesHold(h *hold.Hold, now time.Time) bool {
	switch {
	case q.State != 0 && h.StateWithDueAsReady(now) != q.State,
		(q.Group == GroupOpen || q.Group == GroupDue) && h.State.IsFinal(),
		q.Group == GroupDue && h.NextOp == 0,
		q.Group == GroupSettled && !h.State.IsFinal(),
		q.RequiresAction && !hold.IsAwaitingCardholder(h),
		q.Account != "" && h.Account != q.Account,
		!hasMetadata(h, q.Metadata),
		q.Reference != "" && !strings.HasPrefix(h.Reference, q.Reference),
		q.ExpiringWithin > 0 && (h.State.IsFinal() || h.ExpiresAt.After(now.Add(q.ExpiringWithin))):
		return false
	}
	return true
}

// hasMetadata reports whether a hold has all the pairs.
func hasMetadata(h *hold.Hold, pairs map[string]string) bool {
	for key, value := range pairs {
		if found, ok := h.Metadata[key]; !ok || found != value {
			return false
		}
	}
	return true
}

// startPosition returns the position at which a page starts.
func (q *HoldQuery) startPosition(sets []hold.SortedSet) (pageCursor, error) {
	at := pageCursor{Set: sets[0]}
	switch {
	case q.Cursor != "":
		return parsePageCursor(q.Cursor)
	case at.Set == hold.SetReferences:
		at.Position.Member = q.Reference
	}
	return at, nil
}

// pageCursor is the position of the last hold that a page examined.
type pageCursor struct {
	Set      hold.SortedSet         `json:"set"`
	Position hold.SortedSetPosition `json:"position"`
}

func (c pageCursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and a string always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parsePageCursor(s string) (c pageCursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Set < hold.SetScheduled || c.Set > hold.SetReferences {
		return c, &hold.Problem{Code: hold.InvalidCursor, Field: "cursor",
			Detail: "invalid cursor: send next of the previous page, or no cursor for the first page"}
	}
	return c, nil
}
