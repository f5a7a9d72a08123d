package hotel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// step is a request to holdd with its key.
type step func(ctx context.Context) (api.Authorization, error)

// stepTimeout bounds a request of a guest.
const stepTimeout = 40 * time.Second

// pay authorizes the guest's card, or another one after a decline.
func (h *hotel) pay(w http.ResponseWriter, r *http.Request) {
	h.withOpenBooking(w, r, func(ctx context.Context, b *booking) answer {
		if err := h.readCheckoutForm(ctx, b, r); err != nil {
			return answer{Error: err.Error()}
		}
		method, cvc := r.PostFormValue("payment_method"), r.PostFormValue("cvc_token")
		if r.PostFormValue("saved") == "true" {
			b.customer, method = h.o.Returning.Customer, h.o.Returning.PaymentMethod
		}
		key := b.nextKey()
		if id := b.authorization; id != "" {
			return h.run(ctx, b, func(ctx context.Context) (api.Authorization, error) {
				return h.o.Holdd.ConfirmAuthorization(ctx, id, key,
					hold.ConfirmRequest{PaymentMethod: method, CVCToken: cvc})
			})
		}
		req := newAuthorizeRequest(b, method, cvc)
		return h.run(ctx, b, func(ctx context.Context) (api.Authorization, error) {
			return h.o.Holdd.Authorize(ctx, key, req)
		})
	})
}

// newAuthorizeRequest holds the price and a deposit. If nobody checks the guest
// out before the authorization ends, the price is captured.
func newAuthorizeRequest(b *booking, method, cvc string) hold.AuthorizeRequest {
	req := hold.AuthorizeRequest{PaymentMethod: method, CVCToken: cvc, Customer: b.customer,
		Amount: b.toAuthorize(), Currency: currency, Description: "Booking " + b.reference,
		Reference: b.reference, CaptureAmount: b.price(), OnExpiry: hold.PolicyCapture.String(),
		Metadata: map[string]string{BrowserKey: "true"}}
	if b.customer != "" {
		req.SetupFutureUsage = "off_session"
	}
	return req
}

// resume repeats the last request, for a guest whose page was loaded again
// during the bank's dialog.
func (h *hotel) resume(w http.ResponseWriter, r *http.Request) {
	h.withOpenBooking(w, r, func(ctx context.Context, b *booking) answer {
		if b.step == nil {
			return answer{Error: "Nothing is being paid yet."}
		}
		return h.run(ctx, b, b.step)
	})
}

// confirm ends what the bank's dialog began.
func (h *hotel) confirm(w http.ResponseWriter, r *http.Request) {
	h.withOpenBooking(w, r, func(ctx context.Context, b *booking) answer {
		if b.authorization == "" {
			return answer{Error: "Nothing is being paid yet."}
		}
		id, key := b.authorization, b.nextKey()
		return h.run(ctx, b, func(ctx context.Context) (api.Authorization, error) {
			return h.o.Holdd.ConfirmAuthorization(ctx, id, key, hold.ConfirmRequest{})
		})
	})
}

// withOpenBooking calls do for a booking that is not booked yet, one request of
// the booking at a time.
func (h *hotel) withOpenBooking(
	w http.ResponseWriter, r *http.Request, do func(context.Context, *booking) answer,
) {
	b := h.bookings.find(r.PathValue("id"))
	if b == nil {
		http.NotFound(w, r)
		return
	}
	// A guest who leaves does not stop a request whose outcome is then unknown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), stepTimeout)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.booked.Load() {
		reply(w, answer{Booked: true})
		return
	}
	reply(w, do(ctx, b))
}

// nextKey returns the Idempotency-Key of a new step.
func (b *booking) nextKey() string { return fmt.Sprintf("%s-%d", b.id, b.steps+1) }

// run does a step, or repeats the one before if its outcome is unknown.
func (h *hotel) run(ctx context.Context, b *booking, next step) answer {
	if !b.unanswered {
		b.step = next
		b.steps++
	}
	a, err := b.step(ctx)
	b.unanswered = isUnknown(err)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.PaymentIntent != "" {
		b.authorization = p.PaymentIntent // to confirm with another card
	}
	if err != nil {
		return answer{Error: explain(err)}
	}
	b.authorization = a.ID
	switch a.Status {
	case "requires_action":
		return answer{ClientSecret: a.ClientSecret}
	case "requires_confirmation":
		return answer{Confirm: true}
	}
	b.booked.Store(true) // also while it is processing: the hold appears by itself
	return answer{Booked: true}
}

// isUnknown reports whether holdd or Stripe may have acted although no outcome
// is known.
func isUnknown(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return err != nil && (!ok || p.Status == http.StatusServiceUnavailable ||
		p.Status == http.StatusTooManyRequests || p.Code == hold.InProgress)
}

// readCheckoutForm reads the name, and makes a customer at Stripe if the guest keeps
// the card for the stay.
func (h *hotel) readCheckoutForm(ctx context.Context, b *booking, r *http.Request) (err error) {
	if b.guest = strings.TrimSpace(r.PostFormValue("guest")); b.guest == "" || len(b.guest) > 100 {
		b.guest = ""
		return checkoutFormError("Your name is missing, or longer than 100 characters.")
	}
	if r.PostFormValue("keep") == "true" && b.customer == "" {
		b.customer, err = h.createCustomer(ctx, b)
	}
	return err
}

// createCustomer makes a customer of Stripe, once for each booking.
func (h *hotel) createCustomer(ctx context.Context, b *booking) (id string, err error) {
	form := url.Values{"name": {b.guest}, "description": {"Booking " + b.reference}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.o.StripeURL+"/v1/customers",
		strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+h.o.StripeKey)
	r.Header.Set("Idempotency-Key", b.id+"-customer")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", errNoCustomer
	}
	defer resp.Body.Close()
	var customer struct{ ID string }
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&customer)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", errNoCustomer
	}
	return customer.ID, nil
}

var errNoCustomer = checkoutFormError(
	"The card cannot be kept at the moment. Try again, or do not keep it.",
)

// checkoutFormError is shown to the guest as it is.
type checkoutFormError string

func (e checkoutFormError) Error() string { return string(e) }
