package browser_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// withAndWithoutScript runs a test in a browser with scripts and in one
// without.
func withAndWithoutScript(t *testing.T, f func(t *testing.T, w *world, v *visitor)) {
	t.Run("script", func(t *testing.T) {
		w := startWorld(t, worldOptions{})
		f(t, w, w.newVisitor())
	})
	t.Run("no script", func(t *testing.T) {
		w := startWorld(t, worldOptions{})
		f(t, w, w.newVisitorWithoutScript())
	})
}

func act(name string) string { return `.acts a[data-act="` + name + `"]` }

const confirm = "form[method=post] button.primary"

// effects returns what happened to an intent at Stripe after its
// authorization.
func (w *world) effects(id string) (out []stripesim.Effect) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind != stripesim.EffectAuthorized {
			out = append(out, e)
		}
	}
	return out
}

func TestCapture_PartOfHold(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, w *world, v *visitor) {
		h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
		v.open("/console/holds?q=" + h.Reference)
		v.click("td a")
		v.see(h.Reference, "120.00 EUR", "Timeline", h.ID)
		v.click(act("capture"))
		v.fill("#amount", "50.00")
		v.click("main form button")
		v.see("Captures 50.00 EUR", h.Reference, "The rest, 70.00 EUR, is released")
		if e := w.effects(h.ID); len(e) != 0 {
			t.Fatalf("captured before the confirmation: %+v", e)
		}
		v.click(confirm)
		v.see("Capture requested")
		got := w.waitForState(h.ID, "captured")
		if got.CapturedAmount != 5_000 {
			t.Errorf("captured %d, want 5000", got.CapturedAmount)
		}
		if by := got.History[len(got.History)-1]; !hasEntry(got.History, "triggered", "console") {
			t.Errorf("the history does not name the console: %+v", by)
		}
	})
}

func hasEntry(history []hold.HistoryEntryView, kind, by string) bool {
	for _, e := range history {
		if e.Kind == kind && e.By == by {
			return true
		}
	}
	return false
}

func TestCapture_InvalidAmounts(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	for amount, want := range map[string]string{
		"120.01": "at most 120.00 EUR", "0": "above 0", "1.234": "invalid amount",
		"1,200.00": "invalid amount", "-5": "invalid amount", "": "invalid amount",
	} {
		v.open("/console/holds/" + h.ID + "/capture?amount=" + url.QueryEscape(amount))
		v.see(want)
		if evaluate[bool](v, `document.querySelector("form[method=post]") !== null`) {
			t.Errorf("amount %q can be confirmed", amount)
		}
	}
}

func TestActs_WithoutMoney(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, w *world, v *visitor) {
		h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
		path := "/console/holds/" + h.ID
		for _, x := range []struct{ act, effect, done, state string }{
			{"pause", "Suspends", "Paused.", "paused"},
			{"resume", "Returns", "Resumed.", "scheduled"},
			{"acknowledge", "Silences", "Acknowledged.", "scheduled"},
		} {
			v.open(path)
			v.click(act(x.act))
			v.see(x.effect, h.Reference, "120.00 EUR")
			v.click(confirm)
			v.see(x.done)
			if got := w.get(h.ID); got.State != x.state {
				t.Errorf("after %s the hold is %s", x.act, got.State)
			}
		}
		paris, err := time.LoadLocation("Europe/Paris")
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().In(paris).Add(50 * time.Hour).Truncate(time.Minute)
		v.click(act("reschedule"))
		v.fill("#then", "cancel")
		v.fill("#at", at.Format("2006-01-02T15:04"))
		v.click("main form button")
		v.see("will release 120.00 EUR", at.Format("2 Jan"), "in 2 d 1 h")
		v.click(confirm)
		v.see("Rescheduled.")
		if got := w.get(h.ID); got.CancelAt == nil || !got.CancelAt.Equal(at) {
			t.Errorf("released at %v, want %v", got.CancelAt, at)
		}
		v.click(act("cancel"))
		v.see("Releases the whole 120.00 EUR", "cannot be undone")
		v.fill("#reason", "duplicate")
		v.click(confirm)
		v.see("Release requested")
		if got := w.waitForState(h.ID, "canceled"); got.CancellationReason != "duplicate" {
			t.Errorf("reason %q", got.CancellationReason)
		}
	})
}

