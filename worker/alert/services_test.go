package alert_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	netmail "net/mail"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

// fakeServices record the requests to chats and pagers.
type fakeServices struct {
	mu       sync.Mutex
	requests map[string][]serviceRequest // by host
}

type serviceRequest struct {
	methodAndURL string
	header       http.Header
	body         map[string]any
}

func (v *fakeServices) RoundTrip(q *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	c := serviceRequest{methodAndURL: q.Method + " " + q.URL.String(), header: q.Header}
	if err := json.Unmarshal(raw, &c.body); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.requests[q.URL.Host] = append(v.requests[q.URL.Host], c)
	return &http.Response{StatusCode: http.StatusAccepted, Body: http.NoBody, Request: q,
		Header: http.Header{}}, nil
}

// waitForRequests waits until each of so many hosts has n requests.
func (v *fakeServices) waitForRequests(t *testing.T, hosts, n int) {
	t.Helper()
	storetest.WaitUntil(t, 20*time.Second, fmt.Sprintf("%d hosts with %d requests each", hosts, n),
		func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			ready := 0
			for _, calls := range v.requests {
				if len(calls) == n {
					ready++
				}
			}
			return ready == hosts
		})
}

// Each service gets the request that its documentation describes.
func TestServices_RequestFormat(t *testing.T) {
	view := hold.View{ID: "pi_1", Reference: "BK-2071", Amount: 12000, Currency: "eur",
		ExpiresAt: time.Now().Add(time.Hour), State: "attention", OnExpiry: "alert"}
	refused := event.Envelope{ID: "evt_1", Type: hold.EventAttention, Timestamp: time.Now(),
		Data: event.EventData{Hold: view, Cause: hold.CauseRefused.String()}}
	unavailable := event.Envelope{ID: "evt_2", Type: event.StripeUnavailable, Timestamp: time.Now()}
	recovered := event.Envelope{ID: "evt_3", Type: event.StripeRecovered, Timestamp: time.Now()}
	about := func(e *event.Envelope) (title, text string) {
		a, ok := alert.FromEvent(e, alert.RenderOptions{})
		if !ok {
			t.Fatal("the event is no alert")
		}
		return a.Title, a.Text
	}
	title, text := about(&refused)
	whole := title + "\n" + text
	resolved, overText := about(&recovered)
	type object = map[string]any
	page := func(action, key, title, text string) object {
		return object{"routing_key": "key", "event_action": action, "dedup_key": key,
			"payload": object{"summary": title, "source": "holdd", "severity": "critical",
				"custom_details": object{"text": text}}}
	}
	type want struct {
		what   string
		header [2]string
		body   object
	}
	table := []struct {
		address, host string
		first         want
		last          *want // that resolves an incident
	}{
		{"slack://hook:T000-B000-XXXX@webhook", "hooks.slack.com",
			want{"POST https://hooks.slack.com/services/T000/B000/XXXX", [2]string{},
				object{"text": whole}}, nil},
		{"mattermost://chat.example/tok3n", "chat.example",
			want{"POST https://chat.example/hooks/tok3n", [2]string{}, object{"text": whole}}, nil},
		{"discord://tok3n@123456", "discord.com",
			want{"POST https://discord.com/api/webhooks/123456/tok3n", [2]string{},
				object{"content": whole, "allowed_mentions": object{"parse": []any{}}}}, nil},
		{"telegram://123:abc@telegram?chats=-42", "api.telegram.org",
			want{"POST https://api.telegram.org/bot123:abc/sendMessage", [2]string{},
				object{"chat_id": "-42", "text": whole}}, nil},
		{"ntfy://u:p@ntfy.example/hotel", "ntfy.example", want{"POST https://ntfy.example",
			[2]string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("u:p"))},
			object{"topic": "hotel", "title": title, "message": text, "priority": 5.0}}, nil},
		{"gotify://push.example/tok3n", "push.example", want{"POST https://push.example/message",
			[2]string{"X-Gotify-Key", "tok3n"}, object{"title": title, "message": text,
				"priority": 9.0}}, nil},
		{"pagerduty://key@events", "events.pagerduty.com",
			want{"POST https://events.pagerduty.com/v2/enqueue", [2]string{},
				page("trigger", "holdd-pi_1", title, text)},
			&want{"POST https://events.pagerduty.com/v2/enqueue", [2]string{},
				page("resolve", "holdd-stripe_unavailable", resolved, overText)}},
		{"opsgenie://api.opsgenie.com/key", "api.opsgenie.com",
			want{"POST https://api.opsgenie.com/v2/alerts",
				[2]string{"Authorization", "GenieKey key"},
				object{"message": title, "alias": "holdd-pi_1", "description": whole,
					"source": "holdd", "priority": "P1"}},
			&want{"POST https://api.opsgenie.com/v2/alerts/holdd-stripe_unavailable/close?identifierType=alias", [2]string{"Authorization", "GenieKey key"}, object{"source": "holdd", "note": resolved}}},
		{"generic+https://u:p@relay.example/x?a=b", "relay.example",
			want{"POST https://relay.example/x?a=b", [2]string{"Authorization", "Basic " +
				base64.StdEncoding.EncodeToString([]byte("u:p"))},
				object{"title": title, "message": text, "body": text, "severity": "critical",
					"kind": "capture_refused", "resolved": false, "hold": "pi_1", "id": "evt_1"}},
			nil},
	}
	v := &fakeServices{requests: map[string][]serviceRequest{}}
	b := newRedisFixture(t, store.Options{})
	o := alert.Options{Transport: v}
	for _, s := range table {
		o.NotifyURLs = append(o.NotifyURLs, s.address)
	}
	b.startNotifier(o)
	storetest.WaitUntil(t, 10*time.Second, "all deliverers to start", func() bool {
		keys, err := b.rdb.Keys(t.Context(), "holdd:{0}:sink:*").Result()
		ready := 0
		for _, k := range keys {
			if b.rdb.HExists(t.Context(), k, "state").Val() {
				ready++
			}
		}
		return err == nil && ready == len(table)
	})
	put := func(events ...event.Envelope) {
		t.Helper()
		pipe := b.rdb.TxPipeline() // at once, so that a digest has all of them
		for i := range events {
			raw, err := json.Marshal(&events[i])
			if err != nil {
				t.Fatal(err)
			}
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:{0}:events",
				Values: []any{"event", raw}})
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	put(refused)
	v.waitForRequests(t, len(table), 1)
	put(unavailable, recovered)
	// Chats get both as one message, pagers one by one.
	v.waitForRequests(t, len(table)-2, 2)
	v.waitForRequests(t, 2, 3)
	for _, s := range table {
		calls := v.requests[s.host]
		for i, w := range []*want{&s.first, s.last} {
			if w == nil {
				continue
			}
			got := calls[0]
			if i == 1 {
				got = calls[len(calls)-1]
			}
			if got.methodAndURL != w.what || got.header.Get("Content-Type") != "application/json" ||
				w.header[0] != "" && got.header.Get(w.header[0]) != w.header[1] {
				t.Errorf("%s: %s %v", s.host, got.methodAndURL, got.header)
			}
			if !reflect.DeepEqual(got.body, w.body) {
				t.Errorf("%s: got %v\nwant %v", s.host, got.body, w.body)
			}
		}
	}
}

