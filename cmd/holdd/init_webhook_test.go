package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// createWithFaults creates a webhook endpoint in virtual time. The tries go wrong
// in these ways; later ones succeed. It returns the endpoints of the account and
// how long it took.
func createWithFaults(
	t *testing.T, faults ...stripesim.FaultKind,
) (all []gateway.WebhookEndpoint, secret hold.Secret, took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Options{Seed: 1})
		g, newErr := gateway.New(gateway.Options{APIKey: doctorAPIKey, Transport: sim.Transport()})
		if newErr != nil {
			t.Fatal(newErr)
		}
		defer g.CloseIdleConnections()
		sim.Faults.SetFaultFunc(func(c stripesim.Call) stripesim.Fault {
			if c.Class != stripesim.ClassWebhookEndpointCreate || c.NumberInClass > int64(len(faults)) {
				return stripesim.Fault{}
			}
			return stripesim.Fault{Kind: faults[c.NumberInClass-1]}
		})
		begin := time.Now()
		_, secret, err = createWebhook(t.Context(), g, "https://hotel.example/webhooks/stripe")
		took = time.Since(begin)
		var answer hold.Answer
		if all, answer = g.ListWebhookEndpoints(t.Context()); answer.Kind != hold.AnswerOK {
			t.Fatalf("%+v", answer)
		}
	})
	return all, secret, took, err
}

// TestCreateWebhook_OneEndpoint loses replies and finds the key in use.
func TestCreateWebhook_OneEndpoint(t *testing.T) {
	for name, faults := range map[string][]stripesim.FaultKind{
		"no fault":            {},
		"reply lost":          {stripesim.FaultDropReply},
		"request under way":   {stripesim.FaultDropReply, stripesim.FaultKeyInUse},
		"then a rate limit":   {stripesim.FaultDropReply, stripesim.FaultRateLimited},
		"then a lock timeout": {stripesim.FaultDropReply, stripesim.FaultLockTimeout},
		"all tries but one": {stripesim.FaultDropReply, stripesim.FaultKeyInUse,
			stripesim.FaultKeyInUse, stripesim.FaultKeyInUse},
	} {
		all, secret, took, err := createWithFaults(t, faults...)
		if err != nil || len(all) != 1 || secret.Reveal() == "" {
			t.Errorf("%s: %d endpoints, %v", name, len(all), err)
		}
		// Without a pause all tries fall into the time of the first request.
		tries := time.Duration(len(faults))
		if took < tries*time.Second || took > tries*2*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

// TestCreateWebhook_GivesUp ends after the last try. The outcome is unknown.
func TestCreateWebhook_GivesUp(t *testing.T) {
	_, _, took, err := createWithFaults(t, stripesim.FaultDropReply, stripesim.FaultKeyInUse,
		stripesim.FaultKeyInUse, stripesim.FaultKeyInUse, stripesim.FaultKeyInUse)
	if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitUnreachable ||
		took > 2*maxWebhookCreateTries*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
}
