package console

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode"
)

// TrustedIdentity says which proxies name the visitor, such as oauth2-proxy or
// Tailscale.
type TrustedIdentity struct {
	Header     string         // that has the visitor's name, such as X-Forwarded-Email
	Proxies    []netip.Prefix // that set the header, and remove the one of a visitor
	MayOperate bool           // the role of every visitor that a proxy names
}

// maxIdentity is the longest name that is believed, in bytes.
const maxIdentity = 100

// authenticateVisitor returns the visitor that a trusted proxy names. The
// header of any other peer says nothing.
func (t *TrustedIdentity) authenticateVisitor(r *http.Request) (v visitor, ok bool) {
	if t == nil || !t.trustsPeer(r.RemoteAddr) {
		return visitor{}, false
	}
	values := r.Header.Values(t.Header)
	if len(values) != 1 { // none, or one of them may be the visitor's own
		return visitor{}, false
	}
	name := strings.TrimSpace(values[0])
	if name == "" || len(name) > maxIdentity || strings.ContainsFunc(name, isDisallowedInName) {
		return visitor{}, false
	}
	return visitor{name: name, mayOperate: t.MayOperate}, true
}

func isDisallowedInName(r rune) bool {
	return r == unicode.ReplacementChar || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r)
}

func (t *TrustedIdentity) trustsPeer(peer string) bool {
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		return false // a Unix socket has no address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	for _, p := range t.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
