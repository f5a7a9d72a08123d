package alert_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// What people read.
func TestFromEvent_Text(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	h := hold.View{ID: "pi_1", Reference: "BK-2071 <!channel> @all", Amount: 12000, Currency: "eur", ExpiresAt: now.Add(6 * time.Hour), State: "waiting", OnExpiry: "cancel"}
	a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventExpiring, Timestamp: now, Data: event.Data{Hold: h, Threshold: "6h0m0s"}},
		alert.RenderOptions{Zone: paris, RunbookURL: "https://hotel.example/runbook", Livemode: true})
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
		hold.CauseRefused: alert.CaptureRefused, hold.CauseAmountTooLarge: alert.CaptureRefused, hold.CauseNotFound: alert.AttentionRequired, hold.CauseReview: alert.AttentionRequired,
		hold.CauseAfterDeadline: alert.ExpiresBeforeDue, hold.CauseInsideMargin: alert.AttentionRequired, hold.CauseNoOutcome: alert.AttentionRequired,
	} {
		a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventAttention, Timestamp: now, Data: event.Data{Hold: h, Cause: cause.String()}}, alert.RenderOptions{})
		if !ok || a.Kind != kind || (a.Severity == alert.Critical) != (kind == alert.CaptureRefused) || !strings.Contains(a.Title, "(test mode)") {
			t.Errorf("%s: %+v", cause, a)
		}
	}
	due := now.Add(200 * time.Hour)
	h.CaptureAt, h.ExpiresAtSource = &due, "assumed"
	a, ok = alert.FromEvent(&event.Envelope{ID: "evt_1", Type: hold.EventExpiring, Timestamp: now, Data: event.Data{Hold: h, Cause: hold.CauseAfterDeadline.String()}}, alert.RenderOptions{})
	if !ok || a.Kind != alert.ExpiresBeforeDue || a.Severity != alert.Warning || !strings.Contains(a.Text, "an assumed deadline") {
		t.Errorf("%+v", a)
	}
	for _, quiet := range []hold.EventType{hold.EventScheduled, hold.EventChanged, hold.EventRetrying, hold.EventCaptured, hold.EventCanceled, "nonsense"} {
		if a, ok := alert.FromEvent(&event.Envelope{ID: "evt_1", Type: quiet, Data: event.Data{Hold: h}}, alert.RenderOptions{}); ok {
			t.Errorf("%s: %+v", quiet, a)
		}
	}
}

// An address that can't be used is refused without being repeated.
func TestCheckNotifyURL(t *testing.T) {
	for _, good := range []string{"slack://hook:T000-B000-XXXX@webhook", "discord://tok3n@123456", "mattermost://chat.example/tok3n?severity=critical", "telegram://123:abc@telegram?chats=-42",
		"ntfy://ntfy.sh/topic", "gotify://push.example/tok3n", "pagerduty://key@events", "opsgenie://api.opsgenie.com/key", "smtp://u:p@mail.example:587/?from=a@b.example&to=c@d.example,e@f.example",
		"generic://relay.example/x", "generic+http://127.0.0.1:9/x?a=b&severity=info"} {
		if err := alert.CheckNotifyURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "slack://s3cret@webhook", "skype://s3cret@x", "telegram://s3cret@telegram?chats=1,2", "smtp://u:s3cret@mail.example/?from=a@b.example", "ntfy://s3cret",
		"generic+ftp://s3cret/x", "generic://s3cret/x?severity=loud", "pagerduty:///s3cret", "http://s3cret/"} {
		err := alert.CheckNotifyURL(bad)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The switch is told that all is well, or what isn't; people are told past
// Redis that Redis is away, and when it is back.
func TestReadinessChecked_PingsAndAlertsRedisOutage(t *testing.T) {
	pings := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { pings <- r.Method + " " + r.URL.Path }))
	defer server.Close()
	b := newRedisFixture(t, store.Options{})
	a, _ := b.startNotifier(alert.Options{PingURL: server.URL + "/uuid/", NotifyURLs: []string{newChatServer(t).notifyURL("")}})
	a.ReadinessChecked([]health.Check{{Name: "redis", OK: true}})
	if got := <-pings; got != "GET /uuid/" {
		t.Error(got)
	}
	a.ReadinessChecked([]health.Check{{Name: "redis", OK: true}, {Name: "stripe", Detail: "Stripe does not answer"}})
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
		if got := fmt.Sprint(w.chatLines); got != "[[critical] Redis unavailable (test mode) [resolved] Redis available again: work resumes (test mode)]" {
			t.Error(got)
		}
	})
}
