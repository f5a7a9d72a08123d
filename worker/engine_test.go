package worker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// fakeCommitter records the sizes of batches. It fails a configured number of
// times.
type fakeCommitter struct {
	failures int
	taken    time.Duration // by each commit
	batches  []int
	lateness []time.Duration
}

func (c *fakeCommitter) Commit(_ context.Context, changes []commit.Change) ([]bool, error) {
	time.Sleep(c.taken)
	if c.failures > 0 {
		c.failures--
		return nil, errors.New("connection refused")
	}
	c.batches = append(c.batches, len(changes))
	for i := range changes {
		c.lateness = append(c.lateness, changes[i].Lateness)
	}
	return slices.Repeat([]bool{true}, len(changes)), nil
}

// runCompleter runs a completer in the background and returns where outcomes go
// and what its end closes.
func runCompleter(
	stopping context.Context, c Committer, f *claimsInFlight,
) (chan<- claimOutcome, <-chan struct{}) {
	outcomes, done := make(chan claimOutcome, 1000), make(chan struct{})
	completer := newCompleter(c, f, outcomes, CompleterOptions{
		Concurrency: f.concurrency, Health: health.NewRedisHealthReporter(zap.NewNop()),
		Wake: func() {}, Logger: zap.NewNop(),
	})
	go func() {
		completer.Run(stopping)
		close(done)
	}()
	return outcomes, done
}

func TestCompleter_BatchesOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		awaiting int64         // claims that still await Stripe
		arrive   time.Duration // between two outcomes
		taken    time.Duration // by each commit
		want     []int
	}{
		{name: "no others are about to come", arrive: time.Millisecond,
			want: []int{1, 1, 1, 1, 1, 1}},
		{name: "others are about to come", awaiting: 10, arrive: 2 * time.Millisecond,
			want: []int{3, 3}},
		{name: "as many as there are workers", awaiting: 10, arrive: time.Millisecond,
			want: []int{4, 2}},
		{name: "what arrives during a commit shares the next", arrive: time.Millisecond,
			taken: 10 * time.Millisecond,
			want:  []int{1, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &claimsInFlight{concurrency: 4}
				f.awaitingStripe.Store(tt.awaiting)
				f.uncommitted.Store(6)
				c := &fakeCommitter{taken: tt.taken}
				outcomes, done := runCompleter(t.Context(), c, f)
				for i := range 6 {
					if i > 0 {
						time.Sleep(tt.arrive)
					}
					outcomes <- claimOutcome{}
				}
				time.Sleep(time.Second)
				close(outcomes)
				<-done
				if !slices.Equal(c.batches, tt.want) || f.uncommitted.Load() != 0 {
					t.Errorf("batches %v, want %v; %d uncommitted", c.batches,
						tt.want, f.uncommitted.Load())
				}
			})
		})
	}
}

// Outcomes outlive an outage of Redis, but not for ever once the worker stops.
func TestCompleter_KeepsOutcomesDuringOutage(t *testing.T) {
	for _, tt := range []struct {
		name    string
		stopped bool
		fails   int
		want    []int
		least   time.Duration
		most    time.Duration
	}{
		{name: "running", fails: 1000, want: []int{1}, least: 30 * time.Minute, most: time.Hour},
		{name: "stopping, short outage", stopped: true, fails: 5, want: []int{1},
			least: time.Second, most: 2 * time.Second},
		{name: "stopping, long outage", stopped: true, fails: 1000, least: commitTimeoutAtStop,
			most: 2 * commitTimeoutAtStop},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopping, stop := context.WithCancel(t.Context())
				defer stop()
				if tt.stopped {
					stop()
				}
				c := &fakeCommitter{failures: tt.fails}
				began := time.Now()
				outcomes, done := runCompleter(stopping, c, &claimsInFlight{concurrency: 4})
				outcomes <- claimOutcome{}
				close(outcomes)
				<-done
				if took := time.Since(began); !slices.Equal(c.batches, tt.want) ||
					took < tt.least || took > tt.most {
					t.Errorf("batches %v after %s", c.batches, took)
				}
			})
		})
	}
}

