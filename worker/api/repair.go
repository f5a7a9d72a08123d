package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/repair"
)

// Repairer repairs unreadable records. Its errors are like those of
// [HoldServices]. repair.Repairer implements it.
type Repairer interface {
	Repair(ctx context.Context, q repair.Request) (repair.Result, error)
}

type repairOutput struct{ Body RepairResult }

// recordRepairHandler repairs unreadable records.
type recordRepairHandler struct {
	responseBuilder
	repairer Repairer // nil: disabled
}

func (h *recordRepairHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "repairHold", Method: http.MethodPost, Path: "/v1/holds/{id}/repair",
		Tags:    []string{"actions"},
		Summary: "Replace an unreadable record",
		Description: "Puts the bytes of the record into the quarantine and rebuilds the hold from " +
			"the PaymentIntent, its charge and its metadata. If the terms are not known for sure, " +
			"the hold needs attention. The request may be repeated.",
	}, h.repair)
}

func (h *recordRepairHandler) repair(
	ctx context.Context, in *holdIDInput,
) (*repairOutput, error) {
	if err := validatePathID(in.ID); err != nil {
		return nil, err
	}
	c := requestInfoFromContext(ctx)
	var body RepairRequest
	if err := c.decodeOptionalBody(&body); err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	var invalid *hold.Problem
	if errors.As(hold.CheckAccountID(body.Account), &invalid) {
		return nil, problemFromHoldProblem(invalid)
	}
	if h.repairer == nil {
		return nil, h.logAndConvertError(ctx, health.ErrUnavailable)
	}
	r, err := h.repairer.Repair(ctx, repair.Request{ID: in.ID, Account: body.Account,
		Force: body.Force, By: c.by})
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	q := &r.Quarantined
	out := RepairResult{Reason: r.Reason, Quarantined: QuarantinedRecord{At: q.At, By: q.By,
		Size: q.Size, Record: q.Record}}
	if r.Hold.ID != "" {
		v := h.newHoldView(&r.Hold, r.Now, true)
		out.Hold = &v
	}
	return &repairOutput{Body: out}, nil
}

// holdIDInput names a hold.
type holdIDInput struct {
	ID string `path:"id" maxLength:"100" doc:"The PaymentIntent that first placed the hold" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
}
