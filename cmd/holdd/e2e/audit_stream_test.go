package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
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
	var e hold.AuditLogEntry
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

// auditEntries returns the audit stream, oldest first.
func (w *world) auditEntries() (entries []hold.AuditLogEntry) {
	w.tb.Helper()
	for _, m := range w.redis.Client().XRange(w.tb.Context(), "holdd:audit", "-", "+").Val() {
		var e hold.AuditLogEntry
		if err := json.Unmarshal([]byte(m.Values["entry"].(string)), &e); err != nil {
			w.tb.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// cancelInBulk confirms the release of holds in the console.
func cancelInBulk(t *testing.T, r *replica, ids ...string) {
	t.Helper()
	form := url.Values{"id": ids}
	a := sendRaw(t, r, http.MethodGet, "/console/bulk/cancel?"+form.Encode(), nil, nil, false)
	fingerprint := regexp.MustCompile(`name="fingerprint" value="([^"]+)"`).FindStringSubmatch(a.text)
	if a.status != http.StatusOK || fingerprint == nil {
		t.Fatalf("the confirmation: %d %s", a.status, a.text)
	}
	form.Set("fingerprint", fingerprint[1])
	a = sendRaw(t, r, http.MethodPost, "/console/bulk/cancel",
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		[]byte(form.Encode()), false)
	if a.status != http.StatusOK {
		t.Fatalf("the release: %d %s", a.status, a.text)
	}
}

// The audit stream also has what operators do beside the changes of holds, and
// says who did it and what.
func TestAudit_RecordsActs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	receiver := startBookingReceiver(t)
	receiver.up.Store(true)
	r := w.startReplica(binaryPath(t, buildRelease), "HOLDD_CALLBACK_URL="+receiver.URL,
		"HOLDD_CALLBACK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "HOLDD_AUDIT_STREAM=1000")
	all := w.authorizeBookings(3)
	canceled, kept, broken := all[0].id, all[1].id, all[2].id
	w.scheduleAll(r, []hold.ScheduleRequest{
		{PaymentIntent: canceled, CaptureAt: formatTime(afterNow(time.Hour))},
		{PaymentIntent: kept, CaptureAt: formatTime(afterNow(time.Hour))}})

	if _, err := r.client.SetLogLevel(t.Context(), "debug"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.ReplayDeadLetters(t.Context(), "callback", nil); err != nil {
		t.Fatal(err)
	}
	cancelInBulk(t, r, canceled)
	w.waitForState(r, canceled, hold.Canceled, processTimeout)
	if _, err := r.client.ErasePersonalData(t.Context(), canceled); err != nil {
		t.Fatal(err)
	}
	w.mustDo(w.redis.Client(), "HSET", "holdd:{0}:holds", broken, "garbage")
	if _, err := r.client.RepairUnreadableRecord(t.Context(), broken, api.RepairRequest{}); err != nil {
		t.Fatal(err)
	}
	r.sendSignal(syscall.SIGHUP)
	storetest.WaitUntil(t, processTimeout, "the settings are reloaded",
		func() bool { return len(w.actsOf(hold.ActSettingsReloaded)) == 1 })
	r.terminate(0)
	code, out, errs := runHoldd(t, binaryPath(t, buildRelease), append(w.settings(),
		"HOLDD_AUDIT_STREAM=1000"), "repartition", "--to", "4")
	if code != 0 {
		t.Fatalf("repartition: %s%s", out, errs)
	}

	for _, want := range []hold.AuditLogEntry{
		{By: "api", Act: hold.ActLogLevelChanged, Detail: "info to debug"},
		{By: "api", Act: hold.ActDeadLettersReplayed, Detail: "0 of callback"},
		{By: "console", Act: hold.ActBulk, Op: "cancel", Detail: "1 hold, 0 refused"},
		{By: "console", Act: "triggered", Op: "cancel", Hold: canceled},
		{By: "api", Act: hold.ActPersonalDataErased, Hold: canceled},
		{By: "api", Act: hold.ActRecordRepaired, Hold: broken},
		{By: "signal", Act: hold.ActSettingsReloaded},
		{By: "cli", Act: hold.ActRepartitioned, Detail: "from 1 to 4"},
	} {
		if !slices.ContainsFunc(w.auditEntries(), func(e hold.AuditLogEntry) bool {
			at := e.At
			e.At, e.Revision = time.Time{}, 0
			return e == want && time.Since(at).Abs() < time.Hour
		}) {
			t.Errorf("no entry %+v in %+v", want, w.auditEntries())
		}
	}
	if code, out, errs := runHoldd(t, binaryPath(t, buildRelease), w.settings(), "history",
		"verify"); code != 0 {
		t.Errorf("%s%s", out, errs)
	}
}

// actsOf returns the entries of an act.
func (w *world) actsOf(act string) []hold.AuditLogEntry {
	return slices.DeleteFunc(w.auditEntries(), func(e hold.AuditLogEntry) bool { return e.Act != act })
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
