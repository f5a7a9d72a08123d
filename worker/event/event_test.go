package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

var now = time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)

const holdID = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"

func newHold(t *testing.T) hold.Hold {
	t.Helper()
	req := hold.ScheduleRequest{PaymentIntent: holdID, Reference: "BK-2071", Amount: 12000,
		Currency: "eur", CaptureAt: "2026-12-02T11:00:00Z"}
	valid, err := req.Validate(now)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hold.DecideNewHold(valid, nil, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	d.Hold.Version = 7
	return d.Hold
}

func decode(t *testing.T, data []byte) (e event.Envelope) {
	t.Helper()
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEncodeDecisionEvents_RoundTrip(t *testing.T) {
	h := newHold(t)
	types := []hold.EventType{hold.EventScheduled, hold.EventChanged, hold.EventPaused,
		hold.EventResumed, hold.EventExpiring, hold.EventRetrying, hold.EventCaptured,
		hold.EventCanceled, hold.EventExpired, hold.EventAttention, hold.EventAcknowledged}
	d := hold.Decision{Hold: h}
	for _, eventType := range types {
		d.Events = append(d.Events, hold.Event{Type: eventType, Cause: hold.CauseRefused,
			Threshold: time.Hour})
	}
	encoded := event.EncodeDecisionEvents(&d, 8, true, now)
	if len(encoded) != len(types) {
		t.Fatalf("%d events of %d", len(encoded), len(types))
	}
	ids := map[string]bool{}
	for i, data := range encoded {
		e := decode(t, data)
		threshold := ""
		if types[i] == hold.EventExpiring {
			threshold = "1h0m0s"
		}
		if e.Type != types[i] || !e.Timestamp.Equal(now) || e.Data.Threshold != threshold ||
			e.Data.Cause != hold.CauseRefused.String() || e.Data.Hold.ID != holdID ||
			e.Data.Hold.Reference != "BK-2071" || e.Data.Hold.Amount != 12000 ||
			!e.Data.Hold.Livemode {
			t.Errorf("%s: %+v", types[i], e)
		}
		if !strings.HasPrefix(e.ID, "evt_3Px") || ids[e.ID] {
			t.Errorf("%s: the id %q is malformed or taken", types[i], e.ID)
		}
		ids[e.ID] = true
	}
	if event.EncodeDecisionEvents(&hold.Decision{Hold: h}, 8, true, now) != nil {
		t.Error("a decision without events has events")
	}
}

// Receivers ignore an id that they have seen, so ids differ between versions,
// times, milestones and causes, and only a repetition has the same one.
func TestEncodeDecisionEvents_IDs(t *testing.T) {
	h := newHold(t)
	id := func(encoded [][]byte) string { return decode(t, encoded[0]).ID }
	changed := hold.Decision{Hold: h, Events: []hold.Event{{Type: hold.EventChanged}}}
	warning := func(threshold time.Duration, cause hold.Cause) *hold.Decision {
		return &hold.Decision{Hold: h, Events: []hold.Event{{Type: hold.EventExpiring,
			Threshold: threshold, Cause: cause}}}
	}
	later := *warning(time.Hour, 0)
	later.Hold.ExpiresAt = later.Hold.ExpiresAt.Add(time.Hour)
	seen := map[string]string{}
	for name, got := range map[string]string{
		"version 8": id(event.EncodeDecisionEvents(&changed, 8, true, now)),
		"version 9": id(event.EncodeDecisionEvents(&changed, 9, true, now)),
		"version 8, later": id(event.EncodeDecisionEvents(&changed, 8, true,
			now.Add(time.Millisecond))),
		"1 h": id(event.EncodeMilestoneEvents(warning(time.Hour, 0), true, now)),
		"6 h": id(event.EncodeMilestoneEvents(warning(6*time.Hour, 0), true, now)),
		"1 h, another cause": id(event.EncodeMilestoneEvents(warning(time.Hour, hold.CauseOnExpiry),
			true, now)),
		"1 h, later deadline": id(event.EncodeMilestoneEvents(&later, true, now)),
		"system": decode(t, event.EncodeSystemEvent(event.Orphan, now,
			event.EventData{})).ID,
		"system, another time": decode(t, event.EncodeSystemEvent(event.Orphan, now,
			event.EventData{})).ID,
	} {
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q have the same id %s", name, other, got)
		}
		seen[got] = name
	}
	again := id(event.EncodeMilestoneEvents(warning(time.Hour, 0), true, now.Add(time.Minute)))
	if seen[again] != "1 h" {
		t.Errorf("a milestone that passes again has another id, %s", again)
	}
}

func TestEncodeSystemEvent_RoundTrip(t *testing.T) {
	want := event.EventData{Cause: "c", Replica: "one", Alive: []string{"two"}, Sink: "callback",
		Count: -1, Detail: "HTTP 500",
		Rejection: &event.RequestRejection{Source: "inbox", ID: "1-0", Account: "acct_1",
			Code: "invalid_parameter", Field: "amount", Reason: "invalid amount"},
		Intent: &event.IntentWithoutHold{PaymentIntent: "pi_2", Account: "acct_1",
			Reference: "BK-1",
			Amount:    100, Currency: "eur", Detail: "d"},
		Capacity: &event.CapacityRisk{Holds: 2, FirstAt: now, Rate: 25, AtLeast: true,
			Sums: []hold.Sum{{Currency: "eur", Amount: 100, Count: 2}}}}
	e := decode(t, event.EncodeSystemEvent(event.CapacityAtRisk, now, want))
	if e.Type != event.CapacityAtRisk || !e.Timestamp.Equal(now) ||
		!reflect.DeepEqual(e.Data, want) {
		t.Errorf("got %+v\nwant %+v", e, want)
	}
	if data := string(event.EncodeSystemEvent(event.StripeUnavailable, now,
		event.EventData{})); !strings.HasSuffix(data, `"data":{}}`) {
		t.Errorf("a system event has fields that are not set: %s", data)
	}
}

// publishedStore remembers subjects, as the store does over all replicas.
type publishedStore struct {
	subjects map[string][]byte
	err      error
}

func (s *publishedStore) PublishOnce(_ context.Context, subject string, e []byte) (bool, error) {
	if s.err != nil || s.subjects[subject] != nil {
		return false, s.err
	}
	s.subjects[subject] = e
	return true, nil
}

func TestPublishOnce(t *testing.T) {
	store := &publishedStore{subjects: map[string][]byte{}}
	p := event.NewSystemEventPublisher(store, func() time.Time { return now })
	publish := func(eventType hold.EventType, subject string) bool {
		t.Helper()
		first, err := p.PublishOnce(t.Context(), eventType, subject,
			event.EventData{Detail: subject})
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	if !publish(event.Orphan, "pi_1") || publish(event.Orphan, "pi_1") {
		t.Error("an event is not published exactly once")
	}
	if !publish(event.Orphan, "pi_2") || !publish(event.AuthorizationAbandoned, "pi_1") {
		t.Error("another subject or another type is not published")
	}
	e := decode(t, store.subjects["reconcile.orphan:pi_1"])
	if e.Type != event.Orphan || !e.Timestamp.Equal(now) || e.Data.Detail != "pi_1" {
		t.Errorf("%+v", e)
	}
	store.err = errors.New("Redis unavailable")
	if _, err := p.PublishOnce(t.Context(), event.Orphan, "pi_3", event.EventData{}); !errors.Is(
		err, store.err) {
		t.Error(err)
	}
}
