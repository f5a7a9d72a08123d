// Command booking-go is a booking service that holds money on its guests' cards
// with holdd. Copy it, and replace the map of bookings by your database.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const maxBody, tries = 1 << 20, 5 // tries of one request to holdd

var client = &http.Client{Timeout: 30 * time.Second}

// booking is a stay. Amounts are in minor units.
type booking struct {
	Reference    string `json:"reference"`
	Status       string `json:"status"` // pending, declined, requires_action, held, captured, …
	Hold         string `json:"hold,omitempty"`
	Captured     int64  `json:"captured,omitempty"`
	Message      string `json:"message,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"` // for Stripe.js in the guest's browser
	cards        int    // that were tried
}

type service struct {
	holdd, token string
	hook         *standardwebhooks.Webhook
	mu           sync.Mutex
	bookings     map[string]*booking
	seen         map[string]bool // ids of callbacks; in a database, a unique column
}

// answer is holdd's, as far as it is read.
type answer struct {
	ID, Code, Detail string
	Status           any    // a text, or the number of a problem
	ClientSecret     string `json:"client_secret"`
	PaymentIntent    string `json:"payment_intent"`
}

// call posts to holdd. It repeats the request with the same key while the
// outcome is unknown, so that holdd acts once.
func (s *service) call(ctx context.Context, path, key string, body any) (a answer, reason error) {
	b, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	for try := range tries {
		if try > 0 {
			time.Sleep(time.Second << (try - 1))
		}
		a = answer{}
		status, err := s.post(ctx, path, key, b, &a)
		if err == nil && status < 300 {
			return a, nil
		} else if err == nil && status < 500 && status != 429 && a.Code != "in_progress" {
			a.Status = "declined"
			return a, nil
		}
		reason = fmt.Errorf("holdd answers %d %s (%v)", status, a.Code, err)
	}
	return a, reason
}

func (s *service) post(
	ctx context.Context, path, key string, body []byte, a *answer,
) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.holdd+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(a)
}

// authorize holds the amount and schedules its capture, in one request. After
// the bank's dialog, or for another card, it confirms the same authorization.
func (s *service) authorize(ctx context.Context, b *booking, req map[string]any) {
	if b.Status != "pending" { // a repeat of an unknown outcome keeps its key
		b.cards++
		b.Status = "pending" // to be stored before the call
	}
	path, body := "/v1/authorizations", map[string]any{}
	if method := req["payment_method"]; method != nil {
		body["payment_method"] = method
	}
	if b.Hold == "" {
		body["amount"], body["currency"] = req["amount"], req["currency"]
		body["capture_at"], body["on_expiry"] = req["checkout_at"], "capture"
		body["reference"] = b.Reference
	} else {
		path += "/" + b.Hold + "/confirm"
	}
	a, err := s.call(ctx, path, fmt.Sprintf("%s-card-%d", b.Reference, b.cards), body)
	if b.Message = a.Detail; err != nil { // unknown: a repeat or a callback tells
		b.Message = err.Error()
		return
	}
	b.Status, b.ClientSecret = fmt.Sprint(a.Status), a.ClientSecret
	if b.Status == "authorized" {
		b.Status = "held"
	}
	if id := a.ID + a.PaymentIntent; id != "" { // one of them is set
		b.Hold = id
	}
}

// serveBooking books, and serves what a guest or the front desk does later.
func (s *service) serveBooking(w http.ResponseWriter, r *http.Request) {
	var req map[string]any
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&req)
	if err != nil && r.Method == http.MethodPost {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock() // one request at a time; with a database, lock the booking's row
	defer s.mu.Unlock()
	ref := r.PathValue("reference")
	b := s.bookings[ref]
	if b == nil {
		b = &booking{Reference: ref, Status: "new"}
	}
	switch action := r.PathValue("action"); {
	case action == "card" && b.Status != "held" && b.Captured == 0:
		s.bookings[ref] = b
		s.authorize(r.Context(), b, req)
	case b.Hold != "" && (action == "capture" || action == "cancel"): // a callback tells
		a, err := s.call(r.Context(), "/v1/holds/"+b.Hold+"/"+action, ref+"-"+action, req)
		if b.Message = a.Detail; err != nil {
			b.Message = err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(b) // the guest may have left
}

// serveCallback receives holdd's events. holdd repeats an event until it gets a
// 2xx answer, and keeps the order of a hold's events.
func (s *service) serveCallback(w http.ResponseWriter, r *http.Request) {
	var e struct {
		Data struct {
			Hold struct {
				ID, Reference, State string
				CapturedAmount       int64 `json:"captured_amount"`
			}
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || s.hook.Verify(body, r.Header) != nil || json.Unmarshal(body, &e) != nil {
		http.Error(w, "invalid signature or body", http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h, id := &e.Data.Hold, r.Header.Get("Webhook-Id")
	if b := s.bookings[h.Reference]; b != nil && !s.seen[id] {
		b.Hold, b.Captured, b.Status = h.ID, h.CapturedAmount, "held"
		switch h.State {
		case "captured", "canceled", "expired", "attention":
			b.Status = h.State
		}
	}
	s.seen[id] = true
	w.WriteHeader(http.StatusNoContent)
}

func main() {
	hook, err := standardwebhooks.NewWebhook(os.Getenv("HOLDD_CALLBACK_SECRET"))
	if err != nil {
		log.Fatal("HOLDD_CALLBACK_SECRET: ", err)
	}
	s := &service{holdd: os.Getenv("HOLDD_URL"), token: os.Getenv("HOLDD_TOKEN"), hook: hook,
		bookings: map[string]*booking{}, seen: map[string]bool{}}
	http.HandleFunc("GET /bookings/{reference}", s.serveBooking)
	http.HandleFunc("POST /bookings/{reference}/{action}", s.serveBooking)
	http.HandleFunc("POST /holdd-events", s.serveCallback)
	fmt.Println("listening on http://" + os.Getenv("LISTEN"))
	server := &http.Server{Addr: os.Getenv("LISTEN"), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
