package alert_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

func TestFromEvent_Text(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	h := hold.View{ID: "pi_1", Reference: "BK-2071 <!channel> @all", Amount: 12000, Currency: "eur",
		ExpiresAt: now.Add(6 * time.Hour), State: "waiting", OnExpiry: "cancel"}
	a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventExpiring, Timestamp: now,
		Data: event.EventData{Hold: h, Threshold: "6h0m0s"}},
		alert.RenderOptions{Zone: paris, RunbookURL: "https://hotel.example/runbook",
			Livemode: true})
	want := `[critical] BK-2071 !channel ＠all, 120.00 EUR: expires in 6 h
Hold: pi_1
Expires: Tue 1 Dec 2026 12:00 CET (in 6 h).
Next: holdd releases it shortly before the deadline (on_expiry is cancel).
Action: run holdd capture pi_1 or holdd cancel pi_1; if nothing needs to change, run holdd acknowledge pi_1.
Runbook: https://hotel.example/runbook#expiry_near`
	if got := a.Title + "\n" + a.Text; !ok || got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	h.ExpiresAt = now.Add(100 * time.Hour)
	for cause, kind := range map[hold.Cause]alert.Kind{
		hold.CauseRefused: alert.CaptureRefused, hold.CauseAmountTooLarge: alert.CaptureRefused,
		hold.CauseNotFound: alert.AttentionRequired, hold.CauseReview: alert.AttentionRequired,
		hold.CauseAfterDeadline: alert.ExpiresBeforeDue,
		hold.CauseInsideMargin:  alert.AttentionRequired,
		hold.CauseNoOutcome:     alert.AttentionRequired,
		hold.CauseContradiction: alert.AttentionRequired,
	} {
		a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventAttention,
			Timestamp: now, Data: event.EventData{Hold: h, Cause: cause.String()}},
			alert.RenderOptions{})
		if !ok || a.Kind != kind || !strings.Contains(a.Title, "(test mode)") ||
			(a.Severity == alert.Critical) != (kind == alert.CaptureRefused ||
				cause == hold.CauseContradiction) {
			t.Errorf("%s: %+v", cause, a)
		}
	}
	due := now.Add(200 * time.Hour)
	h.CaptureAt, h.ExpiresAtSource = &due, "assumed"
	a, ok = alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventExpiring, Timestamp: now,
		Data: event.EventData{Hold: h, Cause: hold.CauseAfterDeadline.String()}},
		alert.RenderOptions{})
	if !ok || a.Kind != alert.ExpiresBeforeDue || a.Severity != alert.Warning ||
		!strings.Contains(a.Text, "an assumed deadline") {
		t.Errorf("%+v", a)
	}
	for _, quiet := range []hold.EventType{hold.EventScheduled, hold.EventChanged,
		hold.EventRetrying, hold.EventCaptured, hold.EventCanceled, "nonsense"} {
		if a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: quiet,
			Data: event.EventData{Hold: h}}, alert.RenderOptions{}); ok {
			t.Errorf("%s: %+v", quiet, a)
		}
	}
}

// TestFromEvent_Cardholder checks that an alert has the cardholder's link, and
// that its severity rises as the deadline nears.
func TestFromEvent_Cardholder(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	due := now.Add(300 * time.Hour)
	for _, tt := range []struct {
		event    hold.EventType
		left     time.Duration
		severity alert.Severity
	}{{hold.EventRequiresAction, 33 * time.Hour, alert.Warning},
		{hold.EventExpiring, 24 * time.Hour, alert.Warning},
		{hold.EventExpiring, 6 * time.Hour, alert.Critical}} {
		h := hold.View{ID: "pi_1", ExpiresAt: now.Add(tt.left), State: "scheduled", Next: "renew",
			CaptureAt: &due, Renewal: &hold.RenewalView{Step: "requires_action"}}
		a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: tt.event, Timestamp: now,
			Data: event.EventData{Hold: h, CardholderLink: "https://pay.hotel.example/cardholder/x"}},
			alert.RenderOptions{})
		if !ok || a.Severity != tt.severity ||
			!strings.Contains(a.Text, "\nCardholder: https://pay.hotel.example/cardholder/x\n") {
			t.Errorf("%s, %s left: %+v", tt.event, tt.left, a)
		}
	}
}

