package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/holdd/holdd/cmd/bench/capture"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/wiring"
)

const (
	scheduleBatch   = 500 // holds of one batch
	scheduleCallers = 4   // goroutines that schedule
)

// holddEngine is the shipped binary, with a budget above what it can use.
type holddEngine struct {
	launcher *launcher
	rate     int // of the budget; 0: the highest that the setting accepts
	// url and partitions are set unless Redis is one server with one partition.
	url        string
	partitions int
	// program and env are set for the daemon under profilers.
	program string
	env     []string
}

func (holddEngine) name() string { return "holdd" }

func (e holddEngine) redisURL(s *redisServer) string {
	if e.url != "" {
		return e.url
	}
	return "redis://" + s.addr
}

// noStripe is the client of a worker that only schedules: Stripe does not
// answer.
type noStripe struct{}

func (noStripe) Do(context.Context, hold.Call) hold.Answer {
	return hold.Answer{Kind: hold.AnswerUnreachable}
}

// scheduler returns a worker on the real store that accepts requests and
// captures nothing.
func (e holddEngine) scheduler(
	ctx context.Context, s *redisServer,
) (*worker.Engine, *store.Store, error) {
	st, _, err := store.Open(ctx, store.Options{URL: e.redisURL(s), Partitions: e.partitions})
	if err != nil {
		return nil, nil, err
	}
	// Mark the schedule as reconciled, because a worker reconciles a new Redis
	// at once.
	if token, _, err := st.BeginOrResumeReconcileRun(ctx, []byte("{}"), time.Minute, time.Minute,
		time.Hour); err != nil {
		return nil, nil, errors.Join(err, st.Close())
	} else if token > 0 {
		if _, err := st.SaveReconcileRunIfLockHeld(ctx, token, []byte("{}"), nil, 0, true); err != nil {
			return nil, nil, errors.Join(err, st.Close())
		}
	}
	w, err := wiring.NewEngine(st, noStripe{}, worker.Options{Replica: "bench"})
	if err != nil {
		_ = st.Close()
		return nil, nil, err
	}
	return w, st, nil
}

func (t *task) scheduleRequest() hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: t.intent(), Account: t.account,
		Reference: t.reference,
		Amount:    12000, Currency: "eur",
		ExpiresAt: t.expiresAt.UTC().Format(time.RFC3339Nano),
		CaptureAt: t.captureAt.UTC().Format(time.RFC3339Nano)}
}

func (e holddEngine) seed(ctx context.Context, s *redisServer, all []task) (time.Duration, error) {
	w, st, err := e.scheduler(ctx, s)
	if err != nil {
		return 0, err
	}
	defer st.Close()
	began := time.Now()
	err = runInParallel(len(all), scheduleBatch, scheduleCallers, func(from, to int) error {
		reqs := make([]hold.ScheduleRequest, 0, scheduleBatch)
		for i := from; i < to; i++ {
			reqs = append(reqs, all[i].scheduleRequest())
		}
		for _, r := range w.Scheduler.Schedule(ctx, reqs, "api") {
			if r.Err != nil {
				return fmt.Errorf("holdd: schedule: %w", r.Err)
			}
		}
		return ctx.Err()
	})
	return time.Since(began), err
}

func (e holddEngine) start(ctx context.Context, s *redisServer, stripe string) (*process, error) {
	p, _, err := e.serve(ctx, s, stripe)
	return p, err
}

// serve starts the daemon, waits until it is ready, and returns the URL of its
// API.
func (e holddEngine) serve(
	ctx context.Context, s *redisServer, stripe string,
) (*process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	rate := strconv.Itoa(e.rate)
	if e.rate == 0 {
		rate = "100000"
	}
	url := "http://127.0.0.1:" + strconv.Itoa(port)
	program := e.program
	if program == "" {
		program = "holdd"
	}
	p, err := e.launcher.startProcess("holdd", append([]string{
		"STRIPE_API_KEY=" + capture.Key, "STRIPE_API_BASE=" + stripe, "REDIS_URL=" + e.redisURL(s),
		"HOLDD_PARTITIONS=" + strconv.Itoa(max(1, e.partitions)),
		"HOLDD_LISTEN=127.0.0.1:" + strconv.Itoa(port),
		"HOLDD_CONCURRENCY=" + strconv.Itoa(concurrency), "HOLDD_RATE=" + rate,
		"HOLDD_MIRROR_TERMS=false", // the other engines send captures only
		"HOLDD_LOG_FORMAT=json",
	}, e.env...), e.launcher.binPath(program), "serve")
	if err != nil {
		return nil, "", err
	}
	for until := time.Now().Add(processTimeout); ; {
		if res, err := http.Get(url + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return p, url, nil
			}
		}
		err := p.errIfEnded()
		if err == nil && time.Now().After(until) {
			err = p.withLog(fmt.Errorf("not ready within %s", processTimeout))
		}
		if err == nil {
			err = sleepContext(ctx, time.Millisecond)
		}
		if err != nil {
			p.stop()
			return nil, "", err
		}
	}
}

// seedHTTP schedules in batches through the API of a running daemon.
func (holddEngine) seedHTTP(ctx context.Context, url string, all []task) (time.Duration, error) {
	bodies, err := batchBodies(all)
	if err != nil {
		return 0, err
	}
	return postBatches(ctx, url+"/v1/holds:batch", bodies,
		func(i int, res *http.Response, answer []byte) error {
			want := min(scheduleBatch, len(all)-i*scheduleBatch)
			if got := bytes.Count(answer, []byte(`"status":201`)); got != want {
				return fmt.Errorf("holdd: batch of %d: %s, %d created: %.300s",
					want, res.Status, got, answer)
			}
			return nil
		})
}
