package api

import (
	"context"
	"net/http"
	"strings"
)

// ConsoleHandler serves the operator's web pages. It authenticates the visitor,
// because a browser sends a cookie and no token. console.Console implements it.
type ConsoleHandler interface {
	http.Handler
	// IsStream reports whether a path is served for as long as its page is
	// open.
	IsStream(path string) bool
}

func isConsolePath(path string) bool {
	return path == "/console" || strings.HasPrefix(path, "/console/")
}

// serveConsole passes a request on to the console if its address and origin are
// allowed, within the limits of every request.
func (a *API) serveConsole(w http.ResponseWriter, r *http.Request) {
	if a.access.tokens == nil {
		if p := checkLocalCaller(r); p != nil {
			p.write(w)
			return
		}
	}
	if p := a.access.checkOrigin(r); p != nil {
		p.write(w)
		return
	}
	if a.console.IsStream(r.URL.Path) {
		a.console.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.requestTimeout)
	defer cancel()
	if !a.acquireSlot(ctx) {
		tooManyRequestsProblem().write(w)
		return
	}
	defer func() { <-a.slots }()
	a.console.ServeHTTP(w, r.WithContext(ctx))
}