// TestFromEvent_RenewalPolicy checks that an alert names on_failure where it decides.
func TestFromEvent_RenewalPolicy(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	until, before := now.Add(300*time.Hour), now.Add(time.Hour)
	for _, tt := range []struct {
		step, onFailure string
		due             *time.Time
		next            string
	}{
		{"failed", "alert", &until,
			"holdd does nothing; the card network releases the money at the deadline."},
		{"failed", "capture", nil,
			"holdd captures it shortly before the deadline (on_failure is capture)."},
		{"create", "cancel", nil, "holdd releases it shortly before the deadline (on_failure is " +
			"cancel), unless the authorization is renewed before."},
		{"failed", "alert", &before,
			"holdd releases it shortly before the deadline (on_expiry is cancel)."},
	} {
		h := hold.View{ID: "pi_1", ExpiresAt: now.Add(6 * time.Hour), State: "waiting",
			OnExpiry: "cancel", CaptureAt: tt.due,
			Renewal: &hold.RenewalView{Step: tt.step, Until: &until, OnFailure: tt.onFailure}}
		a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventExpiring, Timestamp: now,
			Data: event.EventData{Hold: h}}, alert.RenderOptions{})
		if !ok || !strings.Contains(a.Text, "\nNext: "+tt.next+"\n") {
			t.Errorf("%s, on_failure %s: %s, want %q", tt.step, tt.onFailure, a.Text, tt.next)
		}
	}
}

// TestFromEvent_Unprotected checks that an amount that nothing holds is critical.
func TestFromEvent_Unprotected(t *testing.T) {
	a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventRetrying,
		Data: event.EventData{Hold: hold.View{ID: "pi_1"}, Cause: "unprotected"}},
		alert.RenderOptions{})
	if !ok || a.Severity != alert.Critical {
		t.Errorf("%+v", a)
	}
}

// TestFromEvent_CapturedBesidePlan checks that a capture by another system is an
// alert if the hold has planned captures.
func TestFromEvent_CapturedBesidePlan(t *testing.T) {
	for _, of := range []hold.EventType{hold.EventPartlyCaptured, hold.EventChanged,
		hold.EventCaptured} {
		for _, planned := range []bool{true, false} {
			e := &event.Envelope{ID: "evt_1", Type: of, Data: event.EventData{
				Hold: hold.View{ID: "pi_1"}, Cause: hold.CauseElsewhere.String()}}
			if planned {
				e.Data.Hold.Captures = []hold.CaptureStageView{{Amount: 4500}}
			}
			a, ok := alert.FromEvent(e, alert.RenderOptions{})
			if ok != planned || planned && a.Severity != alert.Warning {
				t.Errorf("%s, planned %t: %+v", of, planned, a)
			}
		}
	}
}

