package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// limitedServer is a simulator behind a limiter of captures. It records when it
// accepted and rejected each.
type limitedServer struct {
	url     string
	sim     http.Handler
	latency time.Duration // of a capture
	server  *http.Server
	running sync.WaitGroup

	mu       sync.Mutex
	limiter  limiter
	accepted []acceptedCapture
	rejected []time.Time
}

type acceptedCapture struct {
	at     time.Time
	intent string
}

func startLimitedServer(
	ctx context.Context, sim *stripesim.Sim, l limiter, latency time.Duration,
) (*limitedServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &limitedServer{url: "http://" + listener.Addr().String(), sim: sim.Handler(),
		limiter: l, latency: latency}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: processTimeout}
	s.running.Go(func() { _ = s.server.Serve(listener) })
	s.running.Go(func() { sim.Run(ctx) })
	return s, nil
}

// stop waits until the server has ended. Its context must have ended.
func (s *limitedServer) stop() {
	_ = s.server.Close()
	s.running.Wait()
}

// ServeHTTP implements [http.Handler].
func (s *limitedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, isCapture := strings.CutSuffix(r.URL.Path, "/capture")
	if !isCapture {
		s.sim.ServeHTTP(w, r)
		return
	}
	if !s.begin(path[strings.LastIndex(path, "/")+1:]) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Stripe-Rate-Limited-Reason", "endpoint-rate")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":{"type":"invalid_request_error","code":"rate_limit",`+
			`"message":"Request rate limit exceeded."}}`)
		return
	}
	timer := time.NewTimer(s.latency)
	<-timer.C
	s.sim.ServeHTTP(w, r)
	s.mu.Lock()
	s.limiter.end()
	s.mu.Unlock()
}

func (s *limitedServer) begin(intent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.limiter.begin(now) {
		s.rejected = append(s.rejected, now)
		return false
	}
	s.accepted = append(s.accepted, acceptedCapture{now, intent})
	return true
}

// runOtherClient uses the limit of captures at a rate until ctx ends. It tries
// a rejected request again after a few milliseconds.
func (s *limitedServer) runOtherClient(ctx context.Context, perSecond float64) {
	began, sent := time.Now(), 0.0
	for sleepContext(ctx, 3*time.Millisecond) == nil {
		if sent >= time.Since(began).Seconds()*perSecond {
			continue
		}
		s.mu.Lock()
		if s.limiter.begin(time.Now()) {
			s.limiter.end()
			sent++
		}
		s.mu.Unlock()
	}
}
