package browser_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/holdd/holdd/worker/hold"
)

// openTryForm opens the form of an operation and returns its selector.
func (v *visitor) openTryForm(operation string) string {
	v.t.Helper()
	selector := "#" + operation + " ~ details.try"
	evaluate[bool](v, `document.querySelector("`+selector+`").open = true`)
	return selector + " "
}

// TestDocs_TryIt sends requests from the API's documentation. A change is sent
// only after it is confirmed.
func TestDocs_TryIt(t *testing.T) {
	w := startWorld(t, worldOptions{tokens: true})
	h := w.schedule(12_500, hold.ScheduleRequest{Reference: "BK/1", CaptureAt: in(48 * 3600e9),
		Metadata: map[string]string{"room": "12"}})
	v := w.newVisitor()
	v.open("/docs")

	get := v.openTryForm("getHold")
	v.fill(get+"input[name=id]", "BK/1")
	v.do(chromedp.Click(chromedp.CSS(get + "button")))
	v.see("401", "token_required")
	v.fill("#token input", operatorToken)
	v.do(chromedp.Click(chromedp.CSS(get + "button")))
	v.see("200", `"id": "`+h.ID+`"`)

	list := v.openTryForm("listHolds")
	v.fill(list+"input[name=metadata]", "room=13")
	v.do(chromedp.Click(chromedp.CSS(list + "button")))
	v.see(`"holds": []`)

	pause := v.openTryForm("pauseHold")
	v.fill(pause+"input[name=id]", h.ID)
	evaluate[bool](v, `window.confirm = text => { window.asked = text; return false }, true`)
	v.do(chromedp.Click(chromedp.CSS(pause + "button")))
	if asked := evaluate[string](v, `window.asked`); !strings.Contains(asked, "POST /v1/holds/"+h.ID) {
		t.Errorf("asked %q", asked)
	}
	if s := w.get(h.ID).State; s != "scheduled" {
		t.Errorf("the hold is %s", s)
	}
	evaluate[bool](v, `window.confirm = () => true, true`)
	v.do(chromedp.Click(chromedp.CSS(pause + "button")))
	v.see(`"state": "paused"`)
	if s := w.get(h.ID).State; s != "paused" {
		t.Errorf("the hold is %s", s)
	}
}

// Without script the page has no form that does nothing.
func TestDocs_WithoutScript(t *testing.T) {
	v := startWorld(t, worldOptions{}).newVisitorWithoutScript()
	v.open("/docs")
	v.see("Schedule a hold", "TypeScript", "What to do")
	v.seeNot("Try it", "Token for requests")
}
