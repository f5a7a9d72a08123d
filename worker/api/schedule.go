package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// HoldScheduler schedules holds. intake.Scheduler implements it.
type HoldScheduler interface {
	// Schedule returns one result for each request, in their order.
	Schedule(ctx context.Context, reqs []hold.ScheduleRequest, by string) []intake.ScheduleResult
}

// batchPath is the route of batches. Their bodies may be larger than others.
const batchPath = "/v1/holds:batch"

type scheduleBatchOutput struct {
	Body BatchResponse
}

// scheduleHandler accepts requests to schedule holds.
type scheduleHandler struct {
	responseBuilder
	scheduler HoldScheduler
}

func (s *scheduleHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "scheduleHold", Method: http.MethodPost, Path: "/v1/holds",
		DefaultStatus: http.StatusCreated, Tags: []string{"holds"},
		Summary: "Schedule a hold",
		Description: "holdd captures or releases the hold at its time. " +
			"A repeated request returns 200 and the hold as it is. Other terms return 409 " +
			"`hold_exists`. " +
			"A time after the authorization's deadline returns 422 `after_deadline`, with " +
			"`deadline`, and so does a `capture_at` so shortly before it that the capture job " +
			"may run only after it. " +
			"A `capture_at` within the expiry margin is accepted with the warning " +
			"`near_deadline` in `warnings`. " +
			"If the deadline is so near that `on_expiry` would act at once, the request returns " +
			"422 `would_cancel_now` or `would_capture_now` unless `confirm` is true. " +
			"If holdd learns such a deadline only later, the hold requires attention and " +
			"`on_expiry` does not act, unless `confirm` was true.",
	}, s.schedule)
	huma.Register(doc, huma.Operation{
		OperationID: "scheduleHolds", Method: http.MethodPost, Path: batchPath,
		Tags:    []string{"holds"},
		Summary: "Schedule many holds",
		Description: "Up to 1000 holds. Each has its own result, in the order of the request: " +
			"check the `status` of each. " +
			"A response of 503 means that no hold of the batch could be processed.",
	}, s.scheduleBatch)
}

func (s *scheduleHandler) schedule(ctx context.Context, _ *noParamsInput) (*holdOutput, error) {
	c := requestInfoFromContext(ctx)
	var req hold.ScheduleRequest
	if err := c.decodeRequiredBody(&req); err != nil {
		return nil, s.logAndConvertError(ctx, err)
	}
	results := s.scheduler.Schedule(ctx, []hold.ScheduleRequest{req}, c.by)
	if len(results) != 1 {
		return nil, s.logAndConvertError(ctx, errResultCount)
	}
	r := &results[0]
	if r.Err != nil {
		return nil, s.logAndConvertError(ctx, r.Err)
	}
	out := s.newHoldResponse(&r.Hold, viewTimeOfResult(r), http.StatusOK, false)
	if r.Created {
		out.Status, out.Location = http.StatusCreated, "/v1/holds/"+r.Hold.ID
	}
	return out, nil
}

var errResultCount = errors.New("the scheduler did not return one result for each request")

func (s *scheduleHandler) scheduleBatch(
	ctx context.Context, _ *noParamsInput,
) (*scheduleBatchOutput, error) {
	c := requestInfoFromContext(ctx)
	var reqs []hold.ScheduleRequest
	var problems []*Problem // one for each request; nil: it is valid
	err := c.decodeJSONBodyWith(true, func(b []byte) (err error) {
		reqs, problems, err = decodeScheduleBatch(b)
		return err
	})
	if err != nil {
		return nil, s.logAndConvertError(ctx, err)
	}
	valid := reqs[:0] // in place: each is read before it is overwritten
	for i := range reqs {
		if problems[i] == nil {
			valid = append(valid, reqs[i])
		}
	}
	var scheduled []intake.ScheduleResult
	if len(valid) > 0 {
		scheduled = s.scheduler.Schedule(ctx, valid, c.by)
	}
	if len(scheduled) != len(valid) {
		return nil, s.logAndConvertError(ctx, errResultCount)
	}
	results := make([]BatchResult, len(problems))
	var failures batchFailureStats
	for i, p := range problems {
		if p != nil {
			results[i] = BatchResult{Status: p.Status, Problem: p}
			continue
		}
		results[i] = s.newBatchItemResult(&scheduled[0], &failures)
		scheduled = scheduled[1:]
	}
	failures.log(s.log, c)
	if failures.unavailable == len(results) {
		return nil, failures.lastUnavailable
	}
	return &scheduleBatchOutput{Body: BatchResponse{Results: results}}, nil
}

func (s *scheduleHandler) newBatchItemResult(
	r *intake.ScheduleResult, failures *batchFailureStats,
) BatchResult {
	if r.Err != nil {
		p, callerError := problemFromError(r.Err)
		if !callerError {
			failures.add(p, r.Err)
		}
		return BatchResult{Status: p.Status, Problem: p}
	}
	v := s.newHoldView(&r.Hold, viewTimeOfResult(r), false)
	if r.Created {
		return BatchResult{Status: http.StatusCreated, Hold: &v}
	}
	return BatchResult{Status: http.StatusOK, Hold: &v}
}

// batchFailureStats counts the holds of a batch that failed through no fault of
// the caller. A batch logs one line, however many of its holds failed.
type batchFailureStats struct {
	holds, unavailable int
	lastUnavailable    *Problem
	lastErr            error
}

func (f *batchFailureStats) add(p *Problem, err error) {
	f.holds++
	f.lastErr = err
	if p.Code == Unavailable || p.Code == StorageFull {
		f.unavailable++
		f.lastUnavailable = p
	}
}

func (f *batchFailureStats) log(log *zap.Logger, c *requestInfo) {
	if f.holds == 0 {
		return
	}
	log.Error("holds of a batch were not scheduled",
		append(c.logFields(), zap.Int("holds", f.holds), zap.Error(f.lastErr))...)
}

// viewTimeOfResult is the time at which a scheduled hold is shown. For a hold
// that existed before, the time decides only whether it is shown as scheduled
// or ready, so the local clock is good enough.
func viewTimeOfResult(r *intake.ScheduleResult) time.Time {
	if r.Created {
		return r.Hold.CreatedAt
	}
	return time.Now()
}
