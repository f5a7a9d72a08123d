package main

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// fakeEraser erases the personal data of the holds of a worker.
type fakeEraser struct{ worker *fakeWorker }

func (e fakeEraser) Erase(_ context.Context, id, by string) (hold.Hold, time.Time, error) {
	e.worker.mu.Lock()
	defer e.worker.mu.Unlock()
	now := time.Now()
	h, ok := e.worker.holds[id]
	if !ok {
		return h, now, holdNotFoundError(id)
	}
	d, err := h.ErasePersonalData(by, now)
	if err == nil {
		e.worker.holds[id] = d.Hold
	}
	return d.Hold, now, err
}
