package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// asynqEngine is asynq with a delayed task for each hold.
type asynqEngine struct{ launcher *launcher }

func (asynqEngine) name() string { return "asynq" }

// taskPayload is the hold in a task of the other engines.
type taskPayload struct {
	PaymentIntent string    `json:"payment_intent"`
	Reference     string    `json:"reference,omitempty"`
	Amount        int64     `json:"amount"`
	Currency      string    `json:"currency"`
	ExpiresAt     time.Time `json:"expires_at"`
}

func (t *task) payload() taskPayload {
	return taskPayload{PaymentIntent: t.intent(), Reference: t.reference, Amount: 12000,
		Currency: "eur", ExpiresAt: t.expiresAt.UTC().Truncate(time.Second)}
}

// enqueuers is how many goroutines enqueue. asynq has no batches, and one
// goroutine would measure the round trip.
const enqueuers = 64

func (asynqEngine) seed(ctx context.Context, s *redisServer, all []task) (time.Duration, error) {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: s.addr, PoolSize: enqueuers})
	defer client.Close()
	began := time.Now()
	err := runInParallel(len(all), 50, enqueuers, func(from, to int) error {
		for i := from; i < to; i++ {
			b, err := json.Marshal(all[i].payload())
			if err != nil {
				return err
			}
			_, err = client.EnqueueContext(ctx, asynq.NewTask("capture", b),
				asynq.TaskID(all[i].intent()), asynq.ProcessAt(all[i].captureAt))
			if err != nil {
				return fmt.Errorf("asynq: enqueue: %w", err)
			}
		}
		return nil
	})
	return time.Since(began), err
}

func (e asynqEngine) start(_ context.Context, s *redisServer, stripe string) (*process, error) {
	p, err := e.launcher.startProcess("asynq", workerEnv(s, stripe), e.launcher.binPath("asynqworker"))
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}