// startSMTPServer starts a mail server without encryption, which answers RCPT
// with rcpt.
func startSMTPServer(t *testing.T, rcpt string) (addr string, mails chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	mails = make(chan string, 4)
	serve := func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		reply := func(s string) { fmt.Fprint(c, s+"\r\n") }
		reply("220 mail.example")
		var transcript strings.Builder
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			transcript.WriteString(line)
			switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.ToUpper(verb) {
			case "EHLO":
				reply("250-mail.example\r\n250 AUTH PLAIN")
			case "AUTH":
				reply("235 welcome")
			case "RCPT":
				reply(rcpt)
			case "DATA":
				reply("354 go on")
				for !strings.HasSuffix(transcript.String(), "\r\n.\r\n") {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					transcript.WriteString(line)
				}
				mails <- transcript.String()
				reply("250 taken")
			case "QUIT":
				reply("221 bye")
				return
			default:
				reply("250 ok")
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String(), mails
}

func TestMail_MessageAndRejection(t *testing.T) {
	b := newRedisFixture(t, store.Options{})
	addr, mails := startSMTPServer(t, "250 ok")
	_, stop := b.startNotifier(
		alert.Options{NotifyURLs: []string{"smtp://desk:s3cret@" + addr +
			"/?from=holdd@hotel.example&to=desk@hotel.example,night@hotel.example&encryption=None"}})
	e := event.Envelope{ID: "evt_1", Type: hold.EventExpired, Timestamp: time.Now(),
		Data: event.EventData{Hold: hold.View{ID: "pi_1",
			Reference: "Übernachtung\r\nBcc: x@y.example",
			Amount:    12000, Currency: "eur"}}}
	raw, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:{0}:events",
		Values: []any{"event", raw}}).Err(); err != nil {
		t.Fatal(err)
	}
	transcript := <-mails
	stop()
	for _, want := range []string{"AUTH PLAIN " + base64.StdEncoding.EncodeToString(
		[]byte("\x00desk\x00s3cret")), "MAIL FROM:<holdd@hotel.example>",
		"RCPT TO:<desk@hotel.example>", "RCPT TO:<night@hotel.example>"} {
		if !strings.Contains(transcript, want) {
			t.Errorf("the client did not send %q:\n%s", want, transcript)
		}
	}
	_, mail, _ := strings.Cut(transcript, "DATA\r\n")
	m, err := netmail.ReadMessage(strings.NewReader(mail))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	body, _ := io.ReadAll(m.Body)
	if err != nil || !strings.HasPrefix(subject, "[critical] Übernachtung") ||
		!strings.Contains(subject, "expired before a capture") || m.Header.Get("Bcc") != "" ||
		m.Header.Get("To") != "desk@hotel.example, night@hotel.example" ||
		m.Header.Get("Message-Id") != "<evt_1@holdd>" ||
		m.Header.Get("Auto-Submitted") != "auto-generated" ||
		!strings.Contains(string(body), "Hold: pi_1") {
		t.Errorf("%q %v\n%s", subject, m.Header, body)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}

	// A mail that the server rejects is parked.
	addr, _ = startSMTPServer(t, "550 no such user")
	b = newRedisFixture(t, store.Options{})
	a, _ := b.startNotifier(
		alert.Options{NotifyURLs: []string{"smtp://desk:s3cret@" + addr +
			"/?from=holdd@hotel.example&to=gone@hotel.example&encryption=None"}})
	if err := b.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:{0}:events",
		Values: []any{"event", raw}}).Err(); err != nil {
		t.Fatal(err)
	}
	storetest.WaitUntil(t, 10*time.Second, "the rejection", func() bool {
		s, err := a.ListSinkStatuses(t.Context())
		return err == nil && s[0].Parked == 1
	})
}

// Without STARTTLS no mail leaves, unless the address allows it.
func TestMail_RequiresStartTLS(t *testing.T) {
	addr, mails := startSMTPServer(t, "250 ok")
	b := newRedisFixture(t, store.Options{})
	a, stop := b.startNotifier(alert.Options{NotifyURLs: []string{"smtp://" + addr +
		"/?from=holdd@hotel.example&to=desk@hotel.example"}})
	defer stop()
	raw, err := json.Marshal(&event.Envelope{ID: "evt_1", Type: hold.EventExpired,
		Timestamp: time.Now(), Data: event.EventData{Hold: hold.View{ID: "pi_1", Amount: 1,
			Currency: "eur"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "holdd:{0}:events",
		Values: []any{"event", raw}}).Err(); err != nil {
		t.Fatal(err)
	}
	storetest.WaitUntil(t, time.Minute, "the reason is shown", func() bool {
		s, err := a.ListSinkStatuses(t.Context())
		return err == nil && strings.Contains(s[0].Reason, "offers no STARTTLS")
	})
	if len(mails) > 0 {
		t.Error("a mail was sent unencrypted")
	}
}
