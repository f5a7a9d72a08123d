package api

import (
	"bytes"
	"context"
	"io"
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
func (a *API) serveConsole(w, unwrapped http.ResponseWriter, r *http.Request) {
	if a.access.tokens.Load() == nil {
		if p := checkCallerIsLocal(r); p != nil {
			rejectWithoutReadingBody(w, r, p.Write)
			return
		}
	}
	if p := a.access.checkOrigin(r); p != nil {
		rejectWithoutReadingBody(w, r, p.Write)
		return
	}
	if a.console.IsStream(r.URL.Path) {
		a.console.ServeHTTP(w, r)
		return
	}
	form, p := a.bodies.readBody(unwrapped, r, maxSingleBodyBytes)
	defer form.releaseReservedBytes()
	if p != nil {
		p.Write(w)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(form.bytes))
	ctx, cancel := context.WithTimeout(r.Context(), a.requestTimeout)
	defer cancel()
	release := a.slots.waitForSlot(ctx, "")
	if release == nil {
		tooManyRequestsProblem().Write(w)
		return
	}
	defer release()
	a.console.ServeHTTP(w, r.WithContext(ctx))
}
