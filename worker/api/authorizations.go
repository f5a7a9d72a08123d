package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
)

// Authorizer authorizes cards. Its errors are as those of [HoldService].
type Authorizer interface {
	Authorize(ctx context.Context, key string, req hold.AuthorizeRequest, by string) (
		hold.AuthorizationResult, error)
	Confirm(ctx context.Context, id, key string, req hold.ConfirmRequest, by string) (
		hold.AuthorizationResult, error)
}

// Authorization is what became of a card's authorization. ClientSecret and
// NextAction are for the guest's browser: they are told in this answer and kept
// nowhere.
type Authorization struct {
	ID           string      `json:"id" doc:"The PaymentIntent; confirm it by this" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	Status       string      `json:"status" enum:"authorized,requires_action,requires_confirmation,processing" doc:"authorized: there is a hold. requires_action: hand client_secret to Stripe.js (handleNextAction), or send the guest to next_action.redirect_url; then confirm. requires_confirmation: confirm. processing: the hold appears by itself"`
	Hold         *hold.View  `json:"hold,omitempty" doc:"Once authorized"`
	ClientSecret string      `json:"client_secret,omitempty" doc:"For the guest's browser alone; don't log or keep it"`
	NextAction   *NextAction `json:"next_action,omitempty" doc:"What the guest's bank wants"`
	Livemode     bool        `json:"livemode" doc:"Real money"`
}

// NextAction is the guest's next step.
type NextAction struct {
	Type        string `json:"type" example:"use_stripe_sdk"`
	RedirectURL string `json:"redirect_url,omitempty" doc:"The bank's page, if return_url was sent; as secret as client_secret"`
}

type authorizeInput struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"New for each authorization (8 to 128 visible ASCII characters, such as a UUID), and the same again when you repeat it: a card is authorized once for each key" example:"0b1f8a52-6c1e-4c33-9a6e-3f1d1c9e7a10"`
}

type confirmAuthorizationInput struct {
	ID  string `path:"id" maxLength:"100" doc:"The authorization's id" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"New for each confirmation, and the same again when you repeat it" example:"7d1c0c39-5a0f-4c1c-9b8d-1f7f0a5d2b11"`
}

type authorizationOutput struct {
	Status   int
	Location string `header:"Location" doc:"Path of the hold, if it was created"`
	Body     Authorization
}

func (a *API) registerAuthorizations(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "authorize", Method: http.MethodPost, Path: "/v1/authorizations",
		DefaultStatus: http.StatusCreated, Tags: []string{"authorizations"},
		Summary: "Authorize a card and schedule its hold",
		Description: "Creates and confirms a PaymentIntent with separate capture. 201: authorized, with the hold; one that ends so soon that `on_expiry` would act at once requires attention instead. 202: the guest's bank wants the guest; confirm afterwards, within the hour. " +
			"402 `card_declined`: `detail` can be shown to the guest, `decline_code` tells why; `payment_intent` can be confirmed with another card. " +
			"Repeat a request that got no answer, or 409 `in_progress` or 503, with the same `Idempotency-Key`: it never authorizes twice.",
	}, a.authorize)
	huma.Register(doc, huma.Operation{
		OperationID: "confirmAuthorization", Method: http.MethodPost,
		Path: "/v1/authorizations/{id}/confirm", DefaultStatus: http.StatusCreated,
		Tags:        []string{"authorizations"},
		Summary:     "Confirm once the guest has acted, or with another card",
		Description: "The terms are those of the authorization. What nobody confirms within the hour is canceled: 409 `authorization_abandoned`.",
	}, a.confirmAuthorization)
}

var errAuthorizationsDisabled = newProblem(Unavailable, "", "this holdd authorizes no cards")