// Every text says what holdd does and what the operator does, and no
// placeholder is left in it.
func TestFromEvent_FillsPlaceholders(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	data := event.EventData{Sink: "callback", Detail: "HTTP 500", Count: 3, Replica: "one",
		Rejection: &event.RequestRejection{ID: "1-0", Reason: "invalid amount"},
		Intent:    &event.IntentWithoutHold{PaymentIntent: "pi_2", Amount: 100, Currency: "eur"},
		Capacity:  &event.CapacityRisk{Holds: 2, Rate: 25, FirstAt: now}}
	system := map[hold.EventType]alert.Kind{
		event.InboxRejected: alert.InboxRejected, event.MetadataRejected: alert.MetadataRejected,
		event.Orphan: alert.Orphan, event.AuthorizationAbandoned: alert.AuthorizationAbandoned,
		event.AuthorizationUnresolved: alert.AuthorizationUnresolved,
		event.StripeUnavailable:       alert.StripeUnavailable, event.KeyRejected: alert.KeyRejected,
		event.StripeRateLimited: alert.StripeRateLimited,
		event.CapacityAtRisk:    alert.CapacityAtRisk,
		event.DoubleHeld:        alert.DoubleHeld, event.DoubleHeldLong: alert.DoubleHeld,
		event.ReplicaStopped: alert.ReplicaStopped, event.RedisDataLost: alert.RedisDataLost,
		event.SinkFailing: alert.SinkFailing, event.SinkDisabled: alert.SinkFailing,
		event.SinkEventsLost: alert.EventsLost, event.SinkDeadLetters: alert.EventsLost,
	}
	resolved := map[hold.EventType]alert.Kind{event.StripeRecovered: alert.StripeUnavailable,
		event.KeyAccepted: alert.KeyRejected, event.StripeRateLimitCleared: alert.StripeRateLimited,
		event.DoubleHeldReleased: alert.DoubleHeld,
		event.CapacityRecovered:  alert.CapacityAtRisk, event.SinkRecovered: alert.SinkFailing}
	check := func(e event.Envelope, kind alert.Kind, resolved bool) {
		t.Helper()
		a, ok := alert.FromEvent(&e, alert.RenderOptions{})
		if !ok || a.Kind != kind || a.Resolved != resolved ||
			!slices.Contains(alert.AlertKinds(), a.Kind) {
			t.Errorf("%s %s: %+v", e.Type, e.Data.Cause, a)
		}
		if strings.ContainsAny(a.Title+a.Text, "{}") ||
			strings.Contains(a.Text, "Next: ") == resolved ||
			strings.Contains(a.Text, "Action: ") == resolved {
			t.Errorf("%s %s: %s\n%s", e.Type, e.Data.Cause, a.Title, a.Text)
		}
	}
	for eventType, kind := range system {
		check(event.Envelope{ID: "evt_1", Type: eventType, Timestamp: now, Data: data}, kind, false)
	}
	for eventType, kind := range resolved {
		check(event.Envelope{ID: "evt_1", Type: eventType, Timestamp: now, Data: data}, kind, true)
	}
	due := now.Add(100 * time.Hour)
	for _, row := range []struct {
		eventType hold.EventType
		cause     hold.Cause
		captureAt *time.Time
		kind      alert.Kind
	}{
		{hold.EventExpiring, hold.CauseExpired, nil, alert.DeadlinePassed},
		{hold.EventExpiring, hold.CauseOnExpiry, nil, alert.OnExpiryPolicy},
		{hold.EventExpiring, hold.CauseAfterDeadline, nil, alert.ExpiresBeforeDue},
		{hold.EventExpiring, 0, &due, alert.ExpiresBeforeDue},
		{hold.EventExpiring, 0, nil, alert.ExpiryNear},
		{hold.EventAttention, hold.CauseNoOutcome, nil, alert.AttentionRequired},
		{hold.EventAttention, hold.CauseInsideMargin, nil, alert.AttentionRequired},
		{hold.EventExpired, 0, nil, alert.ExpiredUncaptured},
		{hold.EventCanceled, hold.CauseOnExpiry, nil, alert.OnExpiryPolicy},
		{hold.EventCaptured, hold.CauseOnExpiry, nil, alert.OnExpiryPolicy},
	} {
		view := hold.View{ID: "pi_1", Amount: 100, Currency: "eur", ExpiresAt: now.Add(time.Hour),
			State: "waiting", OnExpiry: "alert", CaptureAt: row.captureAt}
		e := event.Envelope{ID: "evt_1", Type: row.eventType, Timestamp: now,
			Data: event.EventData{Hold: view}}
		if row.cause != 0 {
			e.Data.Cause = row.cause.String()
		}
		check(e, row.kind, false)
	}
}

