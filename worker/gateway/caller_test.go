package gateway_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

const callTimeout = 10 * time.Second

// callerEnv is a Caller in virtual time. It records the calls that the Caller
// makes.
type callerEnv struct {
	*gateway.Caller
	logs *observer.ObservedLogs

	// answer answers a call, and reserve a request for budget. Without them
	// every call is OK and every request is reserved.
	answer  func(ctx context.Context, c hold.Call) hold.Answer
	reserve func(account string, op hold.Op, n int) (hold.BudgetReservation, error)

	mu       sync.Mutex
	sent     []hold.Call
	sentAt   []time.Duration // since the test began
	reserved []reserveCall
	paused   []pauseCall
	lowered  []lowerCall
	observed []observedCall
	reported []string // what failed at the store
	start    time.Time
}

type reserveCall struct {
	account string
	op      hold.Op
	n       int
	ahead   time.Duration
}

type lowerCall struct {
	account string
	op      hold.Op
	scope   hold.ExceededRateLimit
}

type pauseCall struct {
	account string
	op      hold.Op
	d       time.Duration
}

type observedCall struct {
	op   hold.Op
	kind hold.AnswerKind
	took time.Duration
}

var errStoreDown = errors.New("store down")

func runWithCaller(t *testing.T, f func(t *testing.T, e *callerEnv)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		e := &callerEnv{logs: logs, start: time.Now()}
		e.Caller = gateway.NewCaller(recordingClient{e}, recordingBudget{e}, gateway.CallerOptions{
			Timeout: callTimeout, Observer: e, Health: e, Logger: zap.New(core),
		})
		f(t, e)
	})
}

type recordingClient struct{ e *callerEnv }

func (recordingClient) Address() string { return "https://stripe.test" }

func (c recordingClient) Do(ctx context.Context, call hold.Call) hold.Answer {
	c.e.mu.Lock()
	c.e.sent = append(c.e.sent, call)
	c.e.sentAt = append(c.e.sentAt, time.Since(c.e.start))
	answer := c.e.answer
	c.e.mu.Unlock()
	if answer == nil {
		return hold.Answer{Kind: hold.AnswerOK}
	}
	return answer(ctx, call)
}

type recordingBudget struct{ e *callerEnv }

func (b recordingBudget) ReserveRequests(
	_ context.Context, wants ...hold.BudgetRequest,
) ([]hold.BudgetReservation, error) {
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	reserved := make([]hold.BudgetReservation, len(wants))
	var failed error
	for i, w := range wants {
		b.e.reserved = append(b.e.reserved, reserveCall{w.Account, w.Op, w.Requests, w.Ahead})
		if b.e.reserve == nil {
			reserved[i].Requests = w.Requests
			continue
		}
		r, err := b.e.reserve(w.Account, w.Op, w.Requests)
		if failed = errors.Join(failed, err); err == nil {
			reserved[i] = r
		}
	}
	return reserved, failed
}

func (b recordingBudget) LowerRate(
	_ context.Context, account string, op hold.Op, scope hold.ExceededRateLimit, _ time.Duration,
) error {
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	b.e.lowered = append(b.e.lowered, lowerCall{account, op, scope})
	return errStoreDown // is reported and changes nothing
}

func (b recordingBudget) PauseOpOfAccount(
	_ context.Context, account string, op hold.Op, d time.Duration,
) error {
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	b.e.paused = append(b.e.paused, pauseCall{account, op, d})
	return errStoreDown // is reported and changes nothing
}

func (e *callerEnv) CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.observed = append(e.observed, observedCall{op, kind, took})
}

func (e *callerEnv) ReportError(_ context.Context, doing string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(err, errStoreDown) {
		e.reported = append(e.reported, doing)
	}
}

// answerAlways gives every call an answer of one kind.
func (e *callerEnv) answerAlways(kind hold.AnswerKind) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = func(context.Context, hold.Call) hold.Answer {
		return hold.Answer{Kind: kind, RateLimited: kind == hold.AnswerRateLimited}
	}
}

// do sends a capture and returns the kind of its answer, 0 if it was not sent.
func (e *callerEnv) do(t *testing.T) hold.AnswerKind {
	t.Helper()
	a, err := e.Do(t.Context(), hold.Call{Op: hold.OpCapture})
	checkNotSent(t, err, 0)
	return a.Kind
}

