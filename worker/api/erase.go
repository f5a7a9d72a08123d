package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// Eraser erases the personal data of settled holds. Its errors are like those of
// [HoldServices]. erase.Eraser implements it.
type Eraser interface {
	Erase(ctx context.Context, id, by string) (hold.Hold, time.Time, error)
}

// eraseHandler erases personal data.
type eraseHandler struct {
	responseBuilder
	eraser Eraser // nil: disabled
	reader HoldReader
}

func (h *eraseHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "erasePersonalData", Method: http.MethodDelete,
		Path: "/v1/holds/{id}/personal_data", DefaultStatus: http.StatusOK,
		Tags: []string{"holds"}, Summary: "Erase the personal data of a settled hold",
		Description: "Erases reference, metadata and the texts of requests: in the hold, its " +
			"index, events, dead letters, rejected requests, saved responses and the quarantine. " +
			"What the money did stays. The request may be repeated by the id: the reference is " +
			"erased as well. It does not change the " +
			"PaymentIntent at Stripe.",
	}, h.erase)
}

func (h *eraseHandler) erase(ctx context.Context, in *holdIDOrReferenceInput) (*holdOutput, error) {
	if h.eraser == nil {
		return nil, h.logAndConvertError(ctx, health.ErrUnavailable)
	}
	id, err := h.findHoldID(ctx, h.reader, in.ID)
	if err != nil {
		return nil, err
	}
	erased, now, err := h.eraser.Erase(ctx, id, requestInfoFromContext(ctx).by)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return h.newHoldResponse(&erased, now, http.StatusOK, true), nil
}
