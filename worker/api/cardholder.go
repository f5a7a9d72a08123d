package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
)

// CardholderPath begins the paths of the page for cardholders.
const CardholderPath = "/cardholder/"

const (
	maxCardholdersInFlight = 64
	// cardholderTimeout is for one request, waiting included.
	cardholderTimeout = 30 * time.Second
)

// CardholderPage serves the page on which cardholders go on with a renewal. Its
// callers have no token: a signed link admits them. cardholder.Page implements
// it.
type CardholderPage interface {
	http.Handler
	// HasValidLink reports whether the link of a request is valid.
	HasValidLink(r *http.Request) bool
}

// CardholderOptions configure the links for cardholders and their page.
type CardholderOptions struct {
	// Link returns the link for a hold whose renewal requires its cardholder,
	// and when it expires.
	Link func(h *hold.Hold) (url string, expires time.Time)
	Page CardholderPage
	// Elsewhere says that only [API.CardholderHandler] serves the page.
	Elsewhere bool
}

type cardholderLinkOutput struct{ Body CardholderLink }

// cardholderLinkHandler makes links.
type cardholderLinkHandler struct {
	responseBuilder
	reader HoldReader
	o      *CardholderOptions // nil: there are none
}

func (h *cardholderLinkHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "linkCardholder", Method: http.MethodPost,
		Path: "/v1/holds/{id}/cardholder_link", DefaultStatus: http.StatusOK,
		Tags:    []string{"actions"},
		Summary: "Make a link for the cardholder",
		Description: "For a hold whose renewal requires its cardholder " +
			"(`renewal.step` is `requires_action`). The page behind the link leads to the bank, " +
			"or to Stripe's form for another card. A repeated request returns the same link. " +
			"Without `public_url` the request returns 409 `cardholder_links_disabled`.",
	}, h.createLink)
}

func (h *cardholderLinkHandler) createLink(
	ctx context.Context, in *holdIDOrReferenceInput,
) (*cardholderLinkOutput, error) {
	if h.o == nil {
		return nil, newProblem(CardholderLinksDisabled, "",
			"public_url is not set: there is no page for cardholders")
	}
	id, err := h.findHoldID(ctx, h.reader, in.ID)
	if err != nil {
		return nil, err
	}
	found, now, err := h.reader.Get(ctx, id)
	if err == nil {
		err = hold.CheckHoldAwaitsCardholder(&found, now)
	}
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	out := &cardholderLinkOutput{}
	out.Body.URL, out.Body.ExpiresAt = h.o.Link(&found)
	out.Body.ActionNeeded = h.newHoldView(&found, now, false).Renewal.ActionNeeded
	return out, nil
}

// CardholderHandler returns a handler that serves only the page for cardholders,
// for a listener that they reach.
func (a *API) CardholderHandler() http.Handler {
	return http.HandlerFunc(func(unwrapped http.ResponseWriter, r *http.Request) {
		w := newRecorderWithCommonHeaders(unwrapped)
		// The path has the link, so it is not logged.
		defer a.recoverPanic(w, &requestInfo{method: r.Method, path: CardholderPath})
		a.serveCardholder(w, r)
	})
}

// isCardholderPath reports whether this address serves the path as a page for
// cardholders.
func (a *API) isCardholderPath(path string) bool {
	return a.cardholder != nil && !a.cardholder.Elsewhere && strings.HasPrefix(path, CardholderPath)
}

// serveCardholder serves the page for cardholders. A request without a valid
// link is answered at once; another one waits for a slot.
func (a *API) serveCardholder(w http.ResponseWriter, r *http.Request) {
	if a.cardholder == nil {
		rejectWithoutReadingBody(w, r, newProblem(RouteNotFound, "", "there is no page for cardholders: "+
			"set public_url").Write)
		return
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // the page's forms have no body
	}
	if !a.cardholder.Page.HasValidLink(r) {
		a.cardholder.Page.ServeHTTP(w, r)
		return
	}
	conn := connFromContext(r.Context())
	conn.setServingRequest(true)
	defer conn.setServingRequest(false)
	ctx, cancel := context.WithTimeout(r.Context(), cardholderTimeout)
	defer cancel()
	select {
	case a.cardholderSlots <- struct{}{}:
		defer func() { <-a.cardholderSlots }()
	case <-ctx.Done():
		tooManyRequestsProblem().Write(w)
		return
	}
	a.cardholder.Page.ServeHTTP(w, r.WithContext(ctx))
}
