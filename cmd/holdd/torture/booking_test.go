package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// booking is what the booking system knows of one of its holds: what it asked for and what it was told.
type booking struct {
	n                     int
	id, account, currency string
	amount                int64
	wishes                []*wish // the first is the schedule
	dashboard             string  // what a person did past holdd
	dashboardAt           time.Time
	view                  *hold.View // at the end; nil: holdd knows no such hold
	viewed                bool
	listed                bool
}

// wish is one request, with all its tries.
type wish struct {
	what     string               // as the story tells it
	effect   stripesim.EffectKind // what it wants done to the money; empty if nothing yet
	amount   int64                // of a capture
	earliest time.Time            // before which it must not be done
	first    time.Time            // try
	sent     time.Time            // the last try
	acked    time.Time            // zero: never told that it was granted
	open     int                  // tries whose outcome nobody told
	last     string               // answer
	missing  bool                 // told that there is no such hold
	tries    []string
}

// possible says whether it may have been granted, as far as the caller can know.
func (x *wish) possible() bool { return !x.acked.IsZero() || x.open > 0 }

const (
	tryTime  = 4 * time.Second        // that the booking system waits for an answer
	patience = 60 * time.Second       // over all tries
	lateTime = 10 * time.Second       // that it comes back to a hold which is being worked on
	breath   = 150 * time.Millisecond // between tries, at least
)

// ask carries a wish to a random replica, again and again until somebody tells what became of it.
func (w *world) ask(ctx context.Context, rng *rand.Rand, b *booking, x *wish, do func(context.Context, *api.Client) error) {
	b.wishes = append(b.wishes, x)
	x.first = time.Now()
	for time.Since(x.first) < patience {
		if len(x.tries) > 0 && !pause(ctx, between(rng, breath, 4*breath)) {
			return
		}
		r := w.replicas[rng.IntN(len(w.replicas))]
		c := r.api()
		if c == nil {
			x.tries = append(x.tries, r.name+" is down")
			continue
		}
		x.sent = time.Now()
		bounded, cancel := context.WithTimeout(ctx, tryTime)
		err := do(bounded, c)
		cancel()
		now := time.Now()
		told := "granted"
		if err != nil {
			told = err.Error()
		}
		x.tries = append(x.tries, fmt.Sprintf("%s..%s by %s: %s", clock(x.sent), clock(now), r.name, told))
		if err == nil {
			x.acked, x.last = now, "granted"
			return
		}
		var p *api.Problem
		switch {
		case errors.As(err, &p) && p.Status < 500:
			x.last = string(p.Code)
			x.missing = p.Code == hold.HoldNotFound
			if !slices.Contains(refusals, p.Code) {
				w.mu.Lock()
				w.odd = append(w.odd, fmt.Sprintf("%s of %s: %s", x.what, b.id, x.tries[len(x.tries)-1]))
				w.mu.Unlock()
			}
			if p.Code == hold.TooLate && time.Since(x.first) < lateTime {
				continue
			}
			return
		case errors.As(err, &p):
			w.count("API: 5xx, asked again")
			x.open++
		default:
			var u *api.Unreachable
			if !errors.As(err, &u) || u.Unknown {
				x.open++
			}
			w.count("API: no answer, asked again")
		}
	}
}

// refusals are the answers that a booking system may get for what it asks here. Any other would be a fault.
var refusals = []hold.Code{
	hold.TooLate, hold.AlreadyCaptured, hold.AlreadyCanceled, hold.AlreadyExpired, hold.CancelAccepted, hold.HoldNotFound, hold.NotCapturable,
}

var currencies = []string{"eur", "usd", "gbp", "jpy"}

