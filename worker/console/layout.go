package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
)

//go:embed static
var staticFiles embed.FS

// staticVersion changes with the files, so that browsers may keep them.
var staticVersion = func() string {
	sum := sha256.New()
	for _, name := range []string{"console.css", "console.js"} {
		b, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			panic(err) // the file is embedded
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}()

func staticURL(name string) string { return "/console/static/" + name + "?v=" + staticVersion }

func serveStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	types := map[string]string{".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8"}
	w.Header().Set("Content-Type", types[path.Ext(name)])
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	_, _ = w.Write(b) // fails only if the visitor has left
}

// sections are the pages of the navigation.
var sections = []struct{ tab, href string }{
	{"today", "/console/"}, {"holds", "/console/holds"}, {"plan", "/console/plan"},
	{"unscheduled", "/console/not-scheduled"}, {"deliveries", "/console/deliveries"},
	{"health", "/console/health"}, {"audit", "/console/audit"},
}

// renderLayout writes what surrounds every page.
func (c *Console) renderLayout(q *request, v *pageView) node {
	main := el("main", a("id", "main"), a("tabindex", "-1"))
	if v.live {
		main.Attrs = append(main.Attrs, a("data-live", "/console/live"))
	}
	if !q.visitor.mayOperate {
		a("data-read-only", "").AddTo(main)
	}
	el("h1", bdi(v.title)).AddTo(main)
	if key := q.r.URL.Query().Get("done"); key != "" && q.has("done."+key) {
		el("p", class("note good"), a("role", "status"), text(q.t("done."+key))).AddTo(main)
	}
	if v.body != nil {
		v.body.AddTo(main)
	}
	return el("html", a("lang", q.t("lang")), a("dir", q.t("dir")),
		el("head", el("meta", a("charset", "utf-8")),
			el("meta", a("name", "viewport"), a("content", "width=device-width, initial-scale=1")),
			el("meta", a("name", "color-scheme"), a("content", "light dark")),
			el("title", text(v.title+" · holdd")),
			el("link", a("rel", "stylesheet"), a("href", staticURL("console.css"))),
			el("script", a("type", "module"), a("src", staticURL("console.js")))),
		el("body", scriptTextAttributes(q),
			el("a", class("skip"), a("href", "#main"), text(q.t("skip"))),
			c.renderHeader(q, v.tab), main, c.renderFooter(q)))
}

func (c *Console) renderHeader(q *request, current string) node {
	nav := el("nav", a("aria-label", q.t("nav.label")))
	if q.visitor.name != "" {
		for _, s := range sections {
			item := link(s.href, q.t("nav."+s.tab))
			if s.tab == current {
				a("aria-current", "page").AddTo(item)
			}
			item.AddTo(nav)
		}
	}
	mode := el("span", class("mode test"), text(q.t("mode.test")))
	if c.o.Livemode {
		mode = el("span", class("mode live"), text(q.t("mode.live")))
	}
	h := el("header", el("a", class("brand"), a("href", "/console/"), text("holdd")), mode, nav)
	if q.visitor.signedIn {
		name := q.visitor.name
		if !q.visitor.mayOperate {
			name = q.t("visitor.read", name)
		}
		el("form", a("method", "post"), a("action", "/console/sign-out"), class("visitor"),
			el("span", text(name)), el("button", class("plain"), text(q.t("signout")))).AddTo(h)
	}
	return h
}

func (c *Console) renderFooter(q *request) node {
	f := el("footer", el("span", text("holdd "+c.o.Version)),
		el("span", text(q.t("footer.zone", c.o.TimeZone.String()))))
	if c.o.Tokens == nil {
		el("span", text(q.t("footer.local"))).AddTo(f)
	}
	return f
}

// scriptTextAttributes passes the texts that the script shows.
func scriptTextAttributes(q *request) part {
	e := el("template", a("id", "texts"))
	for _, key := range []string{"js.pause", "js.resume", "js.paused", "js.offline", "js.copy",
		"js.copied", "js.keys.title", "js.keys.search", "js.keys.next", "js.keys.previous", "js.keys.tick",
		"js.keys.capture", "js.keys.release", "js.keys.help", "js.keys.off",
		"js.close"} {
		a("data-"+dotsToDashes(key), q.t(key)).AddTo(e)
	}
	return e
}
