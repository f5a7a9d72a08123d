package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
)

// HoldChanger changes holds. intake.Changer implements it.
type HoldChanger interface {
	PatchTerms(ctx context.Context, id string, p hold.Patch, revision uint64, by string) (
		hold.Hold, time.Time, error)
	RequestCapture(
		ctx context.Context, id string, req hold.CaptureRequest, revision uint64, by string,
	) (hold.Hold, time.Time, error)
	RequestCancel(ctx context.Context, id, reason string, revision uint64, by string) (
		hold.Hold, time.Time, error)
	RequestIncrementAndWait(ctx context.Context, id string, req hold.IncrementRequest, revision uint64,
		by string) (hold.Hold, time.Time, error)
	PauseHold(ctx context.Context, id string, revision uint64, confirmed bool, by string) (
		hold.Hold, time.Time, error)
	ResumeHold(ctx context.Context, id string, revision uint64, confirmed bool, by string) (
		hold.Hold, time.Time, error)
	AcknowledgeWarnings(ctx context.Context, id string, revision uint64, by string) (
		hold.Hold, time.Time, error)
}

// changeHoldInput names one hold, and the revision that it must have.
type changeHoldInput struct {
	ID      string `path:"id" maxLength:"200" doc:"The PaymentIntent that first placed the hold, or the hold's reference" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	IfMatch string `header:"If-Match" maxLength:"100" doc:"The ETag that you read. If the hold has changed since, the request returns 412" example:"\"3\""`
}

// holdTermsAndActionHandler changes terms and acts on holds.
type holdTermsAndActionHandler struct {
	responseBuilder
	changer HoldChanger
	reader  HoldReader
}

// changeFunc reads the request's body and makes one kind of change.
type changeFunc func(ctx context.Context, id string, revision uint64, by string) (
	hold.Hold, time.Time, error)

// outcomeStatus is the status of a change that waits for its outcome: 200 with
// the outcome, 202 without.
const outcomeStatus = 0

const confirmDescription = " If `on_expiry` then acts at once, the request returns 422 " +
	"`would_cancel_now` or `would_capture_now` unless `confirm` is true."

func (h *holdTermsAndActionHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "changeHold", Method: http.MethodPatch, Path: "/v1/holds/{id}",
		Tags:    []string{"holds"},
		Summary: "Change a hold's terms",
		Description: "Absent fields keep their values. Setting one time clears the other. An " +
			"empty time clears it. " +
			"Once the worker acts on the hold, the request returns 409 `too_late`." +
			confirmDescription,
	}, h.newChangeHandlerFunc(http.StatusOK, h.patchTerms))

	for _, a := range []struct {
		operationID, verb    string
		status               int
		change               changeFunc
		summary, description string
	}{
		{"captureHold", "capture", http.StatusAccepted, h.requestCapture, "Capture the money now",
			"The worker captures at once. The hold's state shows the outcome. Without a body it " +
				"captures the amount of the hold's terms. The other fields replace terms of the hold. " +
				"With `final` false it keeps the rest held, and the hold returns to its terms; the " +
				"request needs an Idempotency-Key or If-Match, and a charge without multicapture " +
				"returns 422 `multicapture_unavailable`."},
		{"cancelHold", "cancel", http.StatusAccepted, h.requestCancel, "Release the money now",
			"The worker releases at once. Once the request is accepted, nothing captures the " +
				"hold any more. Once a cancel is accepted, another `cancellation_reason` returns " +
				"409 `cancel_accepted`."},
		{"incrementHold", "increment", outcomeStatus, h.requestIncrementAndWait,
			"Raise the authorized amount",
			"Asks the bank to authorize `amount` in total, and waits for its answer. If the bank " +
				"declines, the request returns 409 `declined` with the bank's `decline_code`, " +
				"and the old amount stays held. Without an answer within 15 s it returns 202, and " +
				"`increment` of the hold shows that it is pending; holdd tries for 10 minutes, " +
				"but not beyond the time of the hold's capture or release. Without incremental " +
				"authorization, a hold with `renewal.max_amount` gets a new authorization of the " +
				"saved card, and its `payment_intent` changes; any other returns 422 " +
				"`increment_unavailable`."},
		{"pauseHold", "pause", http.StatusOK, h.pauseHold, "Suspend the hold's own time",
			"It stays suspended until the hold is resumed. The authorization's deadline stays." +
				confirmDescription},
		{"resumeHold", "resume", http.StatusOK, h.resumeHold, "Resume a paused hold",
			"If its time has passed, the worker acts now." + confirmDescription},
		{"acknowledgeHold", "acknowledge", http.StatusOK, h.acknowledgeWarnings,
			"Acknowledge the deadline's warnings",
			"Silences the remaining warnings until the terms change."},
	} {
		huma.Register(doc, huma.Operation{
			OperationID: a.operationID, Method: http.MethodPost, Path: "/v1/holds/{id}/" + a.verb,
			DefaultStatus: max(a.status, http.StatusOK), Tags: []string{"actions"},
			Summary: a.summary, Description: a.description,
		}, h.newChangeHandlerFunc(a.status, a.change))
	}
}

// newChangeHandlerFunc returns a handler that checks what all changes have in
// common.
func (h *holdTermsAndActionHandler) newChangeHandlerFunc(
	status int, change changeFunc,
) func(context.Context, *changeHoldInput) (*holdOutput, error) {
	return func(ctx context.Context, in *changeHoldInput) (*holdOutput, error) {
		revision, err := parseIfMatch(in.IfMatch)
		if err != nil {
			return nil, err
		}
		id, err := h.findHoldID(ctx, h.reader, in.ID)
		if err != nil {
			return nil, err
		}
		changed, now, err := change(ctx, id, revision, requestInfoFromContext(ctx).by)
		if err != nil {
			return nil, h.logAndConvertError(ctx, err)
		}
		answered := status
		switch {
		case changed.State.IsFinal():
			answered = http.StatusOK // a repeated request: nothing is left to do
		case status == outcomeStatus && hold.IsIncrementPending(&changed):
			answered = http.StatusAccepted
		case status == outcomeStatus:
			answered = http.StatusOK
		}
		return h.newHoldResponse(&changed, now, answered, false), nil
	}
}

func (h *holdTermsAndActionHandler) patchTerms(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var p hold.Patch
	if err := requestInfoFromContext(ctx).decodeJSONBodyWith(true,
		func(b []byte) error { return decodePatchRejectingNulls(b, &p) }); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	return h.changer.PatchTerms(ctx, id, p, revision, by)
}

func (h *holdTermsAndActionHandler) requestCapture(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var req hold.CaptureRequest
	err := requestInfoFromContext(ctx).decodeJSONBodyWith(false,
		func(b []byte) (err error) {
			req, err = decodeCaptureRequest(b)
			return err
		})
	if err == nil && req.Final != nil && !*req.Final {
		req.RequestKey = requestInfoFromContext(ctx).header.Get("Idempotency-Key")
		if req.RequestKey == "" && revision == 0 {
			err = newProblem(hold.InvalidIdempotencyKey, "Idempotency-Key", "a capture that keeps "+
				"the rest needs an Idempotency-Key or If-Match: repeated without one, it would take "+
				"the amount twice")
		}
	}
	if err == nil && req.Amount < 0 {
		err = newProblem(hold.InvalidAmount, "amount", fmt.Sprintf(
			"invalid amount %d: want minor units above 0, such as 1250 for 12.50", req.Amount))
	}
	if err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	captured, now, err := h.changer.RequestCapture(ctx, id, req, revision, by)
	var p *hold.Problem
	if errors.As(err, &p) && p.Field == "capture_amount" {
		q := *p
		q.Field = "amount" // its name in this request
		err = &q
	}
	return captured, now, err
}

func (h *holdTermsAndActionHandler) requestCancel(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var body cancelRequest
	if err := requestInfoFromContext(ctx).decodeOptionalBody(&body); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	return h.changer.RequestCancel(ctx, id, body.CancellationReason, revision, by)
}

func (h *holdTermsAndActionHandler) requestIncrementAndWait(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var req hold.IncrementRequest
	if err := requestInfoFromContext(ctx).decodeRequiredBody(&req); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	return h.changer.RequestIncrementAndWait(ctx, id, req, revision, by)
}

func (h *holdTermsAndActionHandler) pauseHold(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var body pauseResumeRequest
	if err := requestInfoFromContext(ctx).decodeOptionalBody(&body); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	return h.changer.PauseHold(ctx, id, revision, body.Confirm, by)
}

func (h *holdTermsAndActionHandler) resumeHold(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	var body pauseResumeRequest
	if err := requestInfoFromContext(ctx).decodeOptionalBody(&body); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	return h.changer.ResumeHold(ctx, id, revision, body.Confirm, by)
}

func (h *holdTermsAndActionHandler) acknowledgeWarnings(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	if err := requestInfoFromContext(ctx).decodeOptionalBody(&struct{}{}); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	return h.changer.AcknowledgeWarnings(ctx, id, revision, by)
}

// parseIfMatch returns the revision that a change requires; 0 accepts any. A
// list or a weak tag does not name one revision.
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
	return 0, newProblem(InvalidIfMatch, "If-Match", fmt.Sprintf(
		`invalid If-Match %.100q: want the hold's ETag, such as "3", or no header`, s))
}

func formatETag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }
