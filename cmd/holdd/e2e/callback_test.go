package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// TestCallbacks_SignedEventsAndAlerts checks what the shipped binary sends to a
// booking system, a chat and a dead man's switch.
func TestCallbacks_SignedEventsAndAlerts(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[string][]string{} // by hold, types
	var chat []string
	pings := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/events":
			var e struct {
				Type string
				Data struct{ Hold struct{ ID string } }
			}
			if err := hook.Verify(body, r.Header); err != nil {
				t.Errorf("not as Standard Webhooks has it: %v", err)
			}
			if err := json.Unmarshal(body, &e); err != nil {
				t.Error(err)
			}
			got[e.Data.Hold.ID] = append(got[e.Data.Hold.ID], e.Type)
		case "/chat":
			var m struct{ Title, Message string }
			if err := json.Unmarshal(body, &m); err != nil {
				t.Error(err)
			}
			chat = append(chat, m.Title+"\n"+m.Message)
		case "/ping":
			pings++
		}
	}))
	defer server.Close()
	w := newWorld(t, stripesim.Options{Seed: 9})
	rdb := w.redis.Client()
	defer rdb.Close()
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_CALLBACK_URL="+server.URL+"/events",
		"HOLDD_CALLBACK_SECRET="+secret, "HOLDD_PING_URL="+server.URL+"/ping",
		"HOLDD_NOTIFY_URLS=generic+"+server.URL+"/chat?severity=info")
	storetest.WaitUntil(t, processTimeout, "the deliverers", func() bool {
		s, err := r.client.ListSinkStatuses(t.Context())
		return err == nil && len(s.Sinks) == 2 &&
			rdb.Exists(t.Context(), "holdd:{0}:sink:callback").Val() == 1
	})
	all := setDueAt(w.authorizeBookings(20), afterNow(2*time.Second))
	w.scheduleBookings(r, all)
	w.waitForCaptures(r, len(all), 20*time.Second)
	storetest.WaitUntil(t, 20*time.Second, "the callbacks", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, b := range all {
			if !slices.Equal(got[b.id], []string{"hold.scheduled", "hold.captured"}) {
				return false
			}
		}
		return pings > 0
	})
	if err := rdb.XAdd(t.Context(), invalidInboxEntry).Err(); err != nil {
		t.Fatal(err)
	}
	storetest.WaitUntil(t, 20*time.Second, "the chat", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(chat, func(s string) bool {
			return strings.HasPrefix(s, "[warning] request in the inbox rejected: ") && strings.Contains(s, "runbook.md#inbox_rejected")
		})
	})
	if d, err := r.client.ListDeadLetters(t.Context(), "callback", 10); err != nil || d.Total != 0 {
		t.Error(d, err)
	}
}

var invalidInboxEntry = &redis.XAddArgs{Stream: "holdd:inbox",
	Values: []any{"hold", `{"payment_intent":"nonsense"}`}}
