package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/cmd/holdd-dev/hotel"
	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/stripesim"
)

// serverShutdownTimeout bounds how long a request may delay the shutdown.
const serverShutdownTimeout = 2 * time.Second

// services are the parts that the daemon needs.
type services struct {
	sim                               *stripesim.Sim
	simURL, redisAddress, callbackURL string
	stops                             []func()
}

// startServices starts the services. After an error the caller stops those that
// have started.
func startServices(day time.Duration, out *printer) (s *services, err error) {
	simAddress := addressOrFreePort(simAddress)
	s = &services{sim: newSimulator(day, "http://"+simAddress)}
	var stop func()
	if s.simURL, stop, err = serveSimulator(s.sim, simAddress); err != nil {
		return s, err
	}
	s.stops = append(s.stops, stop)
	if s.redisAddress, stop, err = startRedis(); err != nil {
		return s, err
	}
	s.stops = append(s.stops, stop)
	if s.callbackURL, stop, err = serveCallbacks(out); err != nil {
		return s, err
	}
	s.stops = append(s.stops, stop)
	return s, nil
}

// stop stops the services, the last one first. It may be called twice.
func (s *services) stop() {
	for _, stop := range slices.Backward(s.stops) {
		stop()
	}
	s.stops = nil
}

// daemonProcess is a running daemon.
type daemonProcess struct {
	url    string
	ended  context.Context // done once the daemon has ended
	cancel context.CancelFunc
	err    error // valid once ended is done
}

// startDaemon starts the daemon and returns once its API listens. The daemon
// outlives ctx: stop ends it.
func startDaemon(ctx context.Context, o daemon.Options) (*daemonProcess, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended, markEnded := context.WithCancel(context.WithoutCancel(ctx))
	p := &daemonProcess{ended: ended, cancel: cancel}
	ready := make(chan string, 1)
	o.Ready = func(url string) { ready <- url }
	go func() {
		defer markEnded()
		p.err = daemon.Run(running, o)
	}()
	select {
	case p.url = <-ready:
		return p, nil
	case <-ended.Done():
		cancel()
		return nil, cmp.Or(p.err, errors.New("it ended before its API listened"))
	}
}

// stop ends the daemon gracefully and returns its error.
func (p *daemonProcess) stop() error {
	p.cancel()
	<-p.ended.Done()
	return p.err
}

// newErrorLogger returns the daemon's logger. It shows errors only, because the
// callbacks already report what happens to each hold.
func newErrorLogger(w io.Writer) *zap.Logger {
	return zap.New(zapcore.NewCore(
		zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		zapcore.Lock(zapcore.AddSync(w)), zapcore.ErrorLevel))
}

// startRedis starts the embedded Redis.
func startRedis() (address string, stop func(), err error) {
	redis := miniredis.NewMiniRedis()
	redis.ClockTTL(true)
	if err := redis.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return redis.Addr(), redis.Close, nil
}

// serveSimulator serves the Stripe API and the control endpoints of sim on
// loopback.
func serveSimulator(sim *stripesim.Sim, address string) (url string, stop func(), err error) {
	url, stopServer, err := serveHTTP(address, sim.ServerHandler())
	if err != nil {
		return "", nil, fmt.Errorf("start the simulator: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { sim.Run(ctx) })
	return url, func() {
		cancel()
		running.Wait()
		stopServer()
	}, nil
}

// serveHotel serves the website of the hotel, whose guests book in a browser.
func (s *services) serveHotel(client *api.Client, consoleURL string) (url string, err error) {
	customer, card, err := s.sim.Cards.SaveCard("", "pm_card_visa")
	if err != nil {
		return "", err
	}
	url, stop, err := serveHTTP(hotelAddress, hotel.New(hotel.Options{Holdd: client,
		ScriptURL: s.simURL + "/v3/", PublishableKey: publishableKey, StripeURL: s.simURL,
		StripeKey: testKey, ConsoleURL: consoleURL, Returning: hotel.ReturningCustomer{
			Name: "Hana Sato", Customer: customer, PaymentMethod: card, Last4: "4242"}}))
	if err == nil {
		s.stops = append(s.stops, stop)
	}
	return url, err
}

// serveHTTP serves h on address, or on a free port if address is in use.
func serveHTTP(address string, h http.Handler) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", addressOrFreePort(address))
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	return "http://" + l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), serverShutdownTimeout)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		serving.Wait()
	}, nil
}

// addressOrFreePort returns address, or one with a free port if address is in
// use.
func addressOrFreePort(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return address // the server reports it
		}
	}
	defer l.Close()
	return l.Addr().String()
}
