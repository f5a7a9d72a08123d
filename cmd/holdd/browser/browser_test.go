package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// pageTimeout bounds each step of a test.
const pageTimeout = 30 * time.Second

// chromium is the browser that all tests share. Each visitor has a profile of
// their own in it.
var chromium context.Context

func TestMain(m *testing.M) {
	os.Exit(runWithChromium(m))
}

func runWithChromium(m *testing.M) int {
	path, err := exec.LookPath("chromium")
	if err != nil {
		fmt.Fprintln(os.Stderr, "the browser tests need chromium: run make browser")
		return 1
	}
	dir, err := os.MkdirTemp("", "holdd-browser")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(dir),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WindowSize(1280, 900))
	defer stop()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		fmt.Fprintln(os.Stderr, "start chromium:", err)
		return 1
	}
	chromium = ctx
	return m.Run()
}

// visitor is a browser window with cookies of its own.
type visitor struct {
	t   *testing.T
	ctx context.Context
	url string // of the daemon
}

// newVisitor opens a window.
func (w *world) newVisitor() *visitor {
	w.t.Helper()
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	w.t.Cleanup(cancel)
	v := &visitor{t: w.t, ctx: ctx, url: w.url}
	// The first context opens the window, and closes it when it ends.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		w.t.Fatal(err)
	}
	return v
}

// newVisitorWithoutScript opens a window in which no script runs.
func (w *world) newVisitorWithoutScript() *visitor {
	v := w.newVisitor()
	_, err := chromedp.Call(v.ctx, emulation.SetScriptExecutionDisabled,
		emulation.SetScriptExecutionDisabledParams{Value: true})
	if err != nil {
		v.t.Fatal(err)
	}
	return v
}

// signIn opens the console and signs in.
func (v *visitor) signIn(token string) {
	v.t.Helper()
	v.open("/console/")
	v.fill("#token", token)
	v.click("main button")
	v.see("Sign out")
}

func (v *visitor) do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, pageTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		v.t.Fatalf("%v\n%s", err, v.text())
	}
}

func (v *visitor) open(path string) {
	v.t.Helper()
	v.do(chromedp.Navigate(v.url + path))
}

// click clicks and waits for the page that follows.
func (v *visitor) click(selector string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, pageTimeout)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		v.t.Fatalf("click %s: %v\n%s", selector, err, v.text())
	}
}

func (v *visitor) fill(selector, value string) {
	v.t.Helper()
	v.do(chromedp.SetValue(chromedp.CSS(selector), value))
}

// text returns what the visitor reads.
func (v *visitor) text() string {
	ctx, cancel := context.WithTimeout(v.ctx, pageTimeout)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		return "(no text: " + err.Error() + ")"
	}
	return s
}

// see waits until the page shows each of these texts.
func (v *visitor) see(texts ...string) {
	v.t.Helper()
	end := time.Now().Add(pageTimeout)
	for _, s := range texts {
		for !strings.Contains(v.text(), s) {
			if time.Now().After(end) {
				v.t.Fatalf("the page does not show %q:\n%s", s, v.text())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// seeNot checks that the page shows none of these texts.
func (v *visitor) seeNot(texts ...string) {
	v.t.Helper()
	page := v.text()
	for _, s := range texts {
		if strings.Contains(page, s) {
			v.t.Fatalf("the page shows %q:\n%s", s, page)
		}
	}
}

// evaluate runs a script in the page.
func evaluate[T any](v *visitor, script string) T {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, pageTimeout)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		v.t.Fatal(err)
	}
	return out
}
