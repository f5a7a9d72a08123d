package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

// ListPage is one page of a list. It may have fewer holds than requested, even
// none, and still have a Next.
type ListPage struct {
	Holds []hold.View `json:"holds" nullable:"false"`
	Next  string      `json:"next,omitempty" doc:"Send it as cursor to get the next page. Absent on the last page"`
	Now   time.Time   `json:"now" doc:"Redis' time when the page was read"`
}

type emptyInput struct{}

type getHoldInput struct {
	ID string `path:"id" maxLength:"200" doc:"The PaymentIntent that first placed the hold, or the hold's reference" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
}

type listHoldsInput struct {
	State          string `query:"state" enum:"waiting,paused,scheduled,ready,working,attention,captured,canceled,expired" doc:"Only holds in this state"`
	Reference      string `query:"reference" maxLength:"200" doc:"Only holds whose reference starts with this" example:"BK-20"`
	Account        string `query:"account" maxLength:"100" doc:"Only holds of this connected account"`
	ExpiringWithin string `query:"expiring_within" maxLength:"40" doc:"Only open holds whose authorization ends within this time, such as 24h or 3d" example:"24h"`
	RequiresAction bool   `query:"requires_action" doc:"Only holds whose renewal requires their cardholder"`
	Limit          int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most holds on a page"`
	Cursor         string `query:"cursor" maxLength:"1024" doc:"The previous page's next"`
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
			"If several have it, the request returns 409 `ambiguous_reference`.",
	}, h.get)
	huma.Register(doc, huma.Operation{
		OperationID: "listHolds", Method: http.MethodGet, Path: "/v1/holds",
		Tags:    []string{"holds"},
		Summary: "List holds",
		Description: "A page may have fewer holds than requested, even none, and still have a " +
			"`next`. Request pages until `next` is absent.",
	}, h.list)
}

func (h *holdReadHandler) get(ctx context.Context, in *getHoldInput) (*holdOutput, error) {
	id := in.ID
	if !strings.HasPrefix(id, "pi_") {
		var err error
		if id, err = h.findByReference(ctx, in.ID); err != nil {
			return nil, h.logAndConvertError(ctx, err)
		}
	}
	if err := validatePathID(id); err != nil {
		return nil, err
	}
	found, now, err := h.reader.Get(ctx, id)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return h.newHoldResponse(&found, now, http.StatusOK, true), nil
}

// maxReferencePages bounds the pages that a search for a reference reads.
const maxReferencePages = 10

// findByReference returns the id of the hold with this reference. Open holds
// have precedence, because a booking may have had others before.
func (h *holdReadHandler) findByReference(ctx context.Context, reference string) (string, error) {
	var open, settled []string
	q := query.HoldQuery{Reference: reference, Limit: MaxPageSize}
	for range maxReferencePages {
		page, err := h.reader.List(ctx, q)
		if err != nil {
			return "", err
		}
		for i := range page.Holds {
			switch found := &page.Holds[i]; {
			case found.Reference != reference: // it only begins so
			case found.State.IsFinal():
				settled = append(settled, found.ID)
			default:
				open = append(open, found.ID)
			}
		}
		if page.Next == "" || len(open) > 1 {
			break
		}
		q.Cursor = page.Next
	}
	if len(open) == 0 {
		open = settled
	}
	switch len(open) {
	case 0:
		return "", newProblem(hold.HoldNotFound, "id",
			fmt.Sprintf("no hold has the id or the reference %.100q", reference))
	case 1:
		return open[0], nil
	}
	return "", newProblem(AmbiguousReference, "id", fmt.Sprintf(
		"several holds have the reference %.100q: use the id of one, such as %s", reference, open[0]))
}

func (h *holdReadHandler) list(ctx context.Context, in *listHoldsInput) (*listHoldsOutput, error) {
	q := query.HoldQuery{Reference: in.Reference, Account: in.Account,
		RequiresAction: in.RequiresAction, Limit: in.Limit, Cursor: in.Cursor}
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
