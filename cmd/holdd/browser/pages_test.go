package browser_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/console"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

var screenshots = flag.String("screenshots", "", "directory to write screenshots of the pages to")

// newHotelWorld has holds in every list.
func newHotelWorld(t *testing.T) *world {
	w := startWorld(t, worldOptions{settings: []string{
		"HOLDD_CALLBACK_URL=http://127.0.0.1:1/callbacks",
		"HOLDD_CALLBACK_SECRET=whsec_aG9sZGQtYnJvd3Nlci10ZXN0cy1hcmUtc2lnbmVkIQ=="}})
	for i := range 12 {
		w.schedule(int64(9_900+1_350*i), hold.ScheduleRequest{
			CaptureAt: in(time.Duration(3+i*5) * time.Hour)})
	}
	w.schedule(25_000, hold.ScheduleRequest{CancelAt: in(6 * time.Hour)})
	paused := w.schedule(48_000, hold.ScheduleRequest{CaptureAt: in(40 * time.Hour)})
	if _, err := w.client.Pause(t.Context(), paused.ID, 0, false); err != nil {
		t.Fatal(err)
	}
	w.schedule(12_000, hold.ScheduleRequest{Reference: "Walk-in, room 12"})
	captured := w.schedule(31_500, hold.ScheduleRequest{CaptureAt: in(-time.Minute)})
	w.waitForState(captured.ID, "captured")
	canceled := w.schedule(20_000, hold.ScheduleRequest{CancelAt: in(-time.Minute)})
	w.waitForState(canceled.ID, "canceled")
	list, err := w.client.List(t.Context(), api.ListQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range list.Holds {
		w.waitForRead(h.ID)
	}
	return w
}

func (v *visitor) setTheme(dark bool) {
	value := "light"
	if dark {
		value = "dark"
	}
	_, err := chromedp.Call(v.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}})
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) screenshot(name string) {
	v.t.Helper()
	if *screenshots == "" {
		return
	}
	shot, err := chromedp.Call(v.ctx, page.CaptureScreenshot,
		page.CaptureScreenshotParams{Format: "webp", Quality: new(int64(70))})
	if err != nil {
		v.t.Fatal(err)
	}
	path := filepath.Join(*screenshots, "console-"+name+".webp")
	if err := os.WriteFile(path, shot.Data, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

// shownPages are the pages with a text that each shows.
func shownPages(w *world) []struct{ name, path, text string } {
	w.t.Helper()
	list, err := w.client.List(w.t.Context(), api.ListQuery{State: hold.Paused})
	if err != nil || len(list.Holds) != 1 {
		w.t.Fatal(list, err)
	}
	paused := "/console/holds/" + list.Holds[0].ID
	list, err = w.client.List(w.t.Context(), api.ListQuery{Reference: "BK-2001"})
	if err != nil || len(list.Holds) != 1 {
		w.t.Fatal(list, err)
	}
	scheduled := "/console/holds/" + list.Holds[0].ID
	return []struct{ name, path, text string }{
		{"today", "/console/", "Still to capture"},
		{"holds", "/console/holds", "BK-2001"},
		{"due", "/console/holds?tab=due", "BK-2001"},
		{"expiring", "/console/holds?tab=expiring", "No authorization ends"},
		{"attention", "/console/holds?tab=attention", "No hold needs attention"},
		{"cardholder", "/console/holds?tab=cardholder", "No renewal waits for its cardholder"},
		{"settled", "/console/holds?tab=settled", "315.00 EUR"},
		{"hold", scheduled, "Timeline"},
		{"capture-form", scheduled + "/capture", "Amount to capture"},
		{"capture", scheduled + "/capture?amount=80", "80.00 EUR"},
		{"cancel", paused + "/cancel", "480.00 EUR"},
		{"reschedule", scheduled + "/reschedule", "Time"},
		{"increment", scheduled + "/increment", "New authorized total"},
		{"bulk", "/console/bulk/capture?all=true", "Captures the planned amount"},
		{"plan", "/console/plan?next=7d", "99.00 EUR"},
		{"not-scheduled", "/console/not-scheduled", "Compare with Stripe"},
		{"deliveries", "/console/deliveries", "callback"},
		{"health", "/console/health", "Replicas"},
		{"audit", "/console/audit", "BK-2016"},
		{"not-found", "/console/nothing", "does not exist"},
	}
}

func pagePaths(w *world) (paths []string) {
	for _, p := range shownPages(w) {
		if p.name != "not-found" {
			paths = append(paths, p.path)
		}
	}
	return paths
}

func TestPages_Accessible(t *testing.T) {
	w, axe := newHotelWorld(t), readAxe(t)
	v := w.newVisitor()
	for _, p := range shownPages(w) {
		v.setTheme(false)
		v.open(p.path)
		v.see(p.text)
		v.screenshot(p.name)
		findings := v.axeViolations(axe, `{resultTypes: ["violations"]}`)
		v.setTheme(true) // only colors differ
		v.screenshot(p.name + "-dark")
		findings = append(findings, v.axeViolations("",
			`{resultTypes: ["violations"], runOnly: {type: "rule", values: ["color-contrast"]}}`)...)
		for _, finding := range findings {
			t.Errorf("%s: %s", p.name, finding)
		}
	}
}

func TestHostileReference_IsShownAsText(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	for _, reference := range []string{
		`<script>document.title="attacked"</script><img src=x onerror=alert(1)>`,
		`"><b>x</b>' onfocus=alert(1) autofocus`,
		"حجز رقم ١٢ 🏨",
		strings.Repeat("W", 200),
	} {
		h := w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour),
			Reference: reference})
		for _, path := range []string{"/console/holds", "/console/holds/" + h.ID,
			"/console/holds/" + h.ID + "/cancel",
			"/console/holds?q=" + url.QueryEscape(reference),
			"/console/audit?q=" + url.QueryEscape(reference)} {
			v.open(path)
			v.see(reference)
			bad := evaluate[bool](v, `document.title === "attacked" ||
				document.querySelector("main img, main b b, [onfocus], main script") !== null ||
				document.documentElement.scrollWidth > innerWidth`)
			if bad {
				t.Errorf("%s with %q: markup or a page that is too wide", path, reference)
			}
		}
	}
}

