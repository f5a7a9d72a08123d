package main

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/holdd/holdd/worker/stripesim"
)

// serveSimulator serves sim on a free port. stop waits until it has ended.
func serveSimulator(
	ctx context.Context, sim *stripesim.Sim,
) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: processTimeout}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	running.Go(func() { sim.Run(ctx) })
	return "http://" + l.Addr().String(), func() {
		cancel()
		_ = server.Close()
		running.Wait()
	}, nil
}
