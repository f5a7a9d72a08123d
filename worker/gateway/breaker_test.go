package gateway_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func TestBreaker_LimitsCallsDuringOutage(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		check := func(when string, available bool, maxInFlight int) {
			t.Helper()
			if e.IsStripeAvailable() != available || e.IsBreakerOpen() == available ||
				e.MaxInFlightByBreaker() != maxInFlight {
				t.Errorf("%s: available %t, open %t, %d in flight",
					when, e.IsStripeAvailable(), e.IsBreakerOpen(), e.MaxInFlightByBreaker())
			}
		}
		e.answerAlways(hold.AnswerUnknown)
		for range 4 {
			e.do(t)
		}
		check("after 4 failures", true, -1)
		e.answerAlways(hold.AnswerReplayedError) // Stripe answers
		e.do(t)
		e.answerAlways(hold.AnswerUnreachable)
		for range 4 {
			e.do(t)
		}
		check("after 4 failures since the last answer", true, -1)
		e.do(t)
		check("after 5 consecutive failures", false, 0)
		if kind := e.do(t); kind != 0 {
			t.Errorf("sent while the breaker is open: %s", kind)
		}

		time.Sleep(5*time.Second + 1)
		check("half-open", false, 1)
		e.do(t) // fails as well
		check("after the try failed", false, 0)
		if n := len(e.sent); n != 11 {
			t.Errorf("%d calls sent", n)
		}

		time.Sleep(5*time.Second + 1)
		e.answer = func(context.Context, hold.Call) hold.Answer {
			time.Sleep(time.Second)
			return hold.Answer{Kind: hold.AnswerOK}
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { e.do(t) })
		}
		wg.Wait()
		if n := len(e.sent); n != 12 {
			t.Errorf("%d calls sent while half-open", n-11)
		}
		check("after an answer", true, -1)
		if e.logs.FilterMessageSnippet("Stripe unavailable").Len() != 1 ||
			e.logs.FilterMessage("Stripe available again").Len() != 1 {
			t.Errorf("%+v", e.logs.All())
		}
	})
}

// An outage is logged once with address, cause and beginning, then each minute.
func TestBreaker_LogsOutageOnceAMinute(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answer = func(context.Context, hold.Call) hold.Answer {
			return hold.Answer{Kind: hold.AnswerUnreachable, Message: "dial tcp: refused"}
		}
		began := time.Now()
		e.do(t)
		time.Sleep(time.Second)
		for time.Since(began) < 3*time.Minute+30*time.Second {
			e.do(t)
			time.Sleep(time.Second)
		}
		lines := e.logs.FilterMessageSnippet("Stripe unavailable").All()
		if len(lines) != 4 {
			t.Fatalf("%d lines: %+v", len(lines), lines)
		}
		for _, l := range lines {
			f := l.ContextMap()
			since, _ := f["since"].(time.Time)
			if f["address"] != "https://stripe.test" || f["cause"] != "dial tcp: refused" ||
				!since.Equal(began) {
				t.Errorf("%+v", f)
			}
		}
		e.answerAlways(hold.AnswerOK)
		time.Sleep(6 * time.Second)
		e.do(t)
		end := e.logs.FilterMessage("Stripe available again").All()
		if len(end) != 1 || end[0].ContextMap()["unavailable_for"].(time.Duration) < 3*time.Minute {
			t.Errorf("%+v", end)
		}

		// A single failed call is no outage, and does not date the next one.
		e.answerAlways(hold.AnswerUnreachable)
		e.do(t)
		e.answerAlways(hold.AnswerOK)
		e.do(t)
		time.Sleep(time.Hour)
		e.answerAlways(hold.AnswerUnreachable)
		again := time.Now()
		for range 5 {
			e.do(t)
		}
		lines = e.logs.FilterMessageSnippet("Stripe unavailable").All()
		if since, _ := lines[len(lines)-1].ContextMap()["since"].(time.Time); len(lines) != 5 ||
			!since.Equal(again) {
			t.Errorf("%d lines, the last since %s, not %s", len(lines), since, again)
		}
	})
}

// TestBreaker_IgnoresCanceledCalls checks that a canceled call neither opens
// nor closes the breaker, and is not observed.
func TestBreaker_IgnoresCanceledCalls(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		goAway := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if a, err := e.Do(ctx, hold.Call{Op: hold.OpRead}); err != nil ||
				a.Kind != hold.AnswerUnknown {
				t.Errorf("%+v %v", a, err)
			}
		}
		e.answer = func(ctx context.Context, _ hold.Call) hold.Answer {
			<-ctx.Done()
			return hold.Answer{Kind: hold.AnswerUnknown}
		}
		for range 20 {
			goAway()
		}
		if e.IsBreakerOpen() || len(e.observed) != 0 {
			t.Errorf("open %t, observed %+v", e.IsBreakerOpen(), e.observed)
		}
		for range 5 {
			e.do(t)
		}
		time.Sleep(5*time.Second + 1)
		goAway()
		if e.MaxInFlightByBreaker() != 1 {
			t.Errorf("%d in flight after the half-open try was given up", e.MaxInFlightByBreaker())
		}
		e.answerAlways(hold.AnswerOK)
		e.do(t)
		if !e.IsStripeAvailable() {
			t.Error("unavailable after an answer")
		}
	})
}
