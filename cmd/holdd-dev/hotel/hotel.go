package hotel

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// BrowserKey is in the metadata of the PaymentIntents of bookings made in a
// browser.
const BrowserKey = "booked_in_browser"

// Holdd is the part of holdd's client that the hotel uses. [api.Client]
// implements it.
type Holdd interface {
	Authorize(ctx context.Context, key string, req hold.AuthorizeRequest) (api.Authorization, error)
	ConfirmAuthorization(ctx context.Context, id, key string, req hold.ConfirmRequest) (
		api.Authorization, error)
	Get(ctx context.Context, id string) (hold.View, error)
	Capture(ctx context.Context, id string, req hold.CaptureRequest, revision uint64) (
		hold.View, error)
	Cancel(ctx context.Context, id, reason string, revision uint64) (hold.View, error)
	Increment(ctx context.Context, id string, req hold.IncrementRequest, revision uint64) (
		hold.View, error)
}

// ReturningCustomer is a guest whose card is saved at Stripe. Only the security
// code is asked again.
type ReturningCustomer struct{ Name, Customer, PaymentMethod, Last4 string }

// Options configure a hotel. To run it against Stripe, set ScriptURL to
// https://js.stripe.com/v3/ and both keys to those of the account.
type Options struct {
	Holdd          Holdd
	ScriptURL      string // of Stripe.js
	PublishableKey string // for the browser
	StripeURL      string // of the API, such as https://api.stripe.com
	StripeKey      string // makes customers; may be restricted to that
	ConsoleURL     string // of holdd's console, for the links of the front desk
	Returning      ReturningCustomer
}

// hotel is the website.
type hotel struct {
	o        Options
	bookings *bookings
}

//go:embed pages static
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"money": func(n int64) string { return hold.FormatAmount(n, currency) },
}).ParseFS(files, "pages/*.html"))

// New returns the website as a handler.
func New(o Options) http.Handler {
	h := &hotel{o: o, bookings: &bookings{byID: map[string]*booking{}}}
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", h.newBooking)
	m.HandleFunc("GET /bookings/{id}", h.bookingPage)
	m.HandleFunc("POST /bookings/{id}/pay", h.pay)
	m.HandleFunc("POST /bookings/{id}/resume", h.resume)
	m.HandleFunc("POST /bookings/{id}/confirm", h.confirm)
	m.HandleFunc("GET /desk", h.deskPage)
	m.HandleFunc("POST /desk/{id}/checkout", h.checkOut)
	m.HandleFunc("POST /desk/{id}/cancel", h.cancelStay)
	m.Handle("GET /static/", http.FileServerFS(files))
	return http.NewCrossOriginProtection().Handler(m)
}

// newBooking gives the booking an address of its own, which a reload keeps.
func (h *hotel) newBooking(w http.ResponseWriter, r *http.Request) {
	nights, err := strconv.Atoi(r.FormValue("nights"))
	if err != nil || nights < 1 || nights > maxNights {
		nights = 2
	}
	b := h.bookings.add(nights)
	http.Redirect(w, r, "/bookings/"+b.id, http.StatusSeeOther)
}

// bookingPage is the checkout, or says that the guest is booked.
func (h *hotel) bookingPage(w http.ResponseWriter, r *http.Request) {
	b := h.bookings.find(r.PathValue("id"))
	if b == nil {
		http.NotFound(w, r)
		return
	}
	b.mu.Lock()
	page := map[string]any{"ID": b.id, "Reference": b.reference, "Guest": b.guest,
		"Nights": b.nights, "Price": b.price(), "Deposit": int64(deposit), "Total": b.toAuthorize(),
		"ScriptURL": h.o.ScriptURL, "Key": h.o.PublishableKey, "Returning": h.o.Returning,
		"Console": h.o.ConsoleURL + "holds/" + b.authorization, "Open": b.authorization != ""}
	name := "checkout.html"
	if b.booked.Load() {
		name = "booked.html"
	}
	b.mu.Unlock()
	show(w, name, page)
}

func show(w http.ResponseWriter, name string, page any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = pages.ExecuteTemplate(w, name, page) // fails only if the browser has left
}

// answer is what the checkout page learns.
type answer struct {
	Booked       bool   `json:"booked,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"` // the bank's dialog comes next
	Confirm      bool   `json:"confirm,omitempty"`       // the server must confirm
	Error        string `json:"error,omitempty"`         // for the guest
}

func reply(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(a) // fails only if the browser has left
}

// explain returns an error in the guest's words.
func explain(err error) string {
	var p *api.Problem
	if errors.As(err, &p) {
		switch p.Code {
		case hold.CardDeclined:
			return strings.TrimSuffix(p.Detail, ".") + ". Nothing is held on it. Try another card."
		case hold.IdempotencyKeyReused:
			return "This booking is being paid with another card. Load the page again."
		}
		return p.Detail
	}
	return "The payment could not be reached. Nothing is lost: try again in a moment."
}
