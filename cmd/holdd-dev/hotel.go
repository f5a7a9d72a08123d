package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	maxGuests   = 500 // stories under way at once; more bookings wait
	callTimeout = 10 * time.Second
)

// hotel makes bookings and asks holdd to see to their holds.
type hotel struct {
	o      options
	sim    *stripesim.Sim
	client *api.Client
	books  *books
	tell   *teller
	rand   *rand.Rand // of run's goroutine alone
}

func newHotel(o options, sim *stripesim.Sim, client *api.Client, b *books, t *teller) *hotel {
	return &hotel{o: o, sim: sim, client: client, books: b, tell: t, rand: rand.New(rand.NewPCG(o.seed, 0))}
}

// run makes bookings until ctx ends, and returns when no request is under way any more.
func (h *hotel) run(ctx context.Context) {
	var guests sync.WaitGroup
	defer guests.Wait()
	room := make(chan struct{}, maxGuests)
	tick := time.NewTicker(time.Minute / time.Duration(h.o.perMinute))
	defer tick.Stop()
	for n := 1; ; n++ {
		g := h.next(n)
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		guests.Go(func() {
			defer func() { <-room }()
			g.visit(ctx)
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// guest is one booking on its way through a story.
type guest struct {
	*hotel
	*booking
	story *story
	card  string // test PaymentMethod
	days  float64
	part  int64 // of the amount, where a story takes a part
}

var guestNames = []string{
	"Amélie Laurent", "Bao Nguyen", "Chiara Conti", "Daniel Okafor", "Elif Yılmaz", "Farid Haddad", "Greta Nilsson", "Hana Sato", "Ivan Petrov",
	"Jorge Fuentes", "Kavya Rao", "Liam O'Brien", "Marta Kowalska", "Noah Schmidt", "Olga Horváth", "Paulo Ferreira", "Quinn Walker", "Rosa Jiménez",
	"Samuel Tesfaye", "Tove Lindqvist", "Uma Pillai", "Victor Dumont", "Wen Zhao", "Zofia Nowak",
}

// next draws a booking. All chance is here, so that the same seed draws the same bookings.
func (h *hotel) next(n int) *guest {
	s := h.pick(n)
	amount, currency := int64(80_00+h.rand.IntN(620)*100+h.rand.IntN(2)*50), "eur"
	switch h.rand.IntN(10) {
	case 0, 1:
		currency = "gbp"
	case 2:
		amount, currency = amount*3/2, "jpy" // has no minor units
	}
	cards := []string{"pm_card_visa", "pm_card_mastercard", "pm_card_amex"}
	g := &guest{hotel: h, story: s,
		booking: &booking{kind: s.kind, subject: subject{
			ref: fmt.Sprintf("HB-%04d", n), guest: guestNames[h.rand.IntN(len(guestNames))], amount: amount, currency: currency}},
		card: cards[h.rand.IntN(len(cards))],
		days: 1 + float64(h.rand.IntN(5))/2,
		part: amount / int64(4+h.rand.IntN(12)),
	}
	if s.card != "" {
		g.card = s.card
	}
	return g
}

// pick tells every story once, then by weight.
func (h *hotel) pick(n int) *story {
	if n <= len(stories) {
		return &stories[n-1]
	}
	all := 0
	for i := range stories {
		all += stories[i].weight
	}
	at := h.rand.IntN(all)
	for i := range stories {
		if at -= stories[i].weight; at < 0 {
			return &stories[i]
		}
	}
	panic("unreachable: at is less than the sum of the weights")
}

func (g *guest) visit(ctx context.Context) {
	g.books.add(g.booking)
	g.story.tell(ctx, g)
}

// in is the moment so many days from now.
func (g *guest) in(days float64) time.Time { return time.Now().Add(g.day(days)) }

func (g *guest) day(days float64) time.Duration { return time.Duration(days * float64(g.o.day)) }

// wait lets so much time pass, and reports whether the hotel is still open.
func (g *guest) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// call bounds a request. It is not cut off when the hotel closes: what was begun is known.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
}

// change bounds a request that changes the hold. What the log says of the change until done is called has been told by the hotel.
func (g *guest) change(ctx context.Context) (c context.Context, done func()) {
	c, cancel := call(ctx)
	g.books.expect(g.booking, true)
	return c, func() {
		g.books.expect(g.booking, false)
		cancel()
	}
}

// pay is the guest's payment page: it authorizes the amount on the card and reports whether there is an intent to go on with.
func (g *guest) pay(authorization float64) bool {
	id, err := g.sim.Authorize(stripesim.Hold{Amount: g.amount, Currency: g.currency, PaymentMethod: g.card,
		Description: "Booking " + g.ref, Metadata: map[string]string{"booking": g.ref, daysKey: strconv.FormatFloat(authorization, 'f', -1, 64)}})
	if err != nil {
		g.books.place(g.booking, "", declined)
		_, said, _ := strings.Cut(strings.TrimPrefix(err.Error(), "stripesim: "), ": ")
		g.tell.line(g.subject, red, "declined", "by the guest's bank: "+said+" No hold, so nothing to see to")
		return false
	}
	in, _ := g.sim.Intent(id)
	if in.Status == "requires_action" {
		g.books.place(g.booking, id, atSecurity)
		g.tell.line(g.subject, cyan, "3-D Sec.", "requires_action: the guest's bank wants to know that it is the guest")
		return true
	}
	g.books.place(g.booking, id, stillHeld)
	return true
}

// schedule hands the hold to holdd, and tells how it goes on if that was granted.
func (g *guest) schedule(ctx context.Context, w hold.ScheduleRequest, plan string) bool {
	w.PaymentIntent, w.Reference, w.Metadata = g.intent, g.ref, map[string]string{"guest": g.guest}
	c, cancel := call(ctx)
	defer cancel()
	v, _, err := g.client.Schedule(c, w)
	if err != nil {
		g.refused(err)
		return false
	}
	g.tell.line(g.subject, cyan, "booked", plan+"; the authorization ends at "+clock(v.ExpiresAt.Local()))
	return true
}

// refused tells why holdd did not grant a wish.
func (g *guest) refused(err error) {
	var p *api.Problem
	switch {
	case !errors.As(err, &p):
		g.books.count(unserved)
		g.tell.line(g.subject, red, "unserved", err.Error())
	case p.Code == hold.AfterDeadline:
		g.books.count(refusedLate)
		why := "422 after_deadline: checkout is later than the authorization lasts"
		if p.Deadline != nil {
			why += ", which is until " + clock(p.Deadline.Local())
		}
		g.tell.line(g.subject, red, "refused", why)
	case p.Status == 409:
		g.books.count(tooLate)
		g.tell.line(g.subject, red, "too late", fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail))
	default:
		g.books.count(unserved)
		g.tell.line(g.subject, red, "refused", fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Error()))
	}
}

// cancel asks holdd to let the money go.
func (g *guest) cancel(ctx context.Context, why string) bool {
	g.tell.line(g.subject, cyan, "cancel", why)
	c, done := g.change(ctx)
	defer done()
	if _, err := g.client.Cancel(c, g.intent, 0); err != nil {
		g.refused(err)
		return false
	}
	return true
}
