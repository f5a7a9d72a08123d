package auditread

import (
	"context"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// slowestRate is the rate below which 429s do not lower the pace, in requests
	// a second.
	slowestRate = 0.1
	// recovery raises a lowered rate by this factor with each request.
	recovery = 1.02
)

// RequestPacer is the budget of one process that shares it with no other: a
// fixed rate, halved by each 429. It implements gateway.Budget. It is safe for
// concurrent use.
type RequestPacer struct {
	mu        sync.Mutex
	most, now float64 // requests a second
	next      time.Time
}

// NewRequestPacer returns a pacer of so many requests a second.
func NewRequestPacer(
	perSecond float64,
) *RequestPacer {
	return &RequestPacer{most: perSecond, now: perSecond}
}

// ReserveRequests implements gateway.Budget.
func (p *RequestPacer) ReserveRequests(
	_ context.Context, wants ...hold.BudgetRequest,
) ([]hold.BudgetReservation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]hold.BudgetReservation, len(wants))
	for i, w := range wants {
		now := time.Now()
		first := max(0, p.next.Sub(now))
		if first > w.Ahead || w.Requests < 1 {
			out[i].Wait = first - w.Ahead
			continue
		}
		out[i] = hold.BudgetReservation{Requests: 1, First: first}
		p.next = now.Add(first + time.Duration(float64(time.Second)/p.now))
		p.now = min(p.most, p.now*recovery)
	}
	return out, nil
}

// LowerRate implements gateway.Budget.
func (p *RequestPacer) LowerRate(
	context.Context, string, hold.Op, hold.ExceededRateLimit, time.Duration,
) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = max(slowestRate, p.now/2)
	return nil
}

// PauseOpOfAccount implements gateway.Budget. It does nothing: [ReadPayments] decides
// what follows from a request that the key may not make.
func (p *RequestPacer) PauseOpOfAccount(
	context.Context, string, hold.Op, time.Duration,
) error {
	return nil
}
