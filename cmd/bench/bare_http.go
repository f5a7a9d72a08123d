package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// measureHTTP measures how fast net/http alone takes the batches that holdd's
// API gets: the stub reads a body and sends it back.
func (b *bareBench) measureHTTP(ctx context.Context, n int) error {
	bodies, err := batchBodies(newTasks(n, time.Now().Add(24*time.Hour), true))
	if err != nil {
		return err
	}
	took, err := postBatches(ctx, b.stripe.url+"/_stub/echo", bodies,
		func(i int, res *http.Response, answer []byte) error {
			if res.StatusCode != http.StatusOK || len(answer) != len(bodies[i]) {
				return fmt.Errorf("stub: echo: %s, %d bytes", res.Status, len(answer))
			}
			return nil
		})
	if err != nil {
		return err
	}
	b.samples.add(scheduleHTTPRate, bareEngine{b.launcher}, float64(n)/took.Seconds())
	return nil
}

// batchBodies returns the bodies of the batches of the API.
func batchBodies(all []task) (bodies [][]byte, err error) {
	for from := 0; from < len(all); from += scheduleBatch {
		var reqs []hold.ScheduleRequest
		for i := from; i < min(from+scheduleBatch, len(all)); i++ {
			reqs = append(reqs, all[i].scheduleRequest())
		}
		b, err := json.Marshal(map[string]any{"holds": reqs})
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, b)
	}
	return bodies, nil
}

// postBatches posts bodies, scheduleCallers at a time, and returns how long
// that took. check returns an error for a wrong answer.
func postBatches(
	ctx context.Context, url string, bodies [][]byte,
	check func(i int, res *http.Response, answer []byte) error,
) (time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: scheduleCallers}}
	defer client.CloseIdleConnections()
	began := time.Now()
	err := runInParallel(len(bodies), 1, scheduleCallers, func(i, _ int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url,
			bytes.NewReader(bodies[i]))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		return check(i, res, answer)
	})
	return time.Since(began), err
}
