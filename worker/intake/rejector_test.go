package intake_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

type failingRejector struct{ err error }

func (r failingRejector) Reject(context.Context, hold.RejectedRequest, string) error {
	return r.err
}

// rejectionSteps records what a rejector does, in order, and fails where it is
// told to.
type rejectionSteps struct {
	steps  []string
	failAt string
	data   event.EventData
}

func (s *rejectionSteps) step(name string) error {
	s.steps = append(s.steps, name)
	if name == s.failAt {
		return errors.New("no reply")
	}
	return nil
}

func (s *rejectionSteps) AppendRejectedRequest(context.Context, hold.RejectedRequest) error {
	return s.step("record")
}

func (s *rejectionSteps) PublishOnce(
	_ context.Context, t hold.EventType, about string, data event.EventData,
) (bool, error) {
	s.data = data
	return true, s.step("publish " + string(t) + " " + about)
}

func (s *rejectionSteps) InboxOrMetadataRequestRejected(source string, code hold.ProblemCode) {
	_ = s.step("count " + source + " " + string(code))
}

func TestReject_Order(t *testing.T) {
	req := hold.RejectedRequest{Source: "stripe", ID: "pi_12345678", Code: hold.InvalidTime,
		Field: "capture_at", Reason: "no time"}
	all := []string{"record", "publish metadata.rejected pi_12345678", "count stripe invalid_time"}
	for _, test := range []struct {
		name, failAt string
		steps        []string
	}{
		{"good", "", all},
		{"not recorded", all[0], all[:1]},
		{"not published", all[1], all[:2]},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			s := &rejectionSteps{failAt: test.failAt}
			r := intake.NewRejector(s, s, intake.RejectorOptions{
				Health: health.NewRedisHealthReporter(zap.NewNop()), Observer: s,
				Logger: zap.New(core)})
			err := r.Reject(t.Context(), req, "acct_12345678")
			if good := test.failAt == ""; (err == nil) != good || !good &&
				!errors.Is(err, health.ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			if !slices.Equal(s.steps, test.steps) {
				t.Errorf("steps %q, want %q", s.steps, test.steps)
			}
			logged := logs.FilterMessage("metadata.rejected").Len()
			if want := len(test.steps) / len(all); logged != want {
				t.Errorf("logged %d times, want %d", logged, want)
			}
			if test.failAt == "" {
				want := event.RequestRejection{Source: "stripe", ID: "pi_12345678",
					Account: "acct_12345678",
					Code:    "invalid_time", Field: "capture_at", Reason: "no time"}
				if s.data.Rejection == nil || *s.data.Rejection != want {
					t.Errorf("published %+v", s.data.Rejection)
				}
			}
		})
	}
}
