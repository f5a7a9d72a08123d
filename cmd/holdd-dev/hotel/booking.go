package hotel

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	currency    = "eur"
	nightPrice  = 120_00 // minor units
	deposit     = 100_00 // for extras; released if there are none
	maxNights   = 30
	maxBookings = 1000
)

// booking is a guest's stay. The mutex guards what changes.
type booking struct {
	id        string // the first part of every Idempotency-Key
	reference string

	mu       sync.Mutex // held during a step, so that a second click waits for the first
	guest    string
	nights   int
	customer string // at Stripe, if the card is kept
	// step is the last request to holdd. It is repeated while its outcome is
	// unknown, under the same key.
	step          step
	steps         int // that were begun, for their keys
	unanswered    bool
	authorization string // the PaymentIntent, once it exists
	// booked says that the guest is booked. Nothing else changes afterwards.
	booked atomic.Bool
}

// price returns what the nights cost.
func (b *booking) price() int64 { return int64(b.nights) * nightPrice }

// toAuthorize returns the amount to hold.
func (b *booking) toAuthorize() int64 { return b.price() + deposit }

// bookings are the bookings in order of their creation.
type bookings struct {
	mu    sync.Mutex
	byID  map[string]*booking
	order []*booking
	made  int
}

func (s *bookings) add(nights int) *booking {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	b := &booking{id: rand.Text(), reference: fmt.Sprintf("WEB-%04d", s.made), nights: nights}
	s.byID[b.id] = b
	s.order = append(s.order, b)
	if len(s.order) > maxBookings {
		delete(s.byID, s.order[0].id)
		s.order = s.order[1:]
	}
	return b
}

func (s *bookings) find(id string) *booking {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// booked returns the guests who are booked, the last one first.
func (s *bookings) booked(most int) (list []*booking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Backward(s.order) {
		if b.booked.Load() && len(list) < most {
			list = append(list, b)
		}
	}
	return list
}