func TestIncrement_RaisesAuthorization(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, w *world, v *visitor) {
		id, err := w.sim.Authorize(stripesim.Hold{Amount: 12_000, Currency: "eur",
			Incremental: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.client.Schedule(t.Context(), hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: in(24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		w.waitForRead(id)
		v.open("/console/holds/" + id)
		v.click(act("increment"))
		v.fill("#total", "119.99")
		v.click("main form button")
		v.see("must be above 120.00 EUR")
		v.fill("#total", "150.00")
		v.fill("#why", "one more night")
		v.click("main form button")
		v.see("from 120.00 EUR to 150.00 EUR")
		v.click(confirm)
		v.see("Raise requested", "150.00 EUR", "one more night")
		if got := w.get(id); got.Amount != 15_000 {
			t.Errorf("authorized %d, want 15000", got.Amount)
		}
	})
}

func TestTwoOperators_SecondIsToldAndChangesNothing(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true})
	anna, bert := w.newVisitor(), w.newVisitor()
	anna.signIn(operatorToken)
	bert.signIn(secondToken)
	for _, act := range []string{"cancel", "capture?amount=120.00"} {
		h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
		anna.open("/console/holds/" + h.ID + "/" + act)
		bert.open("/console/holds/" + h.ID + "/acknowledge")
		bert.click(confirm)
		bert.see("Acknowledged.")
		anna.click(confirm)
		anna.see("Someone was faster", "Your request changed nothing", "Acknowledged", "by bert")
		if got := w.get(h.ID); got.State != "scheduled" || len(w.effects(h.ID)) != 0 {
			t.Errorf("%s: the hold is %s: %+v", act, got.State, w.effects(h.ID))
		}
		anna.click("main p a")
		anna.see("Timeline", "by bert")
	}
}

func TestDoubleClick_ActsOnce(t *testing.T) {
	for name, open := range map[string]func(*world) *visitor{
		"script": (*world).newVisitor, "no script": (*world).newVisitorWithoutScript,
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, worldOptions{})
			v := open(w)
			h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
			v.open("/console/holds/" + h.ID + "/capture?amount=120.00")
			v.do(chromedp.DoubleClick(chromedp.CSS(confirm)))
			v.see("Capture requested")
			w.waitForState(h.ID, "captured")
			if e := w.effects(h.ID); len(e) != 1 {
				t.Errorf("effects %+v, want one capture", e)
			}
		})
	}
}

func TestBackButton_ShowsThatActIsOver(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v.open("/console/holds/" + h.ID + "/capture?amount=120.00")
	v.click(confirm)
	w.waitForState(h.ID, "captured")
	v.do(chromedp.NavigateBack())
	v.see("Someone was faster", "nothing was changed")
	if e := w.effects(h.ID); len(e) != 1 {
		t.Errorf("effects %+v, want one capture", e)
	}
}