// Lateness counts from the hold's own time where that is why it acts, and from
// the retry or request otherwise.
func TestCompleter_Lateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		c := &fakeCommitter{}
		outcomes, done := runCompleter(t.Context(), c, &claimsInFlight{concurrency: 4})
		capture := hold.Hold{CaptureAt: now.Add(-time.Minute), NextAt: now.Add(-time.Second),
			Reason: hold.CauseSchedule}
		trigger := capture
		trigger.Reason = hold.CauseTrigger
		early := hold.Hold{NextAt: now.Add(time.Second)}
		for _, h := range []hold.Hold{capture, trigger, early} {
			outcomes <- claimOutcome{before: h, at: now}
		}
		close(outcomes)
		<-done
		if want := []time.Duration{time.Minute, time.Second, 0}; !slices.Equal(c.lateness, want) {
			t.Errorf("lateness %v, want %v", c.lateness, want)
		}
	})
}

// fakeCaller refuses configured reservations and calls, and answers the rest.
type fakeCaller struct {
	reserve, do error
	answer      hold.Answer
	calls       []hold.Op
}

func (c *fakeCaller) WaitForBudget(context.Context, hold.Call, time.Duration) error { return c.reserve }

func (c *fakeCaller) Do(_ context.Context, call hold.Call) (hold.Answer, error) {
	if c.do != nil {
		return hold.Answer{}, c.do
	}
	c.calls = append(c.calls, call.Op)
	return c.answer, nil
}

// A hold for which nothing was sent is released as it was. Otherwise what is
// known by then is written.
func TestExecutor_SuspendsClaims(t *testing.T) {
	notSent := &hold.CallNotSentError{RetryAfter: 5 * time.Second}
	for _, tt := range []struct {
		name    string
		caller  fakeCaller
		read    bool          // the hold is read first, and the read asks for another call
		lease   time.Duration // 0: long
		stopped bool
		state   hold.State
		retry   time.Duration // from now; 0: at once
		again   bool
		calls   int
	}{
		{name: "stopping", stopped: true, state: hold.Scheduled, again: true},
		{name: "lease ends", lease: time.Second, state: hold.Scheduled, again: true},
		{name: "Stripe unavailable", caller: fakeCaller{do: notSent}, state: hold.Scheduled,
			retry: 5 * time.Second},
		{name: "captured",
			caller: fakeCaller{answer: hold.Answer{Kind: hold.AnswerOK, Intent: &hold.PaymentIntent{
				ID: "pi_3PxYzA2eZvKYlo2C", Status: hold.StatusSucceeded, Amount: 100,
				AmountReceived: 100, Currency: "eur"}}},
			state: hold.Captured, calls: 1},
		{name: "no budget after a read", read: true, caller: fakeCaller{reserve: notSent,
			answer: hold.Answer{Kind: hold.AnswerOK, Intent: &hold.PaymentIntent{
				ID:     "pi_3PxYzA2eZvKYlo2C",
				Status: hold.StatusRequiresCapture, Amount: 100,
				AmountCapturable: 100, Currency: "eur"}}},
			state: hold.Scheduled, retry: 5 * time.Second, calls: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now().UTC()
				h := hold.Hold{ID: "pi_3PxYzA2eZvKYlo2C", PaymentIntent: "pi_3PxYzA2eZvKYlo2C",
					State:  hold.Working,
					Amount: 100, Currency: "eur", Verified: true, NextOp: hold.OpCapture,
					NextAt: now, CaptureAt: now,
					ExpiresAt: now.Add(time.Hour), Reason: hold.CauseSchedule,
					ReadFirst: tt.read, Version: 7}
				claimed := claimedHold{claim: &hold.Claim{Hold: h, Since: now},
					reserved: hold.OpCapture,
					leaseEnd: now.Add(cmp.Or(tt.lease, time.Minute))}
				if tt.read {
					claimed.reserved = hold.OpRead
				}
				e := newExecutor(&tt.caller, &claimsInFlight{}, nil, nil,
					ExecutorOptions{CallTimeout: 10 * time.Second, Clock: &clock.RedisClock{},
						Health: health.NewRedisHealthReporter(zap.NewNop())})
				stopping, stop := context.WithCancel(t.Context())
				defer stop()
				if tt.stopped {
					stop()
				}
				out := e.executeClaim(stopping, t.Context(), claimed, &holdMachine{})
				after := out.decision.Hold
				if after.State != tt.state || out.decision.NextStepNow != tt.again ||
					len(tt.caller.calls) != tt.calls || out.before.Version != 7 {
					t.Errorf("%s, again %t, %d calls: %+v", after.State, out.decision.NextStepNow,
						len(tt.caller.calls), after)
				}
				if got := after.NextAt.Sub(now); !after.State.IsFinal() && got != tt.retry {
					t.Errorf("goes on in %s, want %s", got, tt.retry)
				}
			})
		})
	}
}
