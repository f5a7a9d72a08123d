package execute_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// script is a machine that wants the calls of a list, each after its wait.
type script struct {
	ops     []hold.Op
	wait    time.Duration // before each call
	applied []hold.Op
	sentAt  time.Time // of the last call
}

func (s *script) NextCall(_ context.Context, now time.Time) (hold.Call, time.Duration, bool) {
	if len(s.applied) == len(s.ops) {
		return hold.Call{}, 0, false
	}
	if s.sentAt.IsZero() {
		s.sentAt = now
	}
	return hold.Call{Op: s.ops[len(s.applied)]}, max(0, s.wait-now.Sub(s.sentAt)), true
}

func (s *script) AdvanceWithAnswer(
	_ context.Context, call hold.Call, _ hold.Answer, now time.Time,
) {
	s.applied, s.sentAt = append(s.applied, call.Op), now
}

// caller answers every call and counts reservations.
type caller struct {
	reserved  []hold.Op
	takes     time.Duration // each reservation
	reserveOK func() error
	doOK      func() error
}

func (c *caller) WaitForBudget(ctx context.Context, call hold.Call, _ time.Duration) error {
	if c.reserveOK != nil {
		if err := c.reserveOK(); err != nil {
			return err
		}
	}
	if !execute.SleepUnlessCanceled(ctx, c.takes) {
		return &hold.CallNotSentError{Reason: "the caller went away"}
	}
	c.reserved = append(c.reserved, call.Op)
	return nil
}

func (c *caller) Do(context.Context, hold.Call) (hold.Answer, error) {
	if c.doOK != nil {
		if err := c.doOK(); err != nil {
			return hold.Answer{}, err
		}
	}
	return hold.Answer{Kind: hold.AnswerOK}, nil
}

func TestDrive_EndsAtItsLimits(t *testing.T) {
	read, capture := hold.OpRead, hold.OpCapture
	budget := &hold.CallNotSentError{Reason: "the budget is used up", RetryAfter: time.Minute}
	unavailable := &hold.CallNotSentError{Reason: "Stripe unavailable", RetryAfter: time.Second}
	for _, tt := range []struct {
		name     string
		machine  script
		caller   caller
		limits   execute.DriveLimits
		lease    time.Duration
		stop     time.Duration // after which the process stops; 0: never
		err      error
		sent     int
		reserved int
	}{
		{name: "machine done", machine: script{ops: []hold.Op{capture, read}}, sent: 2, reserved: 2},
		{name: "first request reserved already", machine: script{ops: []hold.Op{capture, read, capture}},
			limits: execute.DriveLimits{Reserved: capture}, sent: 3, reserved: 2},
		{name: "another kind reserved already", machine: script{ops: []hold.Op{read}},
			limits: execute.DriveLimits{Reserved: capture}, sent: 1, reserved: 1},
		{name: "calls spent", machine: script{ops: []hold.Op{capture, read, capture}},
			limits: execute.DriveLimits{MaxCalls: 2}, err: execute.ErrCallLimit, sent: 2,
			reserved: 2},
		{name: "lease too short for a call", machine: script{ops: []hold.Op{capture}}, lease: 9 * time.Second,
			err: execute.ErrLeaseTooShort},
		{name: "lease too short after the budget's wait", machine: script{ops: []hold.Op{capture}},
			caller: caller{takes: 3 * time.Second}, lease: 12 * time.Second, err: execute.ErrLeaseTooShort, reserved: 1},
		{name: "lease too short after the machine's wait", machine: script{ops: []hold.Op{capture}, wait: 3 * time.Second},
			lease: 12 * time.Second, err: execute.ErrLeaseTooShort},
		{name: "stops before the first call", machine: script{ops: []hold.Op{capture}, wait: time.Second},
			stop: time.Millisecond, err: execute.ErrStopping},
		{name: "stops while it waits for the budget", machine: script{ops: []hold.Op{capture}},
			caller: caller{takes: time.Second}, stop: time.Millisecond, err: execute.ErrStopping},
		{name: "budget used up", machine: script{ops: []hold.Op{capture}},
			caller: caller{reserveOK: func() error { return budget }}, err: budget},
		{name: "Stripe unavailable", machine: script{ops: []hold.Op{capture}},
			caller: caller{doOK: func() error { return unavailable }}, err: unavailable, reserved: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.limits.MaxCalls == 0 {
					tt.limits.MaxCalls = 4
				}
				if tt.lease == 0 {
					tt.lease = time.Minute
				}
				tt.limits.LeaseEnd = time.Now().Add(tt.lease)
				stopping, stop := context.WithCancel(t.Context())
				defer stop()
				if tt.stop > 0 {
					time.AfterFunc(tt.stop, stop)
				}
				d := execute.MachineDriver{Caller: &tt.caller, Now: time.Now,
					CallTimeout: 10 * time.Second}
				sent, err := d.Drive(stopping, t.Context(), &tt.machine, tt.limits)
				if !errors.Is(err, tt.err) || sent != tt.sent || len(tt.machine.applied) != tt.sent ||
					len(tt.caller.reserved) != tt.reserved {
					t.Errorf("sent %d, reserved %v, applied %v, error %v", sent, tt.caller.reserved, tt.machine.applied, err)
				}
			})
		})
	}
}

// A machine that is done after its last answer ends without an error even if
// the process stops at that moment: what it has come to must be written.
func TestDrive_FinishedMachineWinsOverStop(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	m := script{ops: []hold.Op{hold.OpCapture}}
	c := caller{doOK: func() error { stop(); return nil }}
	d := execute.MachineDriver{Caller: &c, Now: time.Now, CallTimeout: time.Second}
	sent, err := d.Drive(stopping, t.Context(), &m, execute.DriveLimits{MaxCalls: 4,
		LeaseEnd: time.Now().Add(time.Minute)})
	if sent != 1 || err != nil {
		t.Errorf("sent %d, error %v", sent, err)
	}
}

func TestBackoff_DoublesUpToItsLimit(t *testing.T) {
	want := []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000}
	for i, w := range want {
		if got := execute.Backoff(i+1, 50*time.Millisecond, 2*time.Second); got != w*time.Millisecond {
			t.Errorf("try %d: %s, want %s", i+1, got, w*time.Millisecond)
		}
	}
	if got := execute.Backoff(1000, time.Second, time.Minute); got != time.Minute {
		t.Errorf("try 1000: %s", got)
	}
}
