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

// booking is what the booking system knows of one of its holds: what it asked
// for and what it was told.
type booking struct {
	number                int
	id, account, currency string
	amount                int64
	requests              []*request // the first is the schedule
	dashboardAction       string     // what a person did past holdd
	dashboardAt           time.Time
	finalView             *hold.View // at the end; nil: holdd knows no such hold
	readAtEnd             bool
	inFinalList           bool
}

// request is one request, with all its tries.
type request struct {
	description      string               // as the story tells it
	effect           stripesim.EffectKind // what it wants done to the money; empty if nothing yet
	amount           int64                // of a capture
	notBefore        time.Time            // before which it must not be done
	firstTryAt       time.Time            // try
	lastTryAt        time.Time            // the last try
	acceptedAt       time.Time            // zero: never told that it was granted
	unansweredTries  int                  // tries whose outcome nobody told
	lastAnswer       string               // answer
	answeredNotFound bool                 // told that there is no such hold
	tries            []string
}

// repeats says whether the request asked for an effect that had happened: it was
// granted because nothing was left to do.
func (x *request) repeats(e *stripesim.Effect) bool {
	return x.effect == e.Kind && x.lastTryAt.After(e.Time) &&
		(e.Kind != stripesim.EffectCaptured || x.amount == e.Amount)
}

// mayBeAccepted says whether it may have been granted, as far as the caller can
// know.
func (x *request) mayBeAccepted() bool { return !x.acceptedAt.IsZero() || x.unansweredTries > 0 }

const (
	tryTimeout     = 4 * time.Second  // that the booking system waits for an answer
	requestTimeout = 60 * time.Second // over all tries
	// that it comes back to a hold which is being worked on
	tooLateRetryFor = 10 * time.Second
	minRetryDelay   = 150 * time.Millisecond // between tries, at least
)

// sendRequest sends a request to a random replica, and repeats it until the
// outcome is known.
func (w *world) sendRequest(
	ctx context.Context, rng *rand.Rand, b *booking, x *request,
	do func(context.Context, *api.Client) error,
) {
	b.requests = append(b.requests, x)
	x.firstTryAt = time.Now()
	for time.Since(x.firstTryAt) < requestTimeout {
		if len(x.tries) > 0 &&
			!sleepContext(ctx, randomDuration(rng, minRetryDelay, 4*minRetryDelay)) {
			return
		}
		r := w.replicas[rng.IntN(len(w.replicas))]
		c := r.apiClient()
		if c == nil {
			x.tries = append(x.tries, r.name+" is down")
			continue
		}
		x.lastTryAt = time.Now()
		bounded, cancel := context.WithTimeout(ctx, tryTimeout)
		err := do(bounded, c)
		cancel()
		now := time.Now()
		answer := "granted"
		if err != nil {
			answer = err.Error()
		}
		x.tries = append(x.tries, fmt.Sprintf("%s..%s by %s: %s", formatClock(x.lastTryAt),
			formatClock(now), r.name, answer))
		if err == nil {
			x.acceptedAt, x.lastAnswer = now, "granted"
			return
		}
		var p *api.Problem
		switch {
		case errors.As(err, &p) && p.Status < 500:
			x.lastAnswer = string(p.Code)
			x.answeredNotFound = p.Code == hold.HoldNotFound
			if !slices.Contains(expectedRejections, p.Code) {
				w.mu.Lock()
				w.unexpectedAnswers = append(w.unexpectedAnswers,
					fmt.Sprintf("%s of %s: %s", x.description, b.id, x.tries[len(x.tries)-1]))
				w.mu.Unlock()
			}
			if p.Code == hold.TooLate && time.Since(x.firstTryAt) < tooLateRetryFor {
				continue
			}
			return
		case errors.As(err, &p):
			w.increment("API: 5xx, asked again")
			x.unansweredTries++
		default:
			var u *api.UnreachableError
			if !errors.As(err, &u) || u.OutcomeUnknown {
				x.unansweredTries++
			}
			w.increment("API: no answer, asked again")
		}
	}
}

// expectedRejections are the answers that a booking system may get for what it
// asks here. Any other would be a fault.
var expectedRejections = []hold.ProblemCode{
	hold.TooLate, hold.AlreadyCaptured, hold.AlreadyCanceled, hold.AlreadyExpired,
	hold.CancelAccepted, hold.HoldNotFound, hold.NotCapturable,
}

