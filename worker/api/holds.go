package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

type noInput struct{}

// changeHoldInput names one hold, and the revision it must have.
type changeHoldInput struct {
	ID      string `path:"id" maxLength:"100" doc:"The PaymentIntent that first placed the hold" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	IfMatch string `header:"If-Match" maxLength:"100" doc:"ETag of the hold as you know it: the change is refused with 412 if the hold has changed since" example:"\"3\""`
}

type getHoldInput struct {
	ID string `path:"id" maxLength:"100" doc:"The PaymentIntent that first placed the hold" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
}

type holdOutput struct {
	Status   int
	ETag     string `header:"ETag" doc:"The hold's revision, for If-Match" example:"\"3\""`
	Location string `header:"Location" doc:"Path of the hold, if it was created"`
	Body     hold.View
}

type scheduleBatchOutput struct {
	Body BatchResponse
}

func (a *API) registerHolds(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "scheduleHold", Method: http.MethodPost, Path: "/v1/holds",
		DefaultStatus: http.StatusCreated, Tags: []string{"holds"},
		Summary: "Schedule a hold",
		Description: "The hold will be captured or released at its time. The same request again answers 200 and the hold as it is; other terms answer 409 `hold_exists`; a time beyond the end of the authorization answers 422 `after_deadline`, with `deadline`. " +
			"If the authorization ends so soon that `on_expiry` would act at once, the answer is 422 `would_cancel_now` or `would_capture_now` unless `confirm` is true. " +
			"If the deadline could not be read and turns out to be that near, the hold requires attention and `on_expiry` does not act, unless `confirm` was true.",
	}, a.scheduleHold)
	huma.Register(doc, huma.Operation{
		OperationID: "scheduleHolds", Method: http.MethodPost, Path: "/v1/holds:batch",
		Tags:        []string{"holds"},
		Summary:     "Schedule many holds",
		Description: "Up to 1000 holds, each answered by itself and in the same order: look at each result's `status`. 503 tells that none of them could be tried.",
	}, a.scheduleBatch)
	huma.Register(doc, huma.Operation{
		OperationID: "getHold", Method: http.MethodGet, Path: "/v1/holds/{id}",
		Tags:    []string{"holds"},
		Summary: "One hold, with its history",
	}, a.getHold)
	huma.Register(doc, huma.Operation{
		OperationID: "changeHold", Method: http.MethodPatch, Path: "/v1/holds/{id}",
		Tags:        []string{"holds"},
		Summary:     "Change a hold's terms",
		Description: "Fields left out stay as they are. Setting one time clears the other; an empty time clears it. Once the hold is being worked on the answer is 409 `too_late`. A change after which `on_expiry` acts at once answers 422 `would_cancel_now` or `would_capture_now` unless `confirm` is true.",
	}, a.patchHold)
}

