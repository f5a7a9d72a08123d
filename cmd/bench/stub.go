package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// stripeStub is the process that answers captures and counts them.
type stripeStub struct {
	*process
	url string
}

func (l *launcher) startStub() (*stripeStub, error) {
	p, err := l.startProcess("stub", nil, l.binPath("stub"))
	if err != nil {
		return nil, err
	}
	url, err := p.readLine()
	if err != nil {
		p.stop()
		return nil, err
	}
	return &stripeStub{p, url}, nil
}

// reset starts a run of n holds. The stub answers each after a delay.
func (s *stripeStub) reset(n int, delay time.Duration) error {
	res, err := http.PostForm(s.url+"/_stub/reset", url.Values{"n": {strconv.Itoa(n)},
		"delay": {delay.String()}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("stub: reset: %s", res.Status)
	}
	return nil
}

type captureCounts struct{ Count, Again, First, Last, Stray int64 }

func (s *stripeStub) fetchCounts() (c captureCounts, err error) {
	res, err := http.Get(s.url + "/_stub/count")
	if err != nil {
		return c, err
	}
	defer res.Body.Close()
	return c, json.NewDecoder(res.Body).Decode(&c)
}

// fetchArrivals returns when the first capture of each hold arrived; zero means
// that none did.
func (s *stripeStub) fetchArrivals() ([]time.Time, error) {
	res, err := http.Get(s.url + "/_stub/arrivals")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	out := make([]time.Time, len(b)/8)
	for i := range out {
		if ns := binary.LittleEndian.Uint64(b[8*i:]); ns != 0 {
			out[i] = time.Unix(0, int64(ns))
		}
	}
	return out, nil
}

// waitForCaptures waits until n holds were captured. It fails if the worker
// ends, or if no capture arrives within processTimeout.
func (s *stripeStub) waitForCaptures(
	ctx context.Context, n int64, worker *process,
) (c captureCounts, err error) {
	moved := time.Now()
	for {
		was := c.Count
		if c, err = s.fetchCounts(); err != nil {
			return c, err
		}
		if c.Count >= n {
			if c.Again > 0 || c.Stray > 0 {
				err = fmt.Errorf(
					"%s: %d captures were sent twice, %d were of an unknown PaymentIntent",
					worker.name, c.Again, c.Stray)
			}
			return c, err
		}
		if c.Count > was {
			moved = time.Now()
		}
		err := worker.errIfEnded()
		if err == nil && time.Since(moved) > processTimeout {
			err = worker.withLog(fmt.Errorf("%d of %d holds were captured, and no other within %s",
				c.Count, n, processTimeout))
		}
		if err == nil {
			err = sleepContext(ctx, 10*time.Millisecond)
		}
		if err != nil {
			return c, err
		}
	}
}
