package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Two replicas record at the same time who changed which hold, in one chain. A
// change of the stream shows.
func TestAudit_ChainShowsTampering(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	settings := []string{"HOLDD_AUDIT_STREAM=1000", "HOLDD_TOKENS_FILE=" + writeTempFile(t, "tokens",
		"board read "+readToken+"\ndesk operate "+operateToken+"\n")}
	var clients []*api.Client
	for range 2 {
		r := w.startReplica(binaryPath(t, buildRelease), settings...)
		c, err := api.NewClient(r.url, operateToken)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	all := w.authorizeBookings(40)
	var done sync.WaitGroup
	for i, c := range clients {
		done.Go(func() {
			for _, b := range all[i*20 : i*20+20] {
				if _, _, err := c.Schedule(t.Context(), hold.ScheduleRequest{PaymentIntent: b.id,
					Amount: b.amount, Currency: "eur", ExpiresAt: formatTime(b.deadline),
					CaptureAt: formatTime(afterNow(time.Hour))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	if _, err := clients[0].Cancel(t.Context(), all[0].id, "", 0); err != nil {
		t.Fatal(err)
	}
	verify := func(args ...string) (code int, text string) {
		code, out, errs := runHoldd(t, binaryPath(t, buildRelease), w.settings(),
			append([]string{"history", "verify"}, args...)...)
		return code, out + errs
	}
	entries := raw.XRange(t.Context(), "holdd:audit", "-", "+").Val()
	if len(entries) != 41 {
		t.Fatalf("%d entries", len(entries))
	}
	last := entries[40].Values
	var e hold.AuditEntry
	if err := json.Unmarshal([]byte(last["entry"].(string)), &e); err != nil || e.By != "desk" ||
		e.Act != "triggered" || e.Op != "cancel" || e.Hold != all[0].id || e.At.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	head, middle := last["hash"].(string), entries[20].Values["hash"].(string)
	if code, text := verify("--expect", middle); code != 0 || !strings.Contains(text,
		"41 entries, the newest has the hash "+head) {
		t.Errorf("an intact stream: %d %s", code, text)
	}
	if w.replicas[0].log.countLines(head)+w.replicas[1].log.countLines(head) != 1 {
		t.Error("the log does not have the hash once")
	}
	w.mustDo(raw, "XDEL", "holdd:audit", entries[40].ID)
	if code, text := verify(); code != 0 {
		t.Errorf("without the newest: %d %s", code, text)
	}
	if code, text := verify("--expect", head); code != 1 || !strings.Contains(text,
		"no entry has the hash "+head) {
		t.Errorf("without the newest, which is expected: %d %s", code, text)
	}
	w.mustDo(raw, "XDEL", "holdd:audit", entries[20].ID)
	if code, text := verify(); code != 1 || !strings.Contains(text, "the entry "+entries[21].ID+
		" does not follow") {
		t.Errorf("without one in the middle: %d %s", code, text)
	}
}

// A refused request is logged once a minute with its peer, and never with what
// it sent as a token.
func TestTokens_RefusalsAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_TOKENS_FILE="+
		writeTempFile(t, "tokens", "board read "+readToken+"\n"))
	const guess = "guessed-guessed-guessed-guessed"
	for range 30 {
		checkProblem(t, "a guess", sendRaw(t, r, "POST", "/v1/holds", http.Header{
			"Authorization":   {"Bearer " + guess},
			"X-Forwarded-For": {"203.0.113.7"},
		}, nil, false), 401, api.TokenInvalid)
	}
	if n := r.log.countLines(`"event":"authentication.refused"`); n != 1 {
		t.Errorf("%d lines for 30 refusals", n)
	}
	for _, want := range []string{`"peer":"127.0.0.1"`, `"code":"token_invalid"`,
		`"forwarded_for":"203.0.113.7"`} {
		if !r.log.contains(want) {
			t.Errorf("the log has no %s:\n%s", want, r.log.tail(5))
		}
	}
	if r.log.contains("guessed") {
		t.Error("the log has the token")
	}
}