// axeViolations runs axe-core in the page, after loading it if axe is its code.
func (v *visitor) axeViolations(axe, options string) []string {
	v.t.Helper()
	if axe != "" {
		evaluate[any](v, axe+";null")
	}
	return evaluate[[]string](v, `axe.run(document, `+options+`).then((r) =>
		r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html + " " + n.failureSummary)))`)
}

func readAxe(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../.build/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v: run make browser", err)
	}
	return string(b)
}

func TestPages_NarrowWindow(t *testing.T) {
	w := newHotelWorld(t)
	v := w.newVisitor()
	v.do(chromedp.EmulateViewport(390, 844))
	for _, path := range pagePaths(w) {
		v.open(path)
		if wide := evaluate[int](v, "document.documentElement.scrollWidth"); wide > 390 {
			t.Errorf("%s is %d wide on a phone", path, wide)
		}
	}
	v.open("/console/holds")
	v.screenshot("phone")
}

func TestPages_WeighLittle(t *testing.T) {
	w := newHotelWorld(t)
	static := 0
	for _, file := range []string{"console.css", "console.js"} {
		static += compressedSize(t, w.page("/console/static/"+file))
	}
	for _, path := range pagePaths(w) {
		r := w.page(path)
		if n := static + compressedSize(t, r); n > 30<<10 {
			t.Errorf("%s weighs %d bytes compressed, want at most 30 KB", path, n)
		}
		csp := r.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s has the policy %q", path, csp)
		}
	}
}

func compressedSize(t *testing.T, r *http.Response) int {
	t.Helper()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", r.Request.URL, r.Status)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.Copy(z, r.Body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Len()
}