var currencies = []string{"eur", "usd", "gbp", "jpy"}

// runBooking is the life of one booking, from the guest's authorization to the
// last thing that the booking system wants of it.
func (w *world) runBooking(ctx context.Context, rng *rand.Rand, b *booking) {
	b.amount, b.currency = 1000+rng.Int64N(90_000), currencies[rng.IntN(len(currencies))]
	if rng.IntN(5) == 0 {
		b.account = connectedAccount
	}
	id, err := w.sim.Authorize(stripesim.Hold{Amount: b.amount, Currency: b.currency,
		PaymentMethod: "pm_card_visa", Account: b.account})
	if err != nil {
		w.t.Errorf("authorize: %v", err)
		return
	}
	b.id = id
	part := func() int64 { return 100 + rng.Int64N(b.amount-100) }
	at := time.Now().Add(randomDuration(rng, 300*time.Millisecond, 5*time.Second)).UTC().Truncate(
		time.Millisecond)
	terms := hold.ScheduleRequest{PaymentIntent: id, Account: b.account,
		Reference: fmt.Sprintf("BK-%05d", b.number)}
	first := &request{notBefore: at}
	switch n := rng.IntN(100); {
	case n < 10:
		first.description = "schedule with no time"
	case n < 25:
		terms.CancelAt, first.effect = formatTime(at), stripesim.EffectCanceled
		first.description = "schedule to cancel at " + formatClock(at)
	default:
		terms.CaptureAt, first.effect, first.amount = formatTime(at), stripesim.EffectCaptured,
			b.amount
		if rng.IntN(3) == 0 {
			terms.CaptureAmount = part()
			first.amount = terms.CaptureAmount
		}
		first.description = fmt.Sprintf("schedule to capture %d at %s",
			first.amount, formatClock(at))
	}
	if rng.IntN(5) < 2 { // tells all that a read at Stripe would
		terms.Amount, terms.Currency, terms.ExpiresAt = b.amount, b.currency,
			formatTime(time.Now().Add(6*24*time.Hour))
		first.description += ", complete"
	}
	w.sendRequest(ctx, rng, b, first, func(ctx context.Context, c *api.Client) error {
		_, _, err := c.Schedule(ctx, terms)
		return err
	})
	if first.acceptedAt.IsZero() {
		return
	}
	cancel := func(when time.Time) {
		sleepUntil(ctx, when)
		w.sendRequest(ctx, rng, b, &request{description: "cancel", effect: stripesim.EffectCanceled,
			notBefore: time.Now()}, func(ctx context.Context, c *api.Client) error {
			_, err := c.Cancel(ctx, id, "", 0)
			return err
		})
	}
	capture := func(when time.Time) {
		sleepUntil(ctx, when)
		named, amount := int64(0), first.amount
		if amount == 0 {
			amount = b.amount
		}
		if rng.IntN(2) == 0 {
			named = part()
			amount = named
		}
		x := &request{description: fmt.Sprintf("capture %d now", amount),
			effect: stripesim.EffectCaptured, amount: amount, notBefore: time.Now()}
		w.sendRequest(ctx, rng, b, x, func(ctx context.Context, c *api.Client) error {
			_, err := c.Capture(ctx, id, hold.CaptureRequest{Amount: named}, 0)
			return err
		})
	}
	near := func(t time.Time, d time.Duration) time.Time {
		return t.Add(randomDuration(rng, -d, d))
	}

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
		later := w.sendChange(ctx, rng, b, first, at, part)
		if rng.IntN(3) == 0 {
			cancel(near(later, 600*time.Millisecond))
		}
	case n < 58:
		sleepUntil(ctx, near(at, 500*time.Millisecond))
		b.dashboardAction = "captured all at the Dashboard"
		b.dashboardAt = time.Now()
		if w.sim.Dashboard().Capture(id, 0) != nil {
			b.dashboardAction = ""
		}
	case n < 61:
		sleepUntil(ctx, near(at, 500*time.Millisecond))
		b.dashboardAction = "canceled at the Dashboard"
		b.dashboardAt = time.Now()
		if w.sim.Dashboard().Cancel(id, "requested_by_customer") != nil {
			b.dashboardAction = ""
		}
	}
}