func (a *API) registerTriggers(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "captureHold", Method: http.MethodPost, Path: "/v1/holds/{id}/capture",
		DefaultStatus: http.StatusAccepted, Tags: []string{"triggers"},
		Summary:     "Take the money now",
		Description: "Accepted and carried out at once by the worker: the hold tells the outcome. Without a body, what the hold's terms say is taken.",
	}, a.captureHold)
	register := func(id, verb, summary, description string, status int, do func(ctx context.Context,
		in *changeHoldInput, revision uint64, by string) (hold.Hold, time.Time, error)) {
		huma.Register(doc, huma.Operation{
			OperationID: id, Method: http.MethodPost, Path: "/v1/holds/{id}/" + verb,
			DefaultStatus: status, Tags: []string{"triggers"},
			Summary: summary, Description: description,
		}, func(ctx context.Context, in *changeHoldInput) (*holdOutput, error) {
			return a.changeHold(ctx, in, func(revision uint64, by string) (
				hold.Hold, time.Time, error) {
				return do(ctx, in, revision, by)
			}, status)
		})
	}
	trigger := func(id, verb, summary, description string, status int,
		do func(context.Context, string, uint64, string) (hold.Hold, time.Time, error)) {
		register(id, verb, summary, description, status,
			func(ctx context.Context, in *changeHoldInput, revision uint64, by string) (
				hold.Hold, time.Time, error) {
				if err := requestInfoFrom(ctx).readJSONBody(maxSingleBodyBytes, false,
					decodeEmpty); err != nil {
					return hold.Hold{}, time.Time{}, err
				}
				return do(ctx, in.ID, revision, by)
			})
	}
	confirmed := func(id, verb, summary, description string, do func(context.Context, string,
		uint64, bool, string) (hold.Hold, time.Time, error)) {
		register(id, verb, summary, description+
			" If `on_expiry` then acts at once, the answer is 422 `would_cancel_now` or `would_capture_now` unless `confirm` is true.", http.StatusOK,
			func(ctx context.Context, in *changeHoldInput, revision uint64, by string) (
				hold.Hold, time.Time, error) {
				var confirm bool
				err := requestInfoFrom(ctx).readJSONBody(maxSingleBodyBytes, false,
					func(b []byte) (err error) {
						confirm, err = decodeConfirm(b)
						return err
					})
				if err != nil {
					return hold.Hold{}, time.Time{}, err
				}
				return do(ctx, in.ID, revision, confirm, by)
			})
	}
	h := a.opts.Holds
	trigger("cancelHold", "cancel", "Let the money go now",
		"Accepted and carried out at once by the worker. From here on nothing captures this hold any more.", http.StatusAccepted, h.Cancel)
	confirmed("pauseHold", "pause", "Put off the hold's own time",
		"Until it is resumed. The end of the authorization isn't put off by it.", h.Pause)
	confirmed("resumeHold", "resume", "Go on with a paused hold",
		"A time that passed meanwhile means now.", h.Resume)
	trigger("acknowledgeHold", "acknowledge", "Say that a person knows of the deadline",
		"Silences the warnings still to come, until the terms change.",
		http.StatusOK, h.Acknowledge)
}

func (a *API) scheduleHold(ctx context.Context, _ *noInput) (*holdOutput, error) {
	c := requestInfoFrom(ctx)
	var req hold.ScheduleRequest
	if err := c.readJSONBody(maxSingleBodyBytes, true,
		func(b []byte) error { return decodeStrict(b, &req) }); err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	done := a.opts.Holds.Schedule(ctx, []hold.ScheduleRequest{req}, c.by)
	if len(done) != 1 {
		return nil, a.logAndConvertError(ctx, errors.New("scheduling one hold did not give one answer"))
	}
	if done[0].Err != nil {
		return nil, a.logAndConvertError(ctx, done[0].Err)
	}
	out := a.holdResponse(&done[0].Hold, viewTime(&done[0]), http.StatusOK, false)
	if done[0].Created {
		out.Status, out.Location = http.StatusCreated, "/v1/holds/"+done[0].Hold.ID
	}
	return out, nil
}

func (a *API) scheduleBatch(ctx context.Context, _ *noInput) (*scheduleBatchOutput, error) {
	c := requestInfoFrom(ctx)
	var reqs []hold.ScheduleRequest
	var problems []*Problem
	err := c.readJSONBody(a.opts.MaxBatchBodyBytes, true, func(b []byte) (err error) {
		reqs, problems, err = decodeBatch(b)
		return err
	})
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	valid := reqs[:0] // in place: each is read before it is overwritten
	for i := range reqs {
		if problems[i] == nil {
			valid = append(valid, reqs[i])
		}
	}
	var done []intake.ScheduleResult
	if len(valid) > 0 {
		done = a.opts.Holds.Schedule(ctx, valid, c.by)
	}
	if len(done) != len(valid) {
		return nil, a.logAndConvertError(ctx, errors.New("scheduling a batch did not give an answer for each"))
	}
	results := make([]BatchResult, len(problems))
	views := make([]hold.View, len(done))
	var lastErr error // a thousand holds that met the same trouble are one line in the log
	failed, unavailable, next := 0, 0, 0
	for i, p := range problems {
		if p == nil {
			d := &done[next]
			if d.Err == nil {
				views[next] = d.Hold.View(viewTime(d), false)
				views[next].Livemode = a.opts.Livemode
				results[i] = BatchResult{Status: http.StatusOK, Hold: &views[next]}
				if d.Created {
					results[i].Status = http.StatusCreated
				}
				next++
				continue
			}
			next++
			var callerError bool
			if p, callerError = problemFromError(d.Err); !callerError {
				lastErr = d.Err
				failed++
			}
			if p.Code == Unavailable {
				unavailable++
			}
		}
		results[i] = BatchResult{Status: p.Status, Problem: p}
	}
	if failed > 0 {
		a.log.Error("holds of a batch could not be scheduled",
			append(c.logFields(), zap.Int("holds", failed), zap.Error(lastErr))...)
	}
	if unavailable == len(results) {
		p, _ := problemFromError(health.ErrUnavailable)
		return nil, p
	}
	return &scheduleBatchOutput{Body: BatchResponse{Results: results}}, nil
}