func TestHold_ShowsRenewal(t *testing.T) {
	w := startWorld(t, worldOptions{})
	customer, card, err := w.sim.Cards.SaveCard("", "")
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.sim.Authorize(stripesim.Hold{Amount: 12_000, Currency: "eur", Customer: customer,
		PaymentMethod: card, FutureUsage: "off_session"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.client.Schedule(t.Context(), hold.ScheduleRequest{PaymentIntent: id,
		Renewal: &hold.RenewalRequest{Until: in(20 * 24 * time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	v := w.newVisitor()
	v.open("/console/holds/" + id)
	v.see("Held until", "(0 of 12 renewals)", "Next renewal")
}

func TestConsole_SwitchedOff(t *testing.T) {
	w := startWorld(t, worldOptions{settings: []string{"HOLDD_CONSOLE=false"}})
	if r := w.page("/console/"); r.StatusCode != http.StatusNotFound {
		t.Errorf("status %s, want 404", r.Status)
	}
}

// unscheduled authorizes an amount that nobody schedules, and opens the page
// that lists it.
func (w *world) unscheduled(v *visitor, amount int64) (id string) {
	w.t.Helper()
	id, err := w.sim.Authorize(stripesim.Hold{Amount: amount, Currency: "eur"})
	if err != nil {
		w.t.Fatal(err)
	}
	v.open("/console/not-scheduled")
	v.click("main form button")
	for end := time.Now().Add(pageTimeout); !strings.Contains(v.text(), id); {
		if time.Now().After(end) {
			w.t.Fatal(v.text())
		}
		v.open("/console/not-scheduled")
	}
	return id
}

// oldIntents makes every intent an orphan. A young one is none: its owner may
// be about to schedule it.
var oldIntents = worldOptions{stripe: stripesim.Options{ClockOffset: -20 * time.Minute}}

func TestNotScheduled_Adopt(t *testing.T) {
	w := startWorld(t, oldIntents)
	v := w.newVisitorWithoutScript()
	id := w.unscheduled(v, 7_700)
	v.see("77.00 EUR")
	v.click("td a[href$='then=adopt']")
	v.see("schedules this authorization", id)
	v.click(confirm)
	v.see("now manages this authorization", "77.00 EUR")
	if got := w.get(id); got.OnExpiry != "alert" || got.CaptureAt != nil {
		t.Errorf("adopted with %+v", got)
	}
	v.open("/console/holds?q=" + id)
	v.see("Timeline")
}

func TestNotScheduled_CaptureAndRelease(t *testing.T) {
	for _, x := range []struct{ act, effect, done, state string }{
		{"capture", "Captures 77.00 EUR from the card", "Capture requested", "captured"},
		{"cancel", "Releases the whole 77.00 EUR", "Release requested", "canceled"},
	} {
		t.Run(x.act, func(t *testing.T) {
			w := startWorld(t, oldIntents)
			v := w.newVisitor()
			id := w.unscheduled(v, 7_700)
			v.click("td a[href$='then=" + x.act + "']")
			v.see(x.effect, id)
			if e := w.effects(id); len(e) != 0 {
				t.Fatalf("before the confirmation: %+v", e)
			}
			v.click(confirm)
			v.see(x.done)
			if got := w.waitForState(id, x.state); !hasEntry(got.History, "triggered", "console") {
				t.Errorf("the history does not name the console: %+v", got.History)
			}
		})
	}
}

func TestHealth_RunsDoctor(t *testing.T) {
	w := startWorld(t, worldOptions{doctor: func(context.Context) []console.DoctorCheck {
		return []console.DoctorCheck{{Name: "Redis", OK: true, Status: "ok", Detail: "7.0.15"},
			{Name: "key", Status: "wrong", Detail: "<b>may not capture</b>", Hint: "grant it"}}
	}})
	v := w.newVisitorWithoutScript()
	v.open("/console/health")
	v.click("main form button")
	v.see("7.0.15", "wrong", "<b>may not capture</b>", "grant it")
}

// The page of the day says for how long a due hold has waited for a replica. The
// one here is due and outside the hours of captures.
func TestToday_SaysOldestDue(t *testing.T) {
	w := startWorld(t, worldOptions{settings: []string{"HOLDD_SCHEDULE_CAPTURE=0 0 1 1 *"}})
	v := w.newVisitor()
	oldest := func() string {
		v.open("/console/")
		return evaluate[string](v, `document.querySelector("a.tile[href='/console/health'] b").innerText`)
	}
	if got := oldest(); got != "0 s" {
		t.Errorf("nothing is due, and the oldest waits for %q", got)
	}
	w.schedule(12_000, hold.ScheduleRequest{CaptureAt: in(2 * time.Second)})
	for end := time.Now().Add(pageTimeout); oldest() == "0 s"; {
		if time.Now().After(end) {
			t.Fatal("a due hold waits, and the page does not say so")
		}
	}
}
