package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// HoldReader finds and lists holds. query.HoldReader implements it.
type HoldReader interface {
	Get(ctx context.Context, id string) (hold.Hold, time.Time, error)
	List(ctx context.Context, q query.HoldQuery) (query.HoldPage, error)
}

type noParamsInput struct{}

type holdIDOrReferenceInput struct {
	ID string `path:"id" maxLength:"200" doc:"The PaymentIntent that first placed the hold, or the hold's reference" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
}

type listHoldsInput struct {
	State          string `query:"state" enum:"waiting,paused,scheduled,ready,working,attention,captured,canceled,expired" doc:"Only holds in this state"`
	Reference      string `query:"reference" maxLength:"200" doc:"Only holds whose reference starts with this" example:"BK-20"`
	Account        string `query:"account" maxLength:"100" doc:"Only holds of this connected account"`
	ExpiringWithin string `query:"expiring_within" maxLength:"40" doc:"Only open holds whose authorization ends within this time, such as 24h or 3d" example:"24h"`
	RequiresAction bool   `query:"requires_action" doc:"Only holds whose renewal requires their cardholder"`

	Metadata map[string]string `query:"metadata,deepObject" doc:"Only holds whose metadata has these pairs, each as metadata[key]=value. A page examines at most 1000 holds"`

	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most holds on a page"`
	Cursor string `query:"cursor" maxLength:"1024" doc:"The previous page's next"`
}

type holdOutput struct {
	Status   int
	ETag     string `header:"ETag" doc:"The hold's revision, for If-Match" example:"\"3\""`
	Location string `header:"Location" doc:"Path of the hold, if it was created"`
	Body     hold.View
}

type listHoldsOutput struct {
	Body ListPage
}

// holdReadHandler shows and lists holds.
type holdReadHandler struct {
	responseBuilder
	reader HoldReader
}

func (h *holdReadHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "getHold", Method: http.MethodGet, Path: "/v1/holds/{id}",
		Tags:    []string{"holds"},
		Summary: "Show a hold with its history",
		Description: "A reference finds the open hold that has it, or else the settled one. " +
			"If several have it, the request returns 409 `ambiguous_reference` with their `ids`.",
	}, h.get)
	huma.Register(doc, huma.Operation{
		OperationID: "listHolds", Method: http.MethodGet, Path: "/v1/holds",
		Tags:    []string{"holds"},
		Summary: "List holds",
		Description: "A page may have fewer holds than requested, even none, and still have a " +
			"`next`. Request pages until `next` is absent.",
	}, h.list)
}

func (h *holdReadHandler) get(ctx context.Context, in *holdIDOrReferenceInput) (*holdOutput, error) {
	id, err := h.findHoldID(ctx, h.reader, in.ID)
	if err != nil {
		return nil, err
	}
	found, now, err := h.reader.Get(ctx, id)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return h.newHoldResponse(&found, now, http.StatusOK, true), nil
}

func (h *holdReadHandler) list(ctx context.Context, in *listHoldsInput) (*listHoldsOutput, error) {
	q := query.HoldQuery{Reference: in.Reference, Account: in.Account,
		RequiresAction: in.RequiresAction, Metadata: in.Metadata, Limit: in.Limit,
		Cursor: in.Cursor}
	if len(in.Metadata) > hold.MaxMetadataPairs {
		return nil, newProblem(InvalidParameter, "metadata", fmt.Sprintf(
			"%d pairs are too many: a hold has at most %d", len(in.Metadata),
			hold.MaxMetadataPairs))
	}
	q.State, _ = hold.ParseState(in.State) // huma has checked it against the enum
	var p *hold.Problem
	if errors.As(hold.CheckAccountID(in.Account), &p) {
		return nil, problemFromHoldProblem(p)
	}
	if in.ExpiringWithin != "" {
		d, err := ParseLookahead(in.ExpiringWithin)
		if err != nil {
			return nil, newProblem(InvalidParameter, "expiring_within", err.Error())
		}
		q.ExpiringWithin = d
	}
	page, err := h.reader.List(ctx, q)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	out := &listHoldsOutput{Body: ListPage{Holds: make([]hold.View, len(page.Holds)),
		Next: page.Next, Now: page.Now.UTC()}}
	for i := range page.Holds {
		out.Body.Holds[i] = h.newHoldView(&page.Holds[i], page.Now, false)
	}
	return out, nil
}

func validatePathID(id string) error {
	var p *hold.Problem
	if errors.As(hold.CheckPaymentIntentID(id), &p) {
		q := problemFromHoldProblem(p)
		q.Field = "id"
		return q
	}
	return nil
}