// viewTime is the time at which a scheduled hold is shown. An older one was
// read a moment ago; whether it is shown as scheduled or ready is all that
// depends on it.
func viewTime(d *intake.ScheduleResult) time.Time {
	if d.Created {
		return d.Hold.CreatedAt
	}
	return time.Now()
}

func (a *API) getHold(ctx context.Context, in *getHoldInput) (*holdOutput, error) {
	if err := checkPathID(in.ID); err != nil {
		return nil, err
	}
	h, now, err := a.opts.Holds.Get(ctx, in.ID)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	return a.holdResponse(&h, now, http.StatusOK, true), nil
}

func (a *API) patchHold(ctx context.Context, in *changeHoldInput) (*holdOutput, error) {
	return a.changeHold(ctx, in, func(revision uint64, by string) (hold.Hold, time.Time, error) {
		var p hold.Patch
		if err := requestInfoFrom(ctx).readJSONBody(maxSingleBodyBytes, true,
			func(b []byte) error { return decodePatch(b, &p) }); err != nil {
			return hold.Hold{}, time.Time{}, err
		}
		return a.opts.Holds.Patch(ctx, in.ID, p, revision, by)
	}, http.StatusOK)
}

func (a *API) captureHold(ctx context.Context, in *changeHoldInput) (*holdOutput, error) {
	return a.changeHold(ctx, in, func(revision uint64, by string) (hold.Hold, time.Time, error) {
		var amount int64
		err := requestInfoFrom(ctx).readJSONBody(maxSingleBodyBytes, false,
			func(b []byte) (err error) {
				amount, err = decodeCapture(b)
				return err
			})
		if err == nil && amount < 0 {
			err = newProblem(hold.InvalidAmount, "amount", strconv.FormatInt(amount, 10)+
				" is negative: send minor units, such as 1250 for 12.50")
		}
		if err != nil {
			return hold.Hold{}, time.Time{}, err
		}
		h, now, err := a.opts.Holds.Capture(ctx, in.ID, amount, revision, by)
		var p *hold.Problem
		if errors.As(err, &p) && p.Field == "capture_amount" {
			// its name in the terms, not in this request
			q := *p
			q.Field = "amount"
			err = &q
		}
		return h, now, err
	}, http.StatusAccepted)
}

// changeHold checks what all changes to one hold have in common.
func (a *API) changeHold(
	ctx context.Context, in *changeHoldInput, do func(revision uint64, by string) (hold.Hold,
		time.Time, error), status int,
) (*holdOutput, error) {
	if err := checkPathID(in.ID); err != nil {
		return nil, err
	}
	revision, err := parseIfMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	h, now, err := do(revision, requestInfoFrom(ctx).by)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	return a.holdResponse(&h, now, status, false), nil
}

func (a *API) holdResponse(h *hold.Hold, now time.Time, status int, history bool) *holdOutput {
	out := &holdOutput{Status: status, ETag: formatETag(h.Revision), Body: h.View(now, history)}
	out.Body.Livemode = a.opts.Livemode
	return out
}

func checkPathID(id string) error {
	var p *hold.Problem
	if errors.As(hold.CheckPaymentIntentID(id), &p) {
		q := problemFromHold(p)
		q.Field = "id"
		return q
	}
	return nil
}

// parseIfMatch reads the one revision that a change is meant for; 0: any. A
// list or a weak tag can't name one revision.
func parseIfMatch(s string) (uint64, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "*" {
		return 0, nil
	}
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		if n, err := strconv.ParseUint(s[1:len(s)-1], 10, 64); err == nil && n > 0 &&
			s[1] != '0' && s[1] != '+' {
			return n, nil
		}
	}
	return 0, newProblem(InvalidIfMatch, "If-Match",
		`send the ETag of the hold as it came, such as "3", or leave it out`)
}
