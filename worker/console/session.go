package console

import (
	"crypto/hmac"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// TokenAuthenticator are the tokens of the API. api.Tokens implements it.
type TokenAuthenticator interface {
	// Authenticate returns the name and role of a token.
	Authenticate(token string) (name string, mayOperate, ok bool)
	// ComputeSessionMAC returns the code that authenticates a message for the
	// token with this name, and its role.
	ComputeSessionMAC(name, message string) (mac []byte, mayOperate, ok bool)
}

const (
	sessionCookie = "holdd_session"
	sessionLength = 12 * time.Hour
	maxFormBytes  = 16 << 10
)

// visitor is who looks at a page.
type visitor struct {
	name       string // in the history of holds
	mayOperate bool
	signedIn   bool // false: this machine needs no token
}

// localVisitor is a visitor on this machine, if the API has no tokens.
var localVisitor = visitor{name: "console", mayOperate: true}

// authenticateVisitor returns who sends a request. ok is false if they must
// sign in.
func (c *Console) authenticateVisitor(r *http.Request) (v visitor, ok bool) {
	if c.o.Tokens == nil {
		return localVisitor, true
	}
	if v, ok := c.o.Identity.authenticateVisitor(r); ok {
		return v, true
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return visitor{}, false
	}
	message, code := cookie.Value, ""
	if i := strings.LastIndexByte(message, '~'); i > 0 {
		message, code = message[:i], message[i+1:]
	}
	name, end, _ := strings.Cut(message, "~")
	endsAt, err := strconv.ParseInt(end, 10, 64)
	if err != nil || !time.Now().Before(time.Unix(endsAt, 0)) {
		return visitor{}, false
	}
	mac, mayOperate, ok := c.o.Tokens.ComputeSessionMAC(name, message)
	given, err := base64.RawURLEncoding.DecodeString(code)
	if !ok || err != nil || !hmac.Equal(mac, given) {
		return visitor{}, false
	}
	return visitor{name: name, mayOperate: mayOperate, signedIn: true}, true
}

// setSessionCookie sets the cookie of a session.
func (c *Console) setSessionCookie(w http.ResponseWriter, r *http.Request, name string) {
	message := name + "~" + strconv.FormatInt(time.Now().Add(c.o.SessionLength).Unix(), 10)
	mac, _, _ := c.o.Tokens.ComputeSessionMAC(name, message)
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/console/",
		Value:  message + "~" + base64.RawURLEncoding.EncodeToString(mac),
		MaxAge: int(c.o.SessionLength.Seconds()), HttpOnly: true, Secure: needsSecureCookie(r),
		SameSite: http.SameSiteStrictMode})
}

// needsSecureCookie reports whether the cookie may travel over TLS only. A
// browser on this machine talks to holdd without TLS.
func needsSecureCookie(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return r.TLS != nil || host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// signInURL leads to the sign-in page, and from there back to an address.
func signInURL(next, reason string) string {
	return "/console/sign-in?" + url.Values{"next": {next}, "reason": {reason}}.Encode()
}

// sanitizeNextURL returns an address of the console, whatever the request asks
// for.
func sanitizeNextURL(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" ||
		!strings.HasPrefix(u.Path, "/console/") || strings.ContainsAny(next, "\\\r\n") {
		return "/console/"
	}
	return u.RequestURI()
}

func (c *Console) signInOrShowForm(q *request) (pageView, error) {
	next := sanitizeNextURL(q.r.FormValue("next"))
	if _, ok := c.authenticateVisitor(q.r); ok {
		return pageView{redirect: next}, nil
	}
	status, reason := http.StatusOK, q.r.FormValue("reason")
	if q.r.Method == http.MethodPost {
		token := strings.TrimSpace(q.r.PostFormValue("token"))
		if name, _, ok := c.o.Tokens.Authenticate(token); ok {
			c.setSessionCookie(q.w, q.r, name)
			c.o.Logger.Info("console: signed in", zap.String("by", name))
			return pageView{redirect: signInURL(next, "cookie")}, nil
		}
		if c.o.ReportRefusal != nil {
			c.o.ReportRefusal(q.r, "token_invalid", "")
		}
		status, reason = http.StatusUnauthorized, "unknown"
	}
	var note part
	if key := "signin.reason." + reason; reason != "" && q.has(key) {
		note = el("p", class("note warn"), a("role", "alert"), text(q.t(key)))
	}
	return pageView{title: q.t("signin.title"), status: status,
		body: el("form", class("card narrow"),
			a("method", "post"), a("action", "/console/sign-in"), note, hiddenInput("next", next),
			el("p", el("label", a("for", "token"), text(q.t("signin.token")))),
			el("p", el("input", a("id", "token"), a("name", "token"), a("type", "password"),
				a("autocomplete", "current-password"), a("aria-describedby", "token-help"),
				booleanAttr("required"), booleanAttr("autofocus"))),
			el("p", a("id", "token-help"), class("soft"), text(q.t("signin.help"))),
			el("p", el("button", class("primary"), text(q.t("signin.submit"))), text(" "),
				link(next, q.t("signin.again"))))}, nil
}

func (c *Console) signOut(q *request) (pageView, error) {
	http.SetCookie(q.w, &http.Cookie{Name: sessionCookie, Path: "/console/", MaxAge: -1,
		HttpOnly: true, Secure: needsSecureCookie(q.r), SameSite: http.SameSiteStrictMode})
	return pageView{redirect: signInURL("/console/", "out")}, nil
}
