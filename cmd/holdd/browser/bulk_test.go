package browser_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func bulkButton(act string, all bool) string {
	if all {
		return fmt.Sprintf(`#bulk button[name="all"][formaction="/console/bulk/%s"]`, act)
	}
	return fmt.Sprintf(`#bulk button:not([name])[formaction="/console/bulk/%s"]`, act)
}

func (w *world) checkNoEffects(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if e := w.effects(id); len(e) != 0 {
			w.t.Errorf("%s: %+v", id, e)
		}
	}
}

func TestBulk_CapturesTickedHolds(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, w *world, v *visitor) {
		var ids []string
		for i := range 3 {
			ids = append(ids, w.schedule(int64(1000*(i+1)),
				hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)}).ID)
		}
		w.waitForRead(ids...)
		v.open("/console/holds")
		v.click(bulkButton("capture", false))
		v.see("No hold is ticked")
		v.open("/console/holds")
		v.tick(ids[0])
		v.tick(ids[2])
		v.click(bulkButton("capture", false))
		v.see("2 holds, 40.00 EUR", "Captures the planned amount of each")
		w.checkNoEffects(ids...)
		v.click(confirm)
		v.see("Capture requested: 2 holds, 40.00 EUR.")
		w.waitForState(ids[0], "captured")
		w.waitForState(ids[2], "captured")
		w.checkNoEffects(ids[1])
		if h := w.get(ids[0]); !hasEntry(h.History, "triggered", "console") {
			t.Errorf("the history does not name the console: %+v", h.History)
		}
	})
}

// tick ticks the hold's box in a list, as a click does.
func (v *visitor) tick(id string) {
	v.t.Helper()
	evaluate[bool](v, fmt.Sprintf(
		`(document.querySelector('input[type=checkbox][value="%s"]').checked = true)`, id))
}

func TestBulk_ReleasesAllThatMatch(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	var match, other []string
	for i := range 14 {
		req := hold.ScheduleRequest{CaptureAt: in(24 * time.Hour),
			Reference: fmt.Sprintf("GROUP-%02d", i)}
		if i >= 12 {
			req.Reference = fmt.Sprintf("OTHER-%02d", i)
			other = append(other, w.schedule(500, req).ID)
			continue
		}
		match = append(match, w.schedule(500, req).ID)
	}
	w.waitForRead(match...)
	v.open("/console/holds?q=GROUP-")
	v.see("With all that match (12 holds)")
	v.click(bulkButton("cancel", true))
	v.see("12 holds, 60.00 EUR", "GROUP-00", "and 2 more", "Release 12 holds now")

	// Another operator is faster with one of them: nothing happens.
	if _, err := w.client.Pause(t.Context(), match[5], 0, false); err != nil {
		t.Fatal(err)
	}
	v.click(confirm)
	v.see("The holds have changed since you opened the page", "12 holds, 60.00 EUR")
	w.checkNoEffects(match...)

	v.click(confirm)
	v.see("Release requested: 12 holds, 60.00 EUR.")
	for _, id := range match {
		w.waitForState(id, "canceled")
	}
	w.checkNoEffects(other...)
	v.click("main p a")
	v.see("No hold matches.")
}

// A hold that the act does not fit is left alone and counted.
func TestBulk_LeavesOutWhatDoesNotFit(t *testing.T) {
	w := startWorld(t, worldOptions{})
	v := w.newVisitor()
	paused := w.schedule(700, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	open := w.schedule(900, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	w.waitForRead(open.ID)
	if _, err := w.client.Pause(t.Context(), paused.ID, 0, false); err != nil {
		t.Fatal(err)
	}
	v.open("/console/holds")
	v.click(bulkButton("capture", true))
	v.see("1 hold, 9.00 EUR", "Left alone, because this is not possible for them now: 1 hold.")
	v.click(confirm)
	v.see("Capture requested: 1 hold, 9.00 EUR.")
	w.waitForState(open.ID, "captured")
	w.checkNoEffects(paused.ID)
}

func TestBulk_ReaderMayNot(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true})
	h := w.schedule(700, hold.ScheduleRequest{CaptureAt: in(24 * time.Hour)})
	v := w.newVisitor()
	v.signIn(readerToken)
	v.open("/console/holds")
	v.see(h.Reference)
	if evaluate[bool](v, `document.querySelector("#bulk, main [type=checkbox]") !== null`) {
		t.Error("a reader sees the acts")
	}
	v.open("/console/bulk/cancel?all=true")
	v.see("Not allowed")
	body := url.Values{"all": {"true"}, "fingerprint": {strings.Repeat("0", 32)}}
	resp, err := http.PostForm(w.url+"/console/bulk/cancel", body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.checkNoEffects(h.ID)
	if got := w.get(h.ID); got.State != "scheduled" {
		t.Errorf("the hold is %s", got.State)
	}
}
