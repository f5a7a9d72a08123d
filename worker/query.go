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
	pageDefault = 50
	pageMax     = 200
	// examined bounds how many holds one page looks at, so that a filter that matches little costs no more than a page that matches much.
	examined = 1000
	// planned bounds how many holds a plan looks at in each order.
	planned = 20_000
	atRisk  = 100
)

// cursor is where the next page begins.
type cursor struct {
	Set  hold.Set  `json:"t"`
	Mark hold.Mark `json:"m"`
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
		return c, &hold.Problem{Code: hold.InvalidCursor, Field: "cursor", Detail: "this cursor is not one of ours: begin again without it"}
	}
	return c, nil
}

// sets are the orders in which a query finds its holds, one after the other.
func (q *Query) sets() []hold.Set {
	switch {
	case q.Reference != "":
		return []hold.Set{hold.SetReferences}
	case q.State == hold.Working:
		return []hold.Set{hold.SetWorking}
	case q.State == hold.Attention:
		return []hold.Set{hold.SetAttention}
	case q.State.Final():
		return []hold.Set{hold.SetSettled}
	case q.State != 0 || q.ExpiringWithin > 0:
		return []hold.Set{hold.SetExpiring}
	default:
		return []hold.Set{hold.SetExpiring, hold.SetSettled}
	}
}

func (q *Query) match(h *hold.Hold, now time.Time) bool {
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
		limit = pageDefault
	}
	limit = min(limit, pageMax)
	sets := q.sets()
	at := cursor{Set: sets[0]}
	if q.Cursor != "" {
		c, err := parseCursor(q.Cursor)
		if err != nil {
			return Page{}, err
		}
		at = c
	} else if at.Set == hold.SetReferences {
		at.Mark.Name = q.Reference
	}
	page := Page{Now: w.now()}
	for seen := 0; ; {
		n := min(limit, examined-seen)
		found, now, err := w.store.Page(ctx, at.Set, at.Mark, n)
		if err != nil {
			return Page{}, w.unavailable(ctx, "list holds", err)
		}
		w.sync(now)
		page.Now = now
		done := len(found) < n
		for _, f := range found {
			seen++
			at.Mark = f.Mark
			if at.Set == hold.SetReferences && !strings.HasPrefix(f.Mark.Name, q.Reference) {
				done = true
				break
			}
			if f.Hold.State != 0 && q.match(&f.Hold, now) {
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
			at = cursor{Set: sets[i+1]}
		}
		if seen >= examined {
			page.Next = at.String()
			return page, nil
		}
	}
}

// Plan tells what will happen by itself within a span, and which holds may lapse in it.
func (w *Worker) Plan(ctx context.Context, next time.Duration) (Plan, error) {
	var p Plan
	hours := map[time.Time]*PlanHour{}
	err := w.walk(ctx, hold.SetScheduled, &p, func(h *hold.Hold, now time.Time) bool {
		if h.NextAt.After(p.From.Add(next)) {
			return false
		}
		start := maxTime(h.NextAt, now).Truncate(time.Hour)
		hour := hours[start]
		if hour == nil {
			hour = &PlanHour{Start: start}
			hours[start] = hour
		}
		amount := h.Amount
		if h.Next == hold.OpCapture && h.CaptureAmount > 0 {
			amount = h.CaptureAmount
		}
		switch h.Next {
		case hold.OpCapture:
			hour.Capture = addSum(hour.Capture, h.Currency, amount)
		case hold.OpCancel:
			hour.Cancel = addSum(hour.Cancel, h.Currency, amount)
		}
		return true
	})
	if err != nil {
		return p, err
	}
	err = w.walk(ctx, hold.SetExpiring, &p, func(h *hold.Hold, now time.Time) bool {
		if h.ExpiresAt.After(now.Add(next)) {
			return true // its warning comes first, its deadline later
		}
		if why := w.risk(h, now); why != "" {
			p.AtRisk = append(p.AtRisk, Risk{Hold: *h, Why: why})
		}
		return true
	})
	if err != nil {
		return p, err
	}
	p.Until = p.From.Add(next)
	for _, h := range hours {
		p.Hours = append(p.Hours, *h)
	}
	slices.SortFunc(p.Hours, func(a, b PlanHour) int { return a.Start.Compare(b.Start) })
	slices.SortStableFunc(p.AtRisk, func(a, b Risk) int { return a.Hold.ExpiresAt.Compare(b.Hold.ExpiresAt) })
	if len(p.AtRisk) > atRisk {
		p.AtRisk, p.Truncated = p.AtRisk[:atRisk], true
	}
	return p, nil
}

// walk goes through a set until visit says stop, or enough was seen.
func (w *Worker) walk(ctx context.Context, set hold.Set, p *Plan, visit func(*hold.Hold, time.Time) bool) error {
	mark := hold.Mark{}
	for seen := 0; ; {
		found, now, err := w.store.Page(ctx, set, mark, sweepSize)
		if err != nil {
			return w.unavailable(ctx, "plan", err)
		}
		if p.From.IsZero() {
			p.From = now
		}
		for _, f := range found {
			mark = f.Mark
			if f.Hold.State != 0 && !visit(&f.Hold, now) {
				return nil
			}
		}
		if seen += len(found); len(found) < sweepSize {
			return nil
		}
		if seen >= planned {
			p.Truncated = true
			return nil
		}
	}
}

// risk says why a hold that ends soon may lapse with the money not taken, empty if it won't.
func (w *Worker) risk(h *hold.Hold, now time.Time) string {
	own := h.OwnTime()
	switch {
	case h.State.Final():
		return ""
	case h.State == hold.Attention:
		return "a person must look: " + h.Why.String()
	case h.State == hold.Paused:
		return "paused"
	case h.State == hold.Working && h.Attempt.Unknown:
		return "its outcome isn't known yet"
	case h.Retries > 0:
		return "Stripe could not be asked so far"
	case !own.IsZero() && !own.Before(h.ExpiresAt):
		return "its time is after the deadline"
	case own.IsZero() && h.OnExpiry == hold.PolicyAlert:
		return "no time is set, and the deadline only alerts"
	case h.ExpiresSource == hold.SourceAssumed && !h.Verified:
		return "its deadline is only assumed"
	case !h.ExpiresAt.After(now):
		return "its deadline has passed"
	}
	return ""
}

func addSum(sums []Sum, currency string, amount int64) []Sum {
	for i := range sums {
		if sums[i].Currency == currency {
			sums[i].Count++
			sums[i].Amount += amount
			return sums
		}
	}
	return append(sums, Sum{Currency: currency, Count: 1, Amount: amount})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Ready says what keeps this replica from working, a line for each thing that it needs.
func (w *Worker) Ready(ctx context.Context) []Check {
	redis := Check{Name: "redis", OK: true}
	if err := w.store.Ping(ctx); err != nil {
		redis.OK, redis.Detail = false, "Redis does not answer: holds are safe and wait; start it, or see what keeps it"
	}
	stripe := Check{Name: "stripe", OK: true}
	switch {
	case w.rejected.Load():
		stripe.OK, stripe.Detail = false, "Stripe rejects the key: set stripe_api_key to a valid one and restart"
	case w.breaker.State() != gobreaker.StateClosed:
		stripe.OK, stripe.Detail = false, "Stripe does not answer: holds wait, and work resumes by itself"
	}
	scheduler := Check{Name: "scheduler", OK: w.running.Load()}
	if !scheduler.OK {
		scheduler.Detail = "this replica is starting or stopping"
	}
	return append([]Check{redis, stripe, scheduler}, w.emptied()...)
}
