package hotel

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// shownStays bounds the list of the front desk.
const shownStays = 50

// stay is a line of the front desk's list.
type stay struct {
	ID, Reference, Guest, Console string
	Nights                        int
	Price                         int64
	Hold                          hold.View
	Open                          bool   // the guest has not been checked out
	Problem                       string // why the hold is not shown
}

// deskPage lists the guests, and checks them out.
func (h *hotel) deskPage(w http.ResponseWriter, r *http.Request) {
	var stays []stay
	for _, b := range h.bookings.booked(shownStays) {
		s := stay{ID: b.id, Reference: b.reference, Guest: b.guest, Nights: b.nights,
			Price: b.price(), Console: h.o.ConsoleURL + "holds/" + b.authorization}
		v, err := h.o.Holdd.Get(r.Context(), b.authorization)
		if err != nil {
			s.Problem = explain(err)
		}
		s.Hold = v
		s.Open = err == nil && v.State != "captured" && v.State != "canceled" && v.State != "expired"
		stays = append(stays, s)
	}
	show(w, "desk.html", map[string]any{"Stays": stays, "Done": r.FormValue("done"),
		"Problem": r.FormValue("problem")})
}

// checkOut captures the nights with extras and damage. Stripe releases the rest.
func (h *hotel) checkOut(w http.ResponseWriter, r *http.Request) {
	h.actOnStay(w, r, func(ctx context.Context, b *booking) (string, error) {
		amount := b.price()
		for _, field := range []string{"extras", "damage"} {
			more, err := parseAmount(r.PostFormValue(field))
			if err != nil {
				return "", err
			}
			amount += more
		}
		v, err := h.o.Holdd.Get(ctx, b.authorization)
		if err != nil {
			return "", err
		}
		if amount > v.Amount {
			// A bank may agree to more than was authorized.
			v, err = h.o.Holdd.Increment(ctx, b.authorization, hold.IncrementRequest{Amount: amount,
				Reason: "extras at check-out"}, v.Revision)
			if err != nil {
				return "", err
			}
		}
		_, err = h.o.Holdd.Capture(ctx, b.authorization, hold.CaptureRequest{Amount: amount},
			v.Revision)
		return b.reference + ": " + hold.FormatAmount(amount, currency) + " are being captured.", err
	})
}

// parseAmount reads an amount in major units; nothing is 0.
func parseAmount(s string) (int64, error) {
	if s = strings.TrimSpace(s); s == "" {
		return 0, nil
	}
	n, err := hold.ParseMajor(s, currency)
	if err != nil || n < 0 {
		return 0, checkoutFormError("An amount is written as 12.50.")
	}
	return n, nil
}

// cancelStay releases everything.
func (h *hotel) cancelStay(w http.ResponseWriter, r *http.Request) {
	h.actOnStay(w, r, func(ctx context.Context, b *booking) (string, error) {
		_, err := h.o.Holdd.Cancel(ctx, b.authorization, "", 0)
		return b.reference + ": everything is being released.", err
	})
}

// actOnStay does something to a guest's hold and shows the list again.
func (h *hotel) actOnStay(
	w http.ResponseWriter, r *http.Request, do func(context.Context, *booking) (string, error),
) {
	b := h.bookings.find(r.PathValue("id"))
	if b == nil {
		http.NotFound(w, r)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	done, err := do(r.Context(), b)
	values := url.Values{"done": {done}}
	if err != nil {
		values = url.Values{"problem": {b.reference + ": " + deskText(err)}}
	}
	http.Redirect(w, r, "/desk?"+values.Encode(), http.StatusSeeOther)
}

// deskText returns an error in the words of holdd, which a clerk understands.
func deskText(err error) string {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return p.Detail
	}
	var own checkoutFormError
	if errors.As(err, &own) {
		return string(own)
	}
	return "holdd could not be reached. Look at the hold before you try again."
}
