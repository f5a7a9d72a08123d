// Command booking-go is a booking service that holds money on its guests' cards
// with holdd. Copy it, and replace the files of bookings by your database.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/api/client"
	"github.com/holdd/holdd/worker/hold"
)

var (
	holdd       *client.Client
	mu          sync.Mutex // of the files
	folder      = cmp.Or(os.Getenv("BOOKINGS"), "bookings")
	finalStates = []string{"captured", "canceled", "expired", "attention"}
)

// cardRequest is what the website sends. Amounts are in minor units.
type cardRequest struct {
	PaymentMethod string `json:"payment_method"`
	Amount        int64  `json:"amount"`
	Currency      string `json:"currency"`
	CheckoutAt    string `json:"checkout_at"`
}

type booking struct {
	Reference string      `json:"reference"`
	Status    string      `json:"status"` // see the README of the examples
	Hold      string      `json:"hold,omitempty"`
	Captured  int64       `json:"captured"`
	Message   string      `json:"message,omitempty"`
	Attempts  int         `json:"attempts"`
	Request   cardRequest `json:"request"`          // of the last attempt
	Events    []string    `json:"events,omitempty"` // ids of callbacks that were applied
}

// find returns a booking and its file. It panics if the file cannot be used, as
// update does: then net/http ends the request, and nothing is sent that is not stored.
func find(reference string) (b booking, file string) {
	b.Reference, b.Status = reference, "new"
	file = filepath.Join(folder, url.PathEscape(reference)+".json")
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(fmt.Errorf("%s: %w", file, err))
	}
	return b, file
}

// update changes a booking in one step: in a database, a transaction.
func update(reference string, change func(*booking)) booking {
	mu.Lock()
	defer mu.Unlock()
	b, file := find(reference)
	change(&b)
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(json.NewEncoder(f).Encode(b), f.Sync(), f.Close())
	}
	if err == nil { // a power cut leaves the old file or the new one
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		panic(err)
	}
	return b
}

// authorize holds the amount and schedules its capture, in one request to holdd.
// secret is for Stripe.js in the guest's browser and is not stored.
func authorize(ctx context.Context, reference string, req cardRequest) (b booking, secret string) {
	// Stored before the call. While an outcome is unknown, the attempt is repeated.
	attempt := update(reference, func(b *booking) {
		if b.Status != "pending" {
			b.Status, b.Request, b.Attempts = "pending", req, b.Attempts+1
		}
	})
	a, err := sendAttempt(ctx, &attempt)
	return update(reference, func(b *booking) {
		if b.Status == "pending" && b.Attempts == attempt.Attempts { // a callback may be faster
			applyAnswer(b, &a, err)
		}
	}), a.ClientSecret
}

// sendAttempt repeats an attempt with the same key, so that holdd acts once.
func sendAttempt(ctx context.Context, b *booking) (client.Authorization, error) {
	key, req := fmt.Sprintf("%s-card-%d", b.Reference, b.Attempts), b.Request
	if b.Hold != "" { // after the bank's dialog, or for another card
		return holdd.ConfirmAuthorization(ctx, b.Hold, key,
			hold.ConfirmRequest{PaymentMethod: req.PaymentMethod})
	}
	return holdd.Authorize(ctx, key, hold.AuthorizeRequest{PaymentMethod: req.PaymentMethod,
		Amount: req.Amount, Currency: req.Currency, CaptureAt: req.CheckoutAt,
		OnExpiry: "capture", Reference: b.Reference})
}

func applyAnswer(b *booking, a *client.Authorization, err error) {
	var p *client.Problem
	switch b.Message = ""; {
	case err == nil:
		b.Status, b.Hold = a.Status, a.ID
	case client.IsOutcomeUnknown(err) || !errors.As(err, &p): // it stays pending
		b.Message = err.Error()
	case p.Code == hold.CardDeclined || p.Code == hold.AuthorizationAbandoned:
		b.Status, b.Hold, b.Message = "declined", p.PaymentIntent, p.Detail
	default:
		b.Status, b.Message = "refused", p.Error()
	}
}

func changeBooking(w http.ResponseWriter, r *http.Request) {
	var req cardRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	action, secret := r.PathValue("action"), ""
	b, _ := find(r.PathValue("reference"))
	switch {
	case action == "card" && b.Status != "authorized" && !slices.Contains(finalStates, b.Status):
		b, secret = authorize(r.Context(), b.Reference, req)
	case action == "capture" && b.Hold != "": // a callback reports the outcome
		_, err = holdd.Capture(r.Context(), b.Hold, hold.CaptureRequest{Amount: req.Amount}, 0)
	case action == "cancel" && b.Hold != "":
		_, err = holdd.Cancel(r.Context(), b.Hold, "", 0)
	}
	if err != nil {
		b.Message = err.Error()
	}
	writeJSON(w, struct {
		booking
		ClientSecret string `json:"client_secret,omitempty"`
	}{b, secret})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the guest may have left
}

// receiveCallback applies each event once. holdd repeats an event until it gets a
// 2xx answer, and keeps the order of a hold's events.
func receiveCallback(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	e, invalid := client.VerifyCallback(body, r.Header, os.Getenv("HOLDD_CALLBACK_SECRET"))
	if err := cmp.Or(err, invalid); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h := e.Data.Hold
	if b, _ := find(h.Reference); b.Attempts > 0 { // it is one of ours
		update(h.Reference, func(b *booking) {
			if slices.Contains(b.Events, e.ID) {
				return
			}
			b.Events = append(b.Events, e.ID)
			b.Hold, b.Captured, b.Status = h.ID, h.CapturedAmount, "authorized"
			if slices.Contains(finalStates, h.State) {
				b.Status = h.State
			}
		})
	}
	w.WriteHeader(http.StatusNoContent)
}

// serve answers 500 if find or update panics: a booking cannot be read or written.
func serve(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if err := recover(); err != nil {
			log.Print(err)
			http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
		}
	}()
	http.DefaultServeMux.ServeHTTP(w, r)
}

func main() {
	if os.Getenv("HOLDD_CALLBACK_SECRET") == "" {
		log.Fatal("HOLDD_CALLBACK_SECRET is not set: see README.md")
	}
	c, err := client.New(os.Getenv("HOLDD_URL"), os.Getenv("HOLDD_TOKEN"))
	if err := cmp.Or(err, os.MkdirAll(folder, 0o700)); err != nil {
		log.Fatal(err)
	}
	holdd = c.WithRetries()
	http.HandleFunc("GET /bookings/{reference}", func(w http.ResponseWriter, r *http.Request) {
		b, _ := find(r.PathValue("reference"))
		writeJSON(w, b)
	})
	http.HandleFunc("POST /bookings/{reference}/{action}", changeBooking)
	http.HandleFunc("POST /holdd-events", receiveCallback)
	fmt.Println("listening on http://" + os.Getenv("LISTEN"))
	server := http.Server{Addr: os.Getenv("LISTEN"), Handler: http.HandlerFunc(serve),
		ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
