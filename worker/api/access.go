package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// clientNameHeader tells what kind of client is calling.
const clientNameHeader = "Holdd-Client"

// checkAccess decides whether a request may go on, and who is behind it.
func (a *API) checkAccess(r *http.Request, c *requestInfo) *Problem {
	c.by = "api"
	if r.Header.Get(clientNameHeader) == "cli" {
		c.by = "cli"
	}
	if a.opts.Tokens == nil {
		if p := checkLocalCaller(r); p != nil {
			return p
		}
		c.trusted = true
	}
	if err := a.crossOrigin.Check(r); err != nil {
		return newProblem(CrossOriginRefused, "",
			"this came from a web page of another origin: nothing was changed")
	}
	if a.opts.Tokens == nil {
		return nil
	}
	given, ok := bearerToken(r)
	caller, role := a.opts.Tokens.find(given)
	switch {
	case role == 0:
		if isPublicRoute(r) && !ok {
			return nil
		}
		a.unauthorized.Add(1)
		if !ok {
			return newProblem(TokenRequired, "", "send a token as Authorization: Bearer …")
		}
		return newProblem(TokenInvalid, "", "this token is not in the tokens file of this holdd")
	case role == roleRead && !isReadOnlyMethod(r.Method):
		a.unauthorized.Add(1)
		c.by = caller
		return newProblem(TokenReadOnly, "", "the token "+caller+
			" may only read: use one with the role operate")
	}
	c.by, c.trusted = caller, true
	return nil
}

// isPublicRoute tells which routes speak to callers without a token where
// tokens are required. The OpenAPI document and the page made of it are the
// same for everybody, and browsers, which can't send a token by themselves, are
// how people read them.
func isPublicRoute(r *http.Request) bool {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/openapi.json", "/docs":
		return isReadOnlyMethod(r.Method)
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

// checkLocalCaller refuses what can't come from a program on this machine,
// where no tokens are required. A web page that made its own name resolve to
// 127.0.0.1 (DNS rebinding) still sends that name as Host. A Unix socket has no
// such callers.
func checkLocalCaller(r *http.Request) *Problem {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if addr != nil && addr.Network() == "unix" {
		return nil
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		return newProblem(HostNotAllowed, "",
			"without tokens only this machine is answered: set TOKENS_FILE, or listen on a loopback address or a Unix socket")
	}
	if !isLoopbackHost(r.Host) {
		return newProblem(HostNotAllowed, "",
			"without tokens only localhost, 127.0.0.1 and [::1] are answered: use one of these, or set TOKENS_FILE")
	}
	return nil
}

// isLoopbackHost tells whether a host, with or without a port, names this
// machine for whoever says it.
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