// live is the life of one booking, from the guest's authorization to the last thing that the booking system wants of it.
func (w *world) live(ctx context.Context, rng *rand.Rand, b *booking) {
	b.amount, b.currency = 1000+rng.Int64N(90_000), currencies[rng.IntN(len(currencies))]
	if rng.IntN(5) == 0 {
		b.account = connected
	}
	id, err := w.sim.Authorize(stripesim.Hold{Amount: b.amount, Currency: b.currency, PaymentMethod: "pm_card_visa", Account: b.account})
	if err != nil {
		w.t.Errorf("authorize: %v", err)
		return
	}
	b.id = id
	part := func() int64 { return 100 + rng.Int64N(b.amount-100) }
	at := time.Now().Add(between(rng, 300*time.Millisecond, 5*time.Second)).UTC().Truncate(time.Millisecond)
	terms := hold.ScheduleRequest{PaymentIntent: id, Account: b.account, Reference: fmt.Sprintf("BK-%05d", b.n)}
	first := &wish{earliest: at}
	switch n := rng.IntN(100); {
	case n < 10:
		first.what = "schedule with no time"
	case n < 25:
		terms.CancelAt, first.effect = stamp(at), stripesim.Canceled
		first.what = "schedule to cancel at " + clock(at)
	default:
		terms.CaptureAt, first.effect, first.amount = stamp(at), stripesim.Captured, b.amount
		if rng.IntN(3) == 0 {
			terms.CaptureAmount = part()
			first.amount = terms.CaptureAmount
		}
		first.what = fmt.Sprintf("schedule to capture %d at %s", first.amount, clock(at))
	}
	if rng.IntN(5) < 2 { // tells all that a read at Stripe would
		terms.Amount, terms.Currency, terms.ExpiresAt = b.amount, b.currency, stamp(time.Now().Add(6*24*time.Hour))
		first.what += ", complete"
	}
	w.ask(ctx, rng, b, first, func(ctx context.Context, c *api.Client) error {
		_, _, err := c.Schedule(ctx, terms)
		return err
	})
	if first.acked.IsZero() {
		return
	}
	cancel := func(when time.Time) {
		until(ctx, when)
		w.ask(ctx, rng, b, &wish{what: "cancel", effect: stripesim.Canceled, earliest: time.Now()}, func(ctx context.Context, c *api.Client) error {
			_, err := c.Cancel(ctx, id, 0)
			return err
		})
	}
	capture := func(when time.Time) {
		until(ctx, when)
		named, amount := int64(0), first.amount
		if amount == 0 {
			amount = b.amount
		}
		if rng.IntN(2) == 0 {
			named = part()
			amount = named
		}
		x := &wish{what: fmt.Sprintf("capture %d now", amount), effect: stripesim.Captured, amount: amount, earliest: time.Now()}
		w.ask(ctx, rng, b, x, func(ctx context.Context, c *api.Client) error {
			_, err := c.Capture(ctx, id, named, 0)
			return err
		})
	}
	near := func(t time.Time, d time.Duration) time.Time { return t.Add(between(rng, -d, d)) }

	if first.effect == "" {
		switch n := rng.IntN(10); {
		case n < 6:
			capture(at)
		case n < 9:
			cancel(at)
		}
		return
	}
	switch n := rng.IntN(100); {
	case n < 24:
		cancel(near(at, 600*time.Millisecond))
	case n < 30:
		cancel(time.Now())
	case n < 40:
		capture(near(at, 800*time.Millisecond))
		if rng.IntN(3) == 0 {
			cancel(time.Now())
		}
	case n < 52:
		later := w.change(ctx, rng, b, first, at, part)
		if rng.IntN(3) == 0 {
			cancel(near(later, 600*time.Millisecond))
		}
	case n < 58:
		until(ctx, near(at, 500*time.Millisecond))
		b.dashboard = "captured all at the Dashboard"
		b.dashboardAt = time.Now()
		if w.sim.Dashboard().Capture(id, 0) != nil {
			b.dashboard = ""
		}
	case n < 61:
		until(ctx, near(at, 500*time.Millisecond))
		b.dashboard = "canceled at the Dashboard"
		b.dashboardAt = time.Now()
		if w.sim.Dashboard().Cancel(id, "requested_by_customer") != nil {
			b.dashboard = ""
		}
	}
}