func TestLiveUpdates(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v.open("/console/holds/" + h.ID)
	v.see("scheduled", "Pause updates")
	if _, err := w.client.Capture(t.Context(), h.ID, hold.CaptureRequest{}, 0); err != nil {
		t.Fatal(err)
	}
	w.waitForState(h.ID, "captured")
	v.see("captured")

	other := w.schedule(9_900, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v.open("/console/holds")
	v.see(other.Reference, "Pause updates")
	v.do(chromedp.Click(chromedp.CSS(".live button")))
	v.see("Updates paused")
	third := w.schedule(8_800, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	w.waitForEvent(third.ID)
	v.seeNot(third.Reference)
	v.do(chromedp.Click(chromedp.CSS(".live button")))
	v.see(third.Reference)
}

// waitForEvent waits until the stream of live updates has had time to announce
// a hold: a second visitor sees it.
func (w *world) waitForEvent(id string) {
	w.t.Helper()
	v := w.newVisitor()
	v.open("/console/holds")
	v.see(id)
	extra := w.schedule(1_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v.see(extra.Reference)
}

func TestKeys(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	for range 3 {
		w.schedule(9_900, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	}
	v.open("/console/holds?sort=reference")
	v.see("BK-2003")
	focused := func() string { return evaluate[string](v, "document.activeElement.textContent") }
	for _, step := range []struct{ key, want string }{
		{"j", "BK-2001"}, {"j", "BK-2002"}, {"j", "BK-2003"}, {"j", "BK-2003"}, {"k", "BK-2002"},
	} {
		v.do(chromedp.KeyEvent(step.key))
		if got := focused(); got != step.want {
			t.Fatalf("after %s the focus is on %q, want %q", step.key, got, step.want)
		}
	}
	v.do(chromedp.KeyEvent("/"))
	if id := evaluate[string](v, "document.activeElement.id"); id != "search" {
		t.Errorf("the focus is on %q", id)
	}
	// The j is text in the field. The driver also sends the text of a key that
	// the page has handled, here of the slash.
	v.do(chromedp.KeyEvent("j"))
	if got := evaluate[string](v, "document.activeElement.value"); got != "/j" {
		t.Errorf("the search is %q", got)
	}
	v.open("/console/holds?sort=reference")
	v.do(chromedp.KeyEvent("?"))
	v.see("Keys", "previous hold")
	// The browser closes a dialog some time after the key.
	v.do(chromedp.KeyEvent(kb.Escape), chromedp.WaitNotPresent("dialog"))
	v.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("c"))
	v.see("Amount to capture", "BK-2001")
	v.open("/console/holds?sort=reference")
	v.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("r"))
	v.see("Releases the whole 99.00 EUR")
	v.open("/console/holds?sort=reference")
	v.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("j"),
		chromedp.KeyEvent("x"), chromedp.KeyEvent("k"), chromedp.KeyEvent("x"))
	if got := evaluate[int](v, "document.querySelectorAll('[type=checkbox]:checked').length"); got != 1 {
		t.Errorf("%d holds are ticked", got)
	}
}

func TestSignIn(t *testing.T) {
	withTokens := worldOptions{tokens: true}
	w := startWorld(t, withTokens)
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v := w.newVisitorWithoutScript()
	v.open("/console/holds/" + h.ID)
	v.see("Sign in", "Token")
	v.seeNot(h.Reference)
	v.fill("#token", "an unknown token of a visitor")
	v.click("main button")
	v.see("This token is unknown.")
	v.fill("#token", operatorToken)
	v.click("main button")
	v.see(h.Reference, "anna", "Capture")
	cookies, err := chromedp.Call(v.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil || len(cookies.Cookies) != 1 {
		t.Fatal(cookies, err)
	}
	c := cookies.Cookies[0]
	if !c.HTTPOnly || c.SameSite != "Strict" || strings.Contains(c.Value, operatorToken) {
		t.Errorf("cookie %+v", c)
	}
	v.click("header button")
	v.see("You are signed out.")
	v.open("/console/holds/" + h.ID)
	v.see("Token")
}

// A trusted proxy names the visitor, who acts under that name without a token.
func TestIdentity_OfTrustedProxy(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true, settings: []string{
		"HOLDD_CONSOLE_IDENTITY_HEADER=X-Forwarded-Email",
		"HOLDD_CONSOLE_IDENTITY_ROLE=operate", "HOLDD_CONSOLE_TRUSTED_PROXIES=127.0.0.1"}})
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	target, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
		r.Out.Header.Set("X-Forwarded-Email", "clara@example.com")
	}})
	t.Cleanup(proxy.Close)
	direct := w.newVisitor()
	direct.open("/console/holds/" + h.ID)
	direct.see("Sign in")
	v := w.newVisitor()
	v.url = proxy.URL
	v.open("/console/holds/" + h.ID)
	v.see(h.Reference)
	v.click(act("pause"))
	v.click(confirm)
	v.see("Paused.", "by clara@example.com")
	if got := w.get(h.ID); !hasEntry(got.History, "paused", "clara@example.com") {
		t.Errorf("the history does not name the visitor: %+v", got.History)
	}
}