// sendChange sends other terms for a hold that was scheduled with first, and
// returns the time that counts if they are granted.
func (w *world) sendChange(
	ctx context.Context, rng *rand.Rand, b *booking, first *request,
	at time.Time, part func() int64,
) time.Time {
	sleepUntil(ctx, at.Add(-randomDuration(rng, 0, 2*time.Second)))
	x := &request{effect: first.effect, amount: first.amount, notBefore: at}
	var p hold.Patch
	if first.effect == stripesim.EffectCaptured && rng.IntN(2) == 0 {
		x.amount = part()
		p.CaptureAmount = &x.amount
		x.description = fmt.Sprintf("change the amount to %d", x.amount)
	} else {
		at = time.Now().Add(randomDuration(rng, 0, 4*time.Second)).UTC().Truncate(time.Millisecond)
		x.notBefore = at
		s := formatTime(at)
		if first.effect == stripesim.EffectCaptured {
			p.CaptureAt = &s
		} else {
			p.CancelAt = &s
		}
		x.description = "change the time to " + formatClock(at)
	}
	w.sendRequest(ctx, rng, b, x, func(ctx context.Context, c *api.Client) error {
		_, err := c.Patch(ctx, b.id, p, 0)
		return err
	})
	return at
}

func sleepUntil(ctx context.Context, t time.Time) { sleepContext(ctx, time.Until(t)) }

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func formatClock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// runClerk is one clerk, who makes bookings one after the other until the
// faults end, and sees the last one through.
func (w *world) runClerk(open, ctx context.Context, label string) {
	rng := w.newRand(label)
	for open.Err() == nil {
		w.mu.Lock()
		b := &booking{number: len(w.bookings) + 1}
		w.bookings = append(w.bookings, b)
		w.mu.Unlock()
		w.runBooking(ctx, rng, b)
		sleepContext(open, randomDuration(rng, 0, time.Second))
	}
}

// describeBooking returns all that is known of one hold.
func (w *world) describeBooking(b *booking) string {
	var s strings.Builder
	fmt.Fprintf(&s, "booking %d, %s %s, %d %s\n", b.number, b.id, b.account, b.amount, b.currency)
	for _, x := range b.requests {
		fmt.Fprintf(&s, "  asked to %s\n", x.description)
		tries := x.tries
		if n := len(tries); n > 12 {
			tries = append(append(slices.Clone(tries[:6]), fmt.Sprintf("… %d more …", n-12)),
				tries[n-6:]...)
		}
		for _, t := range tries {
			fmt.Fprintf(&s, "    %s\n", t)
		}
	}
	if b.dashboardAction != "" {
		fmt.Fprintf(&s, "  %s %s\n", formatClock(b.dashboardAt), b.dashboardAction)
	}
	for _, e := range w.effectsByIntent()[b.id] {
		fmt.Fprintf(&s, "  ledger: %s %s %d %s by %s key %s request %s final %t\n",
			formatClock(e.Time), e.Kind, e.Amount, e.Currency, e.Actor,
			e.IdempotencyKey, e.RequestID, e.Final)
	}
	switch {
	case !b.readAtEnd:
		fmt.Fprintf(&s, "  holdd was not asked at the end\n")
	case b.finalView == nil:
		fmt.Fprintf(&s, "  holdd knows no such hold\n")
	default:
		v := b.finalView
		fmt.Fprintf(
			&s, "  holdd says: %s because of %q, next %q, captured %d, revision %d, verified %t\n",
			v.State, v.Cause, v.Next, v.CapturedAmount, v.Revision, v.Verified)
		for _, h := range v.History {
			fmt.Fprintf(&s, "    %s %s by %s %s %s %s %s %s %s\n", formatClock(h.At), h.Kind, h.By,
				h.Op, h.Answer, h.Cause, h.RequestID, h.IdempotencyKey, h.Note)
		}
	}
	w.mu.Lock()
	for _, l := range w.losses {
		fmt.Fprintf(&s, "  Redis may have lost what was written from %s to %s\n",
			formatClock(l.from), formatClock(l.to))
	}
	w.mu.Unlock()
	for _, r := range w.replicas {
		for _, line := range r.grepLog(40, b.id) {
			fmt.Fprintf(&s, "  %s\n", line)
		}
	}
	return s.String()
}