// The error of an invalid address does not repeat it.
func TestCheckNotifyURL(t *testing.T) {
	for _, good := range []string{"slack://hook:T000-B000-XXXX@webhook", "discord://tok3n@123456",
		"mattermost://chat.example/tok3n?severity=critical",
		"telegram://123:abc@telegram?chats=-42",
		"ntfy://ntfy.sh/topic", "gotify://push.example/tok3n", "pagerduty://key@events",
		"opsgenie://api.opsgenie.com/key",
		"smtp://u:p@mail.example:587/?from=a@b.example&to=c@d.example,e@f.example",
		"generic://relay.example/x", "generic+http://127.0.0.1:9/x?a=b&severity=info"} {
		if err := alert.CheckNotifyURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "slack://s3cret@webhook", "skype://s3cret@x",
		"telegram://s3cret@telegram?chats=1,2", "smtp://u:s3cret@mail.example/?from=a@b.example",
		"ntfy://s3cret",
		"generic+ftp://s3cret/x", "generic://s3cret/x?severity=loud",
		"pagerduty:///s3cret", "http://s3cret/"} {
		err := alert.CheckNotifyURL(bad)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The dead man's switch gets the failed checks. Each replica alerts directly
// when Redis is unavailable, and when it is available again.
func TestReadinessChecked_PingsAndAlertsRedisOutage(t *testing.T) {
	pings := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		pings <- r.Method + " " + r.URL.Path
	}))
	defer server.Close()
	b := newRedisFixture(t, store.Options{})
	a, _ := b.startNotifier(alert.Options{PingURL: server.URL + "/uuid/",
		NotifyURLs: []string{newChatServer(t).notifyURL("")}})
	a.ReadinessChecked([]health.ReadinessCheckResult{{Name: "redis", OK: true}})
	if got := <-pings; got != "GET /uuid/" {
		t.Error(got)
	}
	a.ReadinessChecked([]health.ReadinessCheckResult{{Name: "redis", OK: true},
		{Name: "stripe", Detail: "Stripe does not answer"}})
	if got := <-pings; got != "POST /uuid/fail" {
		t.Error(got)
	}
	runInWorld(t, func(w *world) {
		r := w.startReplica()
		defer r.shutDown()
		time.Sleep(time.Minute)
		w.redis.SetError("LOADING gone")
		time.Sleep(3 * time.Minute)
		w.redis.SetError("")
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if got := fmt.Sprint(
			w.chatLines); got != "[[critical] Redis unavailable (test mode) [resolved] Redis available again: work resumes (test mode)]" {
			t.Error(got)
		}
	})
}

// Redis answers, and a stage has had no success: each replica alerts directly.
func TestReadinessChecked_AlertsStalledStage(t *testing.T) {
	runInWorld(t, func(w *world) {
		r := w.startReplica()
		defer r.shutDown()
		time.Sleep(time.Minute)
		if err := w.redis.Set("holdd:{0}:leased", "x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		w.redis.Del("holdd:{0}:leased")
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.chatLines) != 2 ||
			!strings.HasPrefix(w.chatLines[0], "[critical] holdd has stalled: stage promote has ") ||
			!strings.Contains(w.chatLines[0], "WRONGTYPE") ||
			w.chatLines[1] != "[resolved] all stages succeed again: work resumes (test mode)" {
			t.Errorf("%q", w.chatLines)
		}
	})
}

// A reference cannot put a link, a mention or markup into a chat.
func TestAlertText_ReferencesAreText(t *testing.T) {
	a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventExpired,
		Timestamp: time.Now(), Data: event.EventData{Hold: hold.View{ID: "pi_1", Amount: 1,
			Currency: "eur", Reference: "<https://evil.example|refund> www.evil.example @channel"}}},
		alert.RenderOptions{})
	if text := a.Title + a.Text; !ok || !strings.Contains(text, "https[:]//evil.example") ||
		strings.ContainsAny(text, "<>|@") || strings.Contains(text, "://") ||
		strings.Contains(text, "www.") {
		t.Errorf("%v %s", ok, text)
	}
}

// TestAlertKinds_HasEveryConstant compares the list with the constants of the type. A kind
// that it lacks would need no section of the runbook.
func TestAlertKinds_HasEveryConstant(t *testing.T) {
	b, err := os.ReadFile("alert.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := regexp.MustCompile(`(?m)^\t\w+ +Kind = "(\w+)"`).FindAllSubmatch(b, -1)
	if len(constants) < 20 {
		t.Fatalf("%d constants were found", len(constants))
	}
	for _, m := range constants {
		if !slices.Contains(alert.AlertKinds(), alert.Kind(m[1])) {
			t.Errorf("AlertKinds lacks %s", m[1])
		}
	}
	if len(constants) != len(alert.AlertKinds()) {
		t.Errorf("AlertKinds has %d kinds of %d", len(alert.AlertKinds()), len(constants))
	}
}
