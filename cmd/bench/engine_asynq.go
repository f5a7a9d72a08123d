package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

// asynqEngine is asynq with a delayed task for each hold.
type asynqEngine struct {
	b     *bench
	hurry int // by how much its retries come sooner; 0: as they are
}

func (asynqEngine) name() string { return "asynq" }

// payload is what a task of the other engines carries: the same hold.
type payload struct {
	PaymentIntent string    `json:"payment_intent"`
	Reference     string    `json:"reference,omitempty"`
	Amount        int64     `json:"amount"`
	Currency      string    `json:"currency"`
	ExpiresAt     time.Time `json:"expires_at"`
}

func (t *task) payload() payload {
	return payload{PaymentIntent: t.intent(), Reference: t.reference, Amount: 12000, Currency: "eur", ExpiresAt: t.expires.UTC().Truncate(time.Second)}
}

// enqueuers is how many goroutines enqueue: asynq has no batches, and one at a time would measure the round trip.
const enqueuers = 64

func (asynqEngine) seed(ctx context.Context, s *server, all []task) (time.Duration, error) {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: s.addr, PoolSize: enqueuers})
	defer client.Close()
	began := time.Now()
	err := inParallel(len(all), 50, enqueuers, func(from, to int) error {
		for i := from; i < to; i++ {
			b, err := json.Marshal(all[i].payload())
			if err != nil {
				return err
			}
			_, err = client.EnqueueContext(ctx, asynq.NewTask("capture", b), asynq.TaskID(all[i].intent()), asynq.ProcessAt(all[i].at))
			if err != nil {
				return fmt.Errorf("asynq: enqueue: %w", err)
			}
		}
		return nil
	})
	return time.Since(began), err
}

func (e asynqEngine) start(_ context.Context, s *server, stripe string) (*proc, error) {
	env := workerEnv(s, stripe)
	if e.hurry > 0 {
		env = append(env, "BENCH_HURRY="+strconv.Itoa(e.hurry))
	}
	p, err := e.b.start("asynq", env, e.b.bin("asynqworker"))
	if err != nil {
		return nil, err
	}
	if err := p.ready(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}