// checkNotSent checks that an error, if there is one, is a NotSentError. It
// compares a retryAfter above zero.
func checkNotSent(t *testing.T, err error, retryAfter time.Duration) {
	t.Helper()
	if err == nil {
		return
	}
	var notSent *hold.CallNotSentError
	if !errors.As(err, &notSent) || notSent.RetryAfter <= 0 ||
		retryAfter > 0 && notSent.RetryAfter != retryAfter {
		t.Errorf("%#v, want a NotSentError to be retried after %s", err, retryAfter)
	}
}

func TestCaller_ObservesBudgetOperation(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answer = func(context.Context, hold.Call) hold.Answer {
			time.Sleep(3 * time.Second)
			return hold.Answer{Kind: hold.AnswerDeclined}
		}
		for op, want := range map[hold.Op]hold.Op{
			hold.OpCapture: hold.OpCapture,
			hold.OpList:    hold.OpRead,
			hold.OpConfirm: hold.OpAuthorize,
			hold.OpUpdate:  hold.OpUpdate,
			hold.OpCheck:   hold.OpCheck,
		} {
			e.observed = nil
			if _, err := e.Do(t.Context(), hold.Call{Op: op}); err != nil {
				t.Fatal(err)
			}
			call := observedCall{want, hold.AnswerDeclined, 3 * time.Second}
			if !slices.Equal(e.observed, []observedCall{call}) {
				t.Errorf("%s: %+v", op, e.observed)
			}
		}
	})
}

func TestCaller_BoundsEachCall(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answer = func(ctx context.Context, _ hold.Call) hold.Answer {
			<-ctx.Done()
			return hold.Answer{Kind: hold.AnswerUnknown}
		}
		if kind := e.do(t); kind != hold.AnswerUnknown || time.Since(e.start) != callTimeout {
			t.Errorf("%s after %s", kind, time.Since(e.start))
		}
		if len(e.observed) != 1 {
			t.Errorf("%+v", e.observed)
		}
	})
}

func TestReserveAndDo_WaitsForBudget(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name         string
		reservations []hold.BudgetReservation
		maxWait      time.Duration
		sentAt       time.Duration // -1: not sent
		retryAfter   time.Duration
	}{
		{"reserved for now", []hold.BudgetReservation{{Requests: 1}}, 0, 0, 0},
		{"reserved for later", []hold.BudgetReservation{{Requests: 1, First: 150 * ms}}, 0, 150 * ms, 0},
		{"used up", []hold.BudgetReservation{{Wait: 700 * ms}}, 0, -1, 700 * ms},
		{"used up for too long",
			[]hold.BudgetReservation{{Wait: 3001 * ms}},
			3 * time.Second, -1, 3001 * ms},
		{"used up for a while",
			[]hold.BudgetReservation{{Wait: 2 * time.Second}, {Requests: 1, First: 100 * ms}},
			3 * time.Second, 2100 * ms, 0},
		{"used up again after the wait",
			[]hold.BudgetReservation{{Wait: 2 * time.Second}, {Wait: 2 * time.Second}},
			3 * time.Second, -1, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runWithCaller(t, func(t *testing.T, e *callerEnv) {
				e.reserve = func(string, hold.Op, int) (hold.BudgetReservation, error) {
					return tt.reservations[len(e.reserved)-1], nil
				}
				call := hold.Call{Op: hold.OpList, Account: testAccountID}
				_, err := e.WaitForBudgetAndSend(t.Context(), call, tt.maxWait)
				checkNotSent(t, err, tt.retryAfter)
				if want := tt.sentAt >= 0; (err == nil) != want || (len(e.sent) == 1) != want {
					t.Fatalf("%v, sent %v", err, e.sent)
				}
				if err == nil && e.sentAt[0] != tt.sentAt {
					t.Errorf("sent after %s, want %s", e.sentAt[0], tt.sentAt)
				}
				for _, r := range e.reserved {
					if r != (reserveCall{testAccountID, hold.OpRead, 1, gateway.ReserveAhead}) {
						t.Errorf("%+v", r)
					}
				}
				if len(e.reserved) != len(tt.reservations) {
					t.Errorf("%d reservations", len(e.reserved))
				}
			})
		})
	}
}

