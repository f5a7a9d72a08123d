package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/holdd/holdd/worker/hold"
)

// authorizationsClient has the methods of [Client] for authorizations.
type authorizationsClient struct{ conn *clientConnection }

// Authorize authorizes a card and schedules its hold. Use a new key for each
// authorization. After an [UnreachableError], status 503 or the code
// in_progress, call it again with the same key.
func (c authorizationsClient) Authorize(
	ctx context.Context, key string, req hold.AuthorizeRequest,
) (Authorization, error) {
	return c.sendAuthorizationRequest(ctx, "/v1/authorizations", key, req)
}

// ConfirmAuthorization confirms an authorization after the cardholder's action,
// or with another card.
func (c authorizationsClient) ConfirmAuthorization(
	ctx context.Context, id, key string, req hold.ConfirmRequest,
) (Authorization, error) {
	if err := validateIntentID(id); err != nil {
		return Authorization{}, err
	}
	return c.sendAuthorizationRequest(ctx, "/v1/authorizations/"+url.PathEscape(id)+"/confirm", key,
		req)
}

func (c authorizationsClient) sendAuthorizationRequest(
	ctx context.Context, path, key string, body any,
) (out Authorization, err error) {
	var invalid *hold.Problem
	if _, e := hold.DeriveAttemptIDFromKey(key); errors.As(e, &invalid) {
		return out, newRequestProblem(invalid)
	}
	_, err = c.conn.send(ctx, clientRequest{method: http.MethodPost, path: path,
		idempotencyKey: key, body: body}, &out)
	return out, err
}
