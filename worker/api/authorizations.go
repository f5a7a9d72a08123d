package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
)

// Authorizer authorizes cards. Its errors are like those of [HoldServices].
// authorize.Authorizer implements it.
type Authorizer interface {
	Authorize(ctx context.Context, key string, req hold.AuthorizeRequest, by string) (
		hold.AuthorizationResult, error)
	Confirm(ctx context.Context, id, key string, req hold.ConfirmRequest, by string) (
		hold.AuthorizationResult, error)
}

type authorizeInput struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"A new key for each authorization, and the same key for its retries: 8 to 128 visible ASCII characters, such as a UUID. holdd authorizes a card once per key" example:"0b1f8a52-6c1e-4c33-9a6e-3f1d1c9e7a10"`
}

type confirmAuthorizationInput struct {
	ID  string `path:"id" maxLength:"100" doc:"The authorization's id" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"A new key for each confirmation, and the same key for its retries" example:"7d1c0c39-5a0f-4c1c-9b8d-1f7f0a5d2b11"`
}

type authorizationOutput struct {
	Status   int
	Location string `header:"Location" doc:"Path of the hold, if it was created"`
	Body     Authorization
}

// authorizationHandler authorizes cards.
type authorizationHandler struct {
	responseBuilder
	authorizer Authorizer // nil: disabled
}

func (h *authorizationHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "authorize", Method: http.MethodPost, Path: "/v1/authorizations",
		DefaultStatus: http.StatusCreated, Tags: []string{"authorizations"},
		Summary: "Authorize a card and schedule its hold",
		Description: "holdd creates and confirms a PaymentIntent with manual capture. " +
			"201: authorized, with the hold. If `on_expiry` would act on it at once, the hold " +
			"requires attention instead. " +
			"202: the bank wants to authenticate the cardholder. Confirm afterwards, within an " +
			"hour. " +
			"402 `card_declined`: show `detail` to the cardholder; `decline_code` is the reason, " +
			"and `payment_intent` can be confirmed with another card. " +
			"After no response, 409 `in_progress` or 503, retry with the same `Idempotency-Key`. " +
			"holdd never authorizes twice for one key.",
	}, h.authorize)
	huma.Register(doc, huma.Operation{
		OperationID: "confirmAuthorization", Method: http.MethodPost,
		Path: "/v1/authorizations/{id}/confirm", DefaultStatus: http.StatusCreated,
		Tags:    []string{"authorizations"},
		Summary: "Confirm an authorization after the cardholder's action, or with another card",
		Description: "The terms are those of the authorization. holdd cancels an authorization " +
			"that is not confirmed within an hour. " +
			"Confirming it then returns 409 `authorization_abandoned`.",
	}, h.confirm)
}

var errAuthorizationsDisabled = newProblem(Unavailable, "",
	"authorizations are disabled in this holdd")

func (h *authorizationHandler) authorize(
	ctx context.Context, in *authorizeInput,
) (*authorizationOutput, error) {
	// The key is checked before the body: without it a request cannot be
	// retried.
	if _, err := hold.DeriveAttemptIDFromKey(in.Key); err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	c := requestInfoFromContext(ctx)
	var req hold.AuthorizeRequest
	if err := c.decodeJSONBodyWith(true,
		func(b []byte) error { return decodeAuthorization(b, &req) }); err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	if h.authorizer == nil {
		return nil, errAuthorizationsDisabled
	}
	result, err := h.authorizer.Authorize(ctx, in.Key, req, c.by)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return h.newAuthorizationResponse(&result), nil
}

func (h *authorizationHandler) confirm(
	ctx context.Context, in *confirmAuthorizationInput,
) (*authorizationOutput, error) {
	if err := validatePathID(in.ID); err != nil {
		return nil, err
	}
	if _, err := hold.DeriveAttemptIDFromKey(in.Key); err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	c := requestInfoFromContext(ctx)
	var req hold.ConfirmRequest
	err := c.decodeJSONBodyWith(false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decodeAuthorization(b, &req)
	})
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	if h.authorizer == nil {
		return nil, errAuthorizationsDisabled
	}
	result, err := h.authorizer.Confirm(ctx, in.ID, in.Key, req, c.by)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return h.newAuthorizationResponse(&result), nil
}

// decodeAuthorization decodes strictly. It rejects null, which has no meaning
// here.
func decodeAuthorization(body []byte, into any) error {
	if err := decodeStrict(body, into); err != nil {
		var p *Problem
		if errors.As(err, &p) && p.Code == InvalidType && (p.Field == "off_session" ||
			p.Field == "extended_authorization") {
			p.Detail = "invalid type: want true or false"
		}
		return err
	}
	if field, found := findNullField(body); found {
		return newProblem(InvalidType, field, "invalid null: leave the field out")
	}
	return nil
}

func (h *authorizationHandler) newAuthorizationResponse(
	r *hold.AuthorizationResult,
) *authorizationOutput {
	out := &authorizationOutput{Status: http.StatusAccepted, Body: Authorization{
		ID: r.PaymentIntent, Status: string(r.Status), ClientSecret: r.ClientSecret.Reveal(),
		Livemode: h.livemode}}
	if r.Hold != nil {
		v := h.newHoldView(r.Hold, r.Now, false)
		out.Status, out.Body.Hold = http.StatusOK, &v
		if r.Created {
			out.Status, out.Location = http.StatusCreated, "/v1/holds/"+v.ID
		}
	}
	if r.NextAction != "" {
		out.Body.NextAction = &NextAction{Type: r.NextAction, RedirectURL: r.RedirectURL.Reveal()}
	}
	return out
}