func TestReserveAndDo_NotSent(t *testing.T) {
	t.Run("store down", func(t *testing.T) {
		runWithCaller(t, func(t *testing.T, e *callerEnv) {
			e.reserve = func(string, hold.Op, int) (hold.BudgetReservation, error) {
				return hold.BudgetReservation{}, errStoreDown
			}
			_, err := e.WaitForBudgetAndSend(t.Context(), hold.Call{Op: hold.OpRead}, time.Minute)
			checkNotSent(t, err, time.Second)
			if err == nil || len(e.sent) != 0 || len(e.reported) != 1 {
				t.Errorf("%v, sent %v, reported %q", err, e.sent, e.reported)
			}
		})
	})
	t.Run("caller cancels while it waits", func(t *testing.T) {
		runWithCaller(t, func(t *testing.T, e *callerEnv) {
			e.reserve = func(string, hold.Op, int) (hold.BudgetReservation, error) {
				return hold.BudgetReservation{Wait: 30 * time.Second}, nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := e.WaitForBudgetAndSend(ctx, hold.Call{Op: hold.OpRead}, time.Minute)
			checkNotSent(t, err, time.Second)
			if err == nil || len(e.sent) != 0 || time.Since(e.start) != time.Second {
				t.Errorf("%v after %s, sent %v", err, time.Since(e.start), e.sent)
			}
		})
	})
}

// TestCaller_AppliesLateAnswers checks that an answer counts although the
// caller canceled before it.
func TestCaller_AppliesLateAnswers(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answer = func(ctx context.Context, _ hold.Call) hold.Answer {
			<-ctx.Done()
			return hold.Answer{Kind: hold.AnswerUnauthorized}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, err := e.Do(ctx, hold.Call{Op: hold.OpCapture})
		if err != nil || a.Kind != hold.AnswerUnauthorized ||
			!e.IsKeyRejected() || len(e.observed) != 1 {
			t.Errorf("%+v %v, rejected %t, observed %+v", a, err, e.IsKeyRejected(), e.observed)
		}
	})
}

func TestCaller_KeyRejectedAndAcceptedAgain(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answerAlways(hold.AnswerUnauthorized)
		for range 10 {
			e.do(t)
		}
		if !e.IsKeyRejected() || e.IsStripeAvailable() || e.IsBreakerOpen() ||
			e.MaxInFlightByBreaker() != 0 {
			t.Errorf("rejected %t, available %t, open %t, %d in flight",
				e.IsKeyRejected(), e.IsStripeAvailable(), e.IsBreakerOpen(), e.MaxInFlightByBreaker())
		}
		e.answerAlways(hold.AnswerUnknown) // says nothing about the key
		if e.do(t); !e.IsKeyRejected() {
			t.Error("accepted without an answer")
		}
		e.answerAlways(hold.AnswerForbidden)
		if e.do(t); e.IsKeyRejected() || !e.IsStripeAvailable() || e.MaxInFlightByBreaker() != -1 {
			t.Errorf("rejected %t after an answer, available %t", e.IsKeyRejected(),
				e.IsStripeAvailable())
		}
		if e.logs.FilterMessageSnippet("Stripe rejects the key").Len() != 1 ||
			e.logs.FilterMessage("Stripe accepts the key again").Len() != 1 {
			t.Errorf("%+v", e.logs.All())
		}
	})
}

// A 429 for a rate slows all replicas even if Stripe-Should-Retry made its answer
// a replayed error. One for a single object slows nobody.
func TestCaller_LowersRateWhenARetryIsUseless(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		var scope hold.ExceededRateLimit
		e.answer = func(context.Context, hold.Call) hold.Answer {
			return hold.Answer{Kind: hold.AnswerReplayedError, RateLimited: true,
				RateLimitScope: scope}
		}
		call := hold.Call{Op: hold.OpCapture, Account: testAccountID}
		for _, scope = range []hold.ExceededRateLimit{
			hold.LimitOfEndpoint, hold.LimitOfObject, hold.LimitOfAccount,
		} {
			if _, err := e.Do(t.Context(), call); err != nil {
				t.Error(err)
			}
		}
		want := []lowerCall{
			{testAccountID, hold.OpCapture, hold.LimitOfEndpoint},
			{testAccountID, hold.OpCapture, hold.LimitOfAccount},
		}
		if !slices.Equal(e.lowered, want) || e.paused != nil {
			t.Errorf("%+v, want %+v; paused %+v", e.lowered, want, e.paused)
		}
	})
}

