package api

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
)

// clientNameHeader names the kind of client that sends a request.
const clientNameHeader = "Holdd-Client"

// accessControl decides which requests are admitted, and on whose behalf.
type accessControl struct {
	// tokens is nil if callers on this machine need none, and others are
	// rejected. That does not change while holdd runs.
	tokens       atomic.Pointer[Tokens]
	crossOrigin  *http.CrossOriginProtection
	unauthorized atomic.Uint64
}

func newAccessControl(t *Tokens) *accessControl {
	a := &accessControl{crossOrigin: http.NewCrossOriginProtection()}
	a.tokens.Store(t)
	return a
}

// authenticate rejects a request, or records its caller in c.
func (a *accessControl) authenticate(r *http.Request, c *requestInfo) *Problem {
	c.by = "api"
	if r.Header.Get(clientNameHeader) == "cli" {
		c.by = "cli"
	}
	tokens := a.tokens.Load()
	if tokens == nil {
		if p := checkCallerIsLocal(r); p != nil {
			return p
		}
		c.trusted = true
	}
	if p := a.checkOrigin(r); p != nil {
		return p
	}
	if tokens == nil {
		return nil
	}
	return a.authenticateToken(tokens, r, c)
}

// checkOrigin rejects a change that a web page of another origin sends.
func (a *accessControl) checkOrigin(r *http.Request) *Problem {
	if err := a.crossOrigin.Check(r); err != nil {
		return newProblem(CrossOriginRefused, "",
			"cross-origin request from a web page rejected: nothing was changed")
	}
	return nil
}

func (a *accessControl) authenticateToken(
	tokens *Tokens, r *http.Request, c *requestInfo,
) *Problem {
	given, ok := bearerToken(r)
	caller, role := tokens.findCallerByToken(given)
	switch {
	case role == 0:
		if isPublicRoute(r) && !ok {
			return nil
		}
		a.unauthorized.Add(1)
		if !ok {
			return newProblem(TokenRequired, "",
				"missing token: send it as Authorization: Bearer <token>")
		}
		return newProblem(TokenInvalid, "",
			"unknown token: use one from this holdd's tokens file")
	case role == roleRead && !isReadOnlyMethod(r.Method):
		a.unauthorized.Add(1)
		c.by = caller
		return newProblem(TokenReadOnly, "",
			fmt.Sprintf("token %s has the role read: use one with the role operate", caller))
	}
	c.by, c.token, c.trusted = caller, caller, true
	return nil
}

// isPublicRoute reports whether a route needs no token even if tokens are
// required. The documents are the same for every holdd, and a browser cannot
// send a token by itself.
func isPublicRoute(r *http.Request) bool {
	return isPublicPath(r.URL.Path) && isReadOnlyMethod(r.Method)
}

func isPublicPath(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/openapi.json", "/docs":
		return true
	}
	return false
}

func isReadOnlyMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead
}

func bearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// checkCallerIsLocal rejects a request that cannot come from a program on this
// machine. A web page that resolves its own name to 127.0.0.1 (DNS rebinding)
// still sends that name as Host. A Unix socket has no such callers. A proxy on
// this machine forwards the requests of others, on any socket.
func checkCallerIsLocal(r *http.Request) *Problem {
	if name := forwardingHeader(r.Header); name != "" {
		return newProblem(HostNotAllowed, "", "the request has the header "+name+": it passed a "+
			"proxy, so its sender is unknown, and holdd has no tokens: set TOKENS_FILE, or let the "+
			"proxy forward only "+WebhookPath+" and "+CardholderPath)
	}
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if addr != nil && addr.Network() == "unix" {
		return nil
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		return newProblem(HostNotAllowed, "", "holdd has no tokens and serves only this machine: "+
			"set TOKENS_FILE, or listen on a loopback address or a Unix socket")
	}
	if !isLoopbackHost(r.Host) {
		return newProblem(HostNotAllowed, "",
			fmt.Sprintf("host %.100q not allowed without tokens: "+
				"use localhost, 127.0.0.1 or [::1], or set TOKENS_FILE", r.Host))
	}
	return nil
}

// forwardingHeader returns the name of a header by which a proxy tells that it
// forwards a request, empty if there is none.
func forwardingHeader(h http.Header) string {
	for name := range h {
		if name == "Forwarded" || name == "Via" || strings.HasPrefix(name, "X-Forwarded-") {
			return name
		}
	}
	return ""
}

// isLoopbackHost reports whether a host, with or without a port, names the
// machine of the caller.
func isLoopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
