package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holdd/holdd/cmd/holdd-dev/hotel"
	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	apiAddress = "127.0.0.1:8420"
	simAddress = "127.0.0.1:12113"
	// hotelAddress serves the hotel's website.
	hotelAddress = "127.0.0.1:8421"
	// publishableKey is public in any case.
	publishableKey = "pk_test_holdd_dev"
	// testKey is not a secret: the simulator accepts every sk_test_ key.
	testKey = "sk_test_holdd_dev"
	// callbackSecret is not a secret either. A booking system reads its own
	// from a file or the environment.
	callbackSecret = "whsec_aG9sZGQtZGV2IHNpZ25zIGl0cyBjYWxsYmFja3Mh"
)

// Lengths of time, in days.
const (
	authorizationDays = 7.0
	shortDays         = 3.0 // the authorization of the stay that nearly expires
	longStayDays      = 3.2 // of the stays that outlast that authorization
	warnDays          = 2.0
	marginDays        = 1.0
)

// runDemo starts every part, runs the booking system until ctx or the time
// limit ends, stops every part and prints the summary.
func runDemo(ctx context.Context, o options, stdout io.Writer) error {
	out := newPrinter(stdout)
	s, err := startServices(o.day, out)
	defer s.stop()
	if err != nil {
		return err
	}
	settings, err := newSettings(o.day, s)
	if err != nil {
		return err
	}
	holdd, err := startDaemon(ctx, daemon.Options{Settings: settings, Version: "dev",
		Logger: newErrorLogger(stdout), Transport: s.sim.Transport()})
	if err != nil {
		return fmt.Errorf("start holdd: %w", err)
	}
	client, err := api.NewClient(holdd.url, "")
	if err != nil {
		return errors.Join(err, holdd.stop())
	}
	defer client.Close()
	hotelURL, err := s.serveHotel(client, holdd.url+"/console/")
	if err != nil {
		return errors.Join(fmt.Errorf("start the hotel's website: %w", err), holdd.stop())
	}
	out.printBanner(o, hotelURL, holdd.url, s.simURL, s.redisAddress)

	running, stop := context.WithCancel(ctx)
	defer stop()
	if o.runFor > 0 {
		time.AfterFunc(o.runFor, stop)
	}
	context.AfterFunc(holdd.ended, stop) // the demo needs the daemon
	started := time.Now()
	system := &bookingSystem{client: client, sim: s.sim, out: out, day: o.day}
	system.run(running, o.perMinute)
	out.printNote("no more bookings; holdd finishes the requests in flight …")
	err = holdd.stop()
	s.stop()
	return errors.Join(err, printSummary(out, s.sim, time.Since(started)))
}

// newSettings returns the daemon's settings. holdd-dev passes them as an
// operator does, in the environment.
func newSettings(day time.Duration, services *services) (*config.Settings, error) {
	s, err := config.Load(nil, []string{
		"STRIPE_API_KEY=" + testKey,
		"STRIPE_API_BASE=" + services.simURL,
		"REDIS_URL=redis://" + services.redisAddress + "/0",
		"HOLDD_LISTEN=" + addressOrFreePort(apiAddress),
		"HOLDD_CALLBACK_URL=" + services.callbackURL,
		"HOLDD_CALLBACK_SECRET=" + callbackSecret,
	}, "")
	if err != nil {
		return nil, fmt.Errorf("built-in settings: %w", err)
	}
	// The settings accept no less than a minute.
	s.ExpiryMargin = daysLong(marginDays, day)
	s.AlertThresholds = []time.Duration{daysLong(warnDays, day)}
	return s, nil
}

// daysLong returns how long a number of days takes when one takes day.
func daysLong(days float64, day time.Duration) time.Duration {
	return time.Duration(days * float64(day))
}

// newSimulator returns a simulator in which an authorization lasts
// authorizationDays, or the days in the PaymentIntent's metadata. A guest who
// books in a browser has the time that the card's network gives.
func newSimulator(day time.Duration, url string) *stripesim.Sim {
	return stripesim.New(stripesim.Options{Seed: 1, PagesURL: url,
		AuthorizationWindow: func(c stripesim.Card) time.Duration {
			if c.Metadata[hotel.BrowserKey] != "" {
				return stripesim.DefaultAuthorizationWindow(c)
			}
			if c.Metadata[shortKey] != "" {
				return daysLong(shortDays, day)
			}
			return daysLong(authorizationDays, day)
		}})
}