func TestCaller_SlowsAccountAfterRefusal(t *testing.T) {
	lowers := func(op hold.Op) []lowerCall {
		return []lowerCall{{account: testAccountID, op: op}}
	}
	pause := func(op hold.Op, d time.Duration) []pauseCall {
		return []pauseCall{{testAccountID, op, d}}
	}
	for _, tt := range []struct {
		op      hold.Op
		kind    hold.AnswerKind
		want    []pauseCall
		lowered []lowerCall
		limited int64
	}{
		{hold.OpCapture, hold.AnswerRateLimited, nil, lowers(hold.OpCapture), 1},
		{hold.OpList, hold.AnswerRateLimited, nil, lowers(hold.OpRead), 1},
		{hold.OpConfirm, hold.AnswerForbidden, pause(hold.OpAuthorize, time.Minute), nil, 0},
		{hold.OpCapture, hold.AnswerLockTimeout, nil, nil, 0}, // one intent is busy
		{hold.OpCapture, hold.AnswerUnauthorized, nil, nil, 0},
		{hold.OpCheck, hold.AnswerRateLimited, nil, nil, 0},
		{hold.OpCheck, hold.AnswerForbidden, nil, nil, 0},
	} {
		runWithCaller(t, func(t *testing.T, e *callerEnv) {
			e.answerAlways(tt.kind)
			call := hold.Call{Op: tt.op, Account: testAccountID}
			if _, err := e.Do(t.Context(), call); err != nil {
				t.Error(err)
			}
			if !slices.Equal(e.paused, tt.want) || !slices.Equal(e.lowered, tt.lowered) {
				t.Errorf("%s, %s: %+v %+v, want %+v %+v", tt.op, tt.kind, e.paused, e.lowered,
					tt.want, tt.lowered)
			}
			if len(e.reported) != len(tt.want)+len(tt.lowered) {
				t.Errorf("%s, %s: reported %q", tt.op, tt.kind, e.reported)
			}
			if n := e.TakeRateLimitedCount(); n != tt.limited || e.TakeRateLimitedCount() != 0 {
				t.Errorf("%s, %s: %d rate limited", tt.op, tt.kind, n)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	probes := func(e *callerEnv) (n int) {
		for _, c := range e.sent {
			if c.Op == hold.OpCheck {
				n++
			}
		}
		return n
	}
	t.Run("available", func(t *testing.T) {
		runWithCaller(t, func(t *testing.T, e *callerEnv) {
			if e.ProbeIfUnavailable(t.Context()) || probes(e) != 0 {
				t.Error("probed although Stripe is available")
			}
		})
	})
	t.Run("outage", func(t *testing.T) {
		runWithCaller(t, func(t *testing.T, e *callerEnv) {
			e.answerAlways(hold.AnswerUnknown)
			for range 5 {
				e.do(t)
			}
			for range 6 { // the verify job probes every 5 seconds
				if e.ProbeIfUnavailable(t.Context()) {
					t.Error("probed while the breaker is open")
				}
				time.Sleep(5*time.Second + 1)
				if !e.ProbeIfUnavailable(t.Context()) {
					t.Error("not probed while the breaker is half-open")
				}
			}
			e.answerAlways(hold.AnswerOK)
			time.Sleep(5*time.Second + 1)
			if !e.ProbeIfUnavailable(t.Context()) || !e.IsStripeAvailable() || probes(e) != 7 {
				t.Errorf("available %t after %d probes", e.IsStripeAvailable(), probes(e))
			}
		})
	})
	t.Run("key rejected", func(t *testing.T) {
		runWithCaller(t, func(t *testing.T, e *callerEnv) {
			e.answerAlways(hold.AnswerUnauthorized)
			e.do(t)
			for range 60 / 5 {
				e.ProbeIfUnavailable(t.Context())
				time.Sleep(5 * time.Second)
			}
			if probes(e) != 2 {
				t.Errorf("%d probes in a minute, want one every 30 seconds", probes(e))
			}
			e.answerAlways(hold.AnswerOK)
			if !e.ProbeIfUnavailable(t.Context()) || !e.IsStripeAvailable() {
				t.Error("unavailable although Stripe accepts the key")
			}
		})
	})
}