func TestSession_EndsBeforeConfirmation(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true})
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v := w.newVisitor()
	v.signIn(operatorToken)
	v.open("/console/holds/" + h.ID + "/cancel")
	if _, err := chromedp.Call(v.ctx, network.ClearBrowserCookies,
		chromedp.Void{}); err != nil {
		t.Fatal(err)
	}
	v.click(confirm)
	v.see("Your session has ended. Nothing was changed.")
	if got := w.get(h.ID); got.State != "scheduled" {
		t.Fatalf("the hold is %s", got.State)
	}
	v.fill("#token", operatorToken)
	v.click("main button")
	v.see("Releases the whole 120.00 EUR")
}

func TestReader_SeesNoButtonsAndChangesNothing(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true})
	h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v := w.newVisitor()
	v.signIn(readerToken)
	path := "/console/holds/" + h.ID
	for _, page := range []string{path, "/console/not-scheduled", "/console/holds"} {
		v.open(page)
		v.see("read only")
		if evaluate[bool](v, `document.querySelector(".acts a, main form[method=post]") !== null`) {
			t.Errorf("%s has buttons", page)
		}
	}
	v.open(path + "/cancel")
	v.see("Not allowed", "has the role read")
	status := evaluate[int](v, `fetch("`+path+`/cancel", {method: "POST", body: new URLSearchParams({
		revision: "1"})}).then((r) => r.status)`)
	if got := w.get(h.ID); status != http.StatusForbidden || got.State != "scheduled" {
		t.Errorf("status %d, the hold is %s", status, got.State)
	}
}

// A cookie ends at its time even if a browser keeps it, and its text cannot be
// changed.
func TestSession_ForgedAndExpired(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true})
	tokens, err := api.ParseTokens(strings.NewReader("anna operate " + operatorToken))
	if err != nil {
		t.Fatal(err)
	}
	cookie := func(signed, sent string) string {
		mac, _, _ := tokens.ComputeSessionMAC("anna", signed)
		return sent + "~" + base64.RawURLEncoding.EncodeToString(mac)
	}
	at := func(d time.Duration) string { return fmt.Sprint("anna~", time.Now().Add(d).Unix()) }
	for _, tt := range []struct {
		name, value string
		signedIn    bool
	}{
		{"valid", cookie(at(time.Hour), at(time.Hour)), true},
		{"expired", cookie(at(-time.Minute), at(-time.Minute)), false},
		{"later end", cookie(at(-time.Minute), at(time.Hour)), false},
		{"other name", cookie(at(time.Hour), strings.Replace(at(time.Hour), "anna", "bert", 1)), false},
		{"no code", at(time.Hour), false},
		{"empty", "", false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/console/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: "holdd_session", Value: tt.value})
		resp, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.StatusCode == http.StatusOK; got != tt.signedIn {
			t.Errorf("%s: status %s, signed in should be %v", tt.name, resp.Status, tt.signedIn)
		}
	}
}

// A settled hold's personal data is erased, after a confirmation, by those who
// may operate, once.
func TestActs_ForgetsPersonalData(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, w *world, v *visitor) {
		h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour),
			Metadata: map[string]string{"guest": "Quisenberry"}})
		v.open("/console/holds/" + h.ID)
		v.see("Quisenberry")
		if evaluate[bool](v, `document.querySelector("[data-act=forget]") !== null`) {
			t.Error("an open hold can be forgotten")
		}
		v.click(act("cancel"))
		v.click(confirm)
		w.waitForState(h.ID, "canceled")
		v.open("/console/holds/" + h.ID)
		v.click(act("forget"))
		v.see("Erases the personal data", h.Reference, "120.00 EUR", "cannot be undone")
		if got := w.get(h.ID); got.Reference != h.Reference || got.Metadata["guest"] == "" {
			t.Errorf("the confirmation has erased already: %+v", got)
		}
		v.click(confirm)
		v.see("The personal data of this hold is erased.")
		if got := w.get(h.ID); got.Reference != "" || len(got.Metadata) != 0 ||
			got.State != "canceled" || !hasEntry(got.History, "changed", "console") {
			t.Errorf("after the act: %+v", got)
		}
		if evaluate[bool](v, `document.querySelector("[data-act=forget]") !== null`) {
			t.Error("it can be forgotten twice")
		}
	})
}