// change sends other terms for a hold that was scheduled with first, and returns the time that counts if they are granted.
func (w *world) change(ctx context.Context, rng *rand.Rand, b *booking, first *wish, at time.Time, part func() int64) time.Time {
	until(ctx, at.Add(-between(rng, 0, 2*time.Second)))
	x := &wish{effect: first.effect, amount: first.amount, earliest: at}
	var p hold.Patch
	if first.effect == stripesim.Captured && rng.IntN(2) == 0 {
		x.amount = part()
		p.CaptureAmount = &x.amount
		x.what = fmt.Sprintf("change the amount to %d", x.amount)
	} else {
		at = time.Now().Add(between(rng, 0, 4*time.Second)).UTC().Truncate(time.Millisecond)
		x.earliest = at
		s := stamp(at)
		if first.effect == stripesim.Captured {
			p.CaptureAt = &s
		} else {
			p.CancelAt = &s
		}
		x.what = "change the time to " + clock(at)
	}
	w.ask(ctx, rng, b, x, func(ctx context.Context, c *api.Client) error {
		_, err := c.Patch(ctx, b.id, p, 0)
		return err
	})
	return at
}

func until(ctx context.Context, t time.Time) { pause(ctx, time.Until(t)) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// hotel is one clerk, who makes bookings one after the other until the faults end, and sees the last one through.
func (w *world) hotel(open, ctx context.Context, who string) {
	rng := w.rand(who)
	for open.Err() == nil {
		w.mu.Lock()
		b := &booking{n: len(w.bookings) + 1}
		w.bookings = append(w.bookings, b)
		w.mu.Unlock()
		w.live(ctx, rng, b)
		pause(open, between(rng, 0, time.Second))
	}
}

// story tells everything that is known of one hold.
func (w *world) story(b *booking) string {
	var s strings.Builder
	fmt.Fprintf(&s, "booking %d, %s %s, %d %s\n", b.n, b.id, b.account, b.amount, b.currency)
	for _, x := range b.wishes {
		fmt.Fprintf(&s, "  asked to %s\n", x.what)
		tries := x.tries
		if n := len(tries); n > 12 {
			tries = append(append(slices.Clone(tries[:6]), fmt.Sprintf("… %d more …", n-12)), tries[n-6:]...)
		}
		for _, t := range tries {
			fmt.Fprintf(&s, "    %s\n", t)
		}
	}
	if b.dashboard != "" {
		fmt.Fprintf(&s, "  %s %s\n", clock(b.dashboardAt), b.dashboard)
	}
	for _, e := range w.effects()[b.id] {
		fmt.Fprintf(&s, "  ledger: %s %s %d %s by %s key %s request %s final %t\n", clock(e.Time), e.Kind, e.Amount, e.Currency, e.By, e.Key, e.RequestID, e.Final)
	}
	switch {
	case !b.viewed:
		fmt.Fprintf(&s, "  holdd was not asked at the end\n")
	case b.view == nil:
		fmt.Fprintf(&s, "  holdd knows no such hold\n")
	default:
		v := b.view
		fmt.Fprintf(&s, "  holdd says: %s because of %q, next %q, captured %d, revision %d, verified %t\n", v.State, v.Cause, v.Next, v.CapturedAmount, v.Revision, v.Verified)
		for _, h := range v.History {
			fmt.Fprintf(&s, "    %s %s by %s %s %s %s %s %s %s\n", clock(h.At), h.Kind, h.By, h.Op, h.Answer, h.Cause, h.RequestID, h.IdempotencyKey, h.Note)
		}
	}
	w.mu.Lock()
	for _, l := range w.losses {
		fmt.Fprintf(&s, "  Redis may have lost what was written from %s to %s\n", clock(l.from), clock(l.to))
	}
	w.mu.Unlock()
	for _, r := range w.replicas {
		for _, line := range r.lines(40, b.id) {
			fmt.Fprintf(&s, "  %s\n", line)
		}
	}
	return s.String()
}