func (a *API) authorize(ctx context.Context, in *authorizeInput) (*authorizationOutput, error) {
	c := requestInfoFrom(ctx)
	if _, err := hold.AttemptID(in.Key); err != nil {
		// before the body: what has no key may not be tried
		return nil, a.logAndConvertError(ctx, err)
	}
	var req hold.AuthorizeRequest
	if err := c.readJSONBody(maxSingleBodyBytes, true,
		func(b []byte) error { return decodeAuthorization(b, &req) }); err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	if a.opts.Authorizer == nil {
		return nil, errAuthorizationsDisabled
	}
	done, err := a.opts.Authorizer.Authorize(ctx, in.Key, req, c.by)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	return a.authorizationResponse(&done), nil
}

func (a *API) confirmAuthorization(
	ctx context.Context, in *confirmAuthorizationInput,
) (*authorizationOutput, error) {
	if err := checkPathID(in.ID); err != nil {
		return nil, err
	}
	if _, err := hold.AttemptID(in.Key); err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	c := requestInfoFrom(ctx)
	var req hold.ConfirmRequest
	err := c.readJSONBody(maxSingleBodyBytes, false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decodeAuthorization(b, &req)
	})
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	if a.opts.Authorizer == nil {
		return nil, errAuthorizationsDisabled
	}
	done, err := a.opts.Authorizer.Confirm(ctx, in.ID, in.Key, req, c.by)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	return a.authorizationResponse(&done), nil
}

// decodeAuthorization reads strictly. A null stands for nothing that could be
// meant.
func decodeAuthorization(body []byte, into any) error {
	if err := decodeStrict(body, into); err != nil {
		var p *Problem
		if errors.As(err, &p) && p.Code == InvalidType && (p.Field == "off_session" ||
			p.Field == "extended_authorization") {
			p.Detail = "send true or false"
		}
		return err
	}
	if field, found := findNullField(body); found {
		return newProblem(InvalidType, field, "is null: leave it out")
	}
	return nil
}

func (a *API) authorizationResponse(d *hold.AuthorizationResult) *authorizationOutput {
	out := &authorizationOutput{Status: http.StatusOK, Body: Authorization{ID: d.PaymentIntent,
		Status: string(d.Status), ClientSecret: d.ClientSecret.Reveal(), Livemode: a.opts.Livemode}}
	switch {
	case d.Hold != nil:
		v := d.Hold.View(d.Now, false)
		v.Livemode = a.opts.Livemode
		out.Body.Hold = &v
		if d.Created {
			out.Status, out.Location = http.StatusCreated, "/v1/holds/"+v.ID
		}
	default:
		out.Status = http.StatusAccepted
	}
	if d.NextAction != "" {
		out.Body.NextAction = &NextAction{Type: d.NextAction, RedirectURL: d.RedirectURL.Reveal()}
	}
	return out
}

// Authorize authorizes a card and schedules its hold. The key is new for each
// authorization and the same for its repetitions: after [UnreachableError] or a
// [Problem] with status 503 or code in_progress, call it again with the same.
func (c *Client) Authorize(
	ctx context.Context, key string, req hold.AuthorizeRequest,
) (Authorization, error) {
	return c.requestAuthorization(ctx, "/v1/authorizations", key, req)
}

// ConfirmAuthorization confirms once the guest has acted, or with another card.
func (c *Client) ConfirmAuthorization(
	ctx context.Context, id, key string, req hold.ConfirmRequest,
) (Authorization, error) {
	var wrong *hold.Problem
	if errors.As(hold.CheckPaymentIntentID(id), &wrong) { // a path must not be made of it
		return Authorization{}, problemFromHold(wrong)
	}
	return c.requestAuthorization(ctx, "/v1/authorizations/"+url.PathEscape(id)+"/confirm", key,
		req)
}

func (c *Client) requestAuthorization(
	ctx context.Context, path, key string, body any,
) (out Authorization, err error) {
	var wrong *hold.Problem
	if _, e := hold.AttemptID(key); errors.As(e, &wrong) {
		return out, problemFromHold(wrong)
	}
	_, err = c.withHeader("Idempotency-Key", key).doJSON(ctx, http.MethodPost, path, 0, body, &out)
	return out, err
}
