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
	maxScenarios = 500 // stories under way at once; more bookings wait
	callTimeout  = 10 * time.Second
)

// demoClient makes bookings and asks holdd to see to their holds.
type demoClient struct {
	options options
	sim     *stripesim.Sim
	client  *api.Client
	ledger  *bookingLedger
	printer *printer
	rng     *rand.Rand // of run's goroutine alone
}

func newDemoClient(
	o options, sim *stripesim.Sim, client *api.Client, b *bookingLedger, t *printer,
) *demoClient {
	return &demoClient{options: o, sim: sim, client: client, ledger: b, printer: t,
		rng: rand.New(rand.NewPCG(o.seed, 0))}
}

// run makes bookings until ctx ends, and returns when no request is under way
// any more.
func (h *demoClient) run(ctx context.Context) {
	var runs sync.WaitGroup
	defer runs.Wait()
	room := make(chan struct{}, maxScenarios)
	tick := time.NewTicker(time.Minute / time.Duration(h.options.perMinute))
	defer tick.Stop()
	for n := 1; ; n++ {
		g := h.nextBooking(n)
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		runs.Go(func() {
			defer func() { <-room }()
			g.run(ctx)
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// scenarioRun is one booking on its way through a story.
type scenarioRun struct {
	*demoClient
	*booking
	scenario   *scenario
	card       string // test PaymentMethod
	days       float64
	partAmount int64 // of the amount, where a story takes a part
}

var cardholderNames = []string{
	"Amélie Laurent", "Bao Nguyen", "Chiara Conti", "Daniel Okafor", "Elif Yılmaz", "Farid Haddad",
	"Greta Nilsson", "Hana Sato", "Ivan Petrov",
	"Jorge Fuentes", "Kavya Rao", "Liam O'Brien", "Marta Kowalska", "Noah Schmidt", "Olga Horváth",
	"Paulo Ferreira", "Quinn Walker", "Rosa Jiménez",
	"Samuel Tesfaye", "Tove Lindqvist", "Uma Pillai", "Victor Dumont", "Wen Zhao", "Zofia Nowak",
}

// nextBooking draws a booking. All chance is here, so that the same seed draws
// the same bookings.
func (h *demoClient) nextBooking(n int) *scenarioRun {
	s := h.pickScenario(n)
	amount, currency := int64(80_00+h.rng.IntN(620)*100+h.rng.IntN(2)*50), "eur"
	switch h.rng.IntN(10) {
	case 0, 1:
		currency = "gbp"
	case 2:
		amount, currency = amount*3/2, "jpy" // has no minor units
	}
	cards := []string{"pm_card_visa", "pm_card_mastercard", "pm_card_amex"}
	g := &scenarioRun{demoClient: h, scenario: s,
		booking: &booking{kind: s.kind, subject: subject{
			ref:        fmt.Sprintf("HB-%04d", n),
			cardholder: cardholderNames[h.rng.IntN(len(cardholderNames))],
			amount:     amount, currency: currency}},
		card:       cards[h.rng.IntN(len(cards))],
		days:       1 + float64(h.rng.IntN(5))/2,
		partAmount: amount / int64(4+h.rng.IntN(12)),
	}
	if s.card != "" {
		g.card = s.card
	}
	return g
}

// pickScenario tells every story once, then by weight.
func (h *demoClient) pickScenario(n int) *scenario {
	if n <= len(scenarios) {
		return &scenarios[n-1]
	}
	all := 0
	for i := range scenarios {
		all += scenarios[i].weight
	}
	at := h.rng.IntN(all)
	for i := range scenarios {
		if at -= scenarios[i].weight; at < 0 {
			return &scenarios[i]
		}
	}
	panic("unreachable: at is less than the sum of the weights")
}

func (g *scenarioRun) run(ctx context.Context) {
	g.ledger.add(g.booking)
	g.scenario.run(ctx, g)
}

// daysFromNow is the moment so many days from now.
func (g *scenarioRun) daysFromNow(days float64) time.Time {
	return time.Now().Add(g.daysDuration(days))
}

func (g *scenarioRun) daysDuration(days float64) time.Duration {
	return time.Duration(days * float64(g.options.dayLength))
}

// wait lets so much time pass, and reports whether the hotel is still open.
func (g *scenarioRun) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// callContext bounds a request. It is not cut off when the hotel closes: what
// was begun is known.
func callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
}

// beginChange bounds a request that changes the hold. What the log says of the
// change until done is called has been told by the hotel.
func (g *scenarioRun) beginChange(ctx context.Context) (c context.Context, done func()) {
	c, cancel := callContext(ctx)
	g.ledger.markChanging(g.booking, true)
	return c, func() {
		g.ledger.markChanging(g.booking, false)
		cancel()
	}
}

// pay is the guest's payment page: it authorizes the amount on the card and
// reports whether there is an intent to go on with.
func (g *scenarioRun) pay(authorization float64) bool {
	id, err := g.sim.Authorize(
		stripesim.Hold{Amount: g.amount, Currency: g.currency, PaymentMethod: g.card,
			Description: "Booking " + g.ref, Metadata: map[string]string{"booking": g.ref,
				daysKey: strconv.FormatFloat(authorization, 'f', -1, 64)}})
	if err != nil {
		g.ledger.place(g.booking, "", declined)
		_, said, _ := strings.Cut(strings.TrimPrefix(err.Error(), "stripesim: "), ": ")
		g.printer.printLine(g.subject, red, "declined", "by the guest's bank: "+said+
			" No hold, so nothing to see to")
		return false
	}
	in, _ := g.sim.Intent(id)
	if in.Status == "requires_action" {
		g.ledger.place(g.booking, id, inThreeDSecure)
		g.printer.printLine(g.subject, cyan, "3-D Sec.",
			"requires_action: the guest's bank wants to know that it is the guest")
		return true
	}
	g.ledger.place(g.booking, id, stillHeld)
	return true
}

// schedule hands the hold to holdd, and tells how it goes on if that was
// granted.
func (g *scenarioRun) schedule(ctx context.Context, w hold.ScheduleRequest, plan string) bool {
	w.PaymentIntent, w.Reference, w.Metadata = g.intent, g.ref,
		map[string]string{"guest": g.cardholder}
	c, cancel := callContext(ctx)
	defer cancel()
	v, _, err := g.client.Schedule(c, w)
	if err != nil {
		g.reportRejection(err)
		return false
	}
	g.printer.printLine(g.subject, cyan, "booked", plan+"; the authorization ends at "+
		formatClock(v.ExpiresAt.Local()))
	return true
}

// reportRejection tells why holdd did not grant a wish.
func (g *scenarioRun) reportRejection(err error) {
	var p *api.Problem
	switch {
	case !errors.As(err, &p):
		g.ledger.count(otherRejections)
		g.printer.printLine(g.subject, red, "unserved", err.Error())
	case p.Code == hold.AfterDeadline:
		g.ledger.count(rejectedAfterDeadline)
		reason := "422 after_deadline: checkout is later than the authorization lasts"
		if p.Deadline != nil {
			reason += ", which is until " + formatClock(p.Deadline.Local())
		}
		g.printer.printLine(g.subject, red, "refused", reason)
	case p.Status == 409:
		g.ledger.count(alreadySettled)
		g.printer.printLine(g.subject, red, "too late",
			fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail))
	default:
		g.ledger.count(otherRejections)
		g.printer.printLine(g.subject, red, "refused",
			fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Error()))
	}
}

// cancel asks holdd to let the money go.
func (g *scenarioRun) cancel(ctx context.Context, reason string) bool {
	g.printer.printLine(g.subject, cyan, "cancel", reason)
	c, done := g.beginChange(ctx)
	defer done()
	if _, err := g.client.Cancel(c, g.intent, 0); err != nil {
		g.reportRejection(err)
		return false
	}
	return true
}
