// Command asynqworker is the worker that a user of asynq would run instead of
// holdd: its task captures with stripe-go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/cmd/bench/capture"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "asynqworker:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	concurrency, err := strconv.Atoi(os.Getenv("BENCH_CONCURRENCY"))
	if err != nil {
		return err
	}
	do := capture.New(os.Getenv("BENCH_STRIPE"), concurrency)
	// Both checks run every second. The one for delayed tasks is 5 s by
	// default; holdd's cron has 1 s.
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: os.Getenv("BENCH_REDIS"),
		PoolSize: concurrency + 16}, asynq.Config{
		Concurrency: concurrency, TaskCheckInterval: time.Second,
		DelayedTaskCheckInterval: time.Second, LogLevel: asynq.ErrorLevel,
	})
	mux := asynq.NewServeMux()
	mux.HandleFunc("capture", func(ctx context.Context, t *asynq.Task) error {
		var hold struct {
			PaymentIntent string `json:"payment_intent"`
		}
		if err := json.Unmarshal(t.Payload(), &hold); err != nil {
			return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
		}
		err := do(ctx, hold.PaymentIntent)
		var e *stripe.Error
		if errors.As(err, &e) && e.HTTPStatusCode != 429 && e.HTTPStatusCode >= 400 &&
			e.HTTPStatusCode < 500 {
			// expired: a retry cannot capture it
			return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
		}
		return err
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	server.Shutdown()
	return nil
}
