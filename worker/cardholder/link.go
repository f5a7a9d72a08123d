package cardholder

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// PathPrefix begins the paths of the pages.
const PathPrefix = "/cardholder/"

// maxTokenBytes is the size of the longest token.
const maxTokenBytes = 256

var (
	errInvalidLink = errors.New("invalid link")
	errExpiredLink = errors.New("expired link")
)

// LinkSigner make and verify the links of cardholders. All replicas have the same
// key, so each verifies the links of the others.
type LinkSigner struct {
	base string // public URL of holdd, without a trailing slash
	key  []byte
}

// NewLinkSigner returns links that begin with publicURL and are signed with key.
func NewLinkSigner(publicURL, key string) *LinkSigner {
	return &LinkSigner{base: strings.TrimSuffix(publicURL, "/"), key: []byte(key)}
}

// Format writes a placeholder instead of the key, whatever the verb.
func (*LinkSigner) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[cardholder links]")) }

// SignLink returns the link for the renewal that a hold has now, and when it
// expires: at the deadline of the authorization.
func (l *LinkSigner) SignLink(h *hold.Hold) (url string, expires time.Time) {
	expires = h.ExpiresAt.Truncate(time.Second)
	return l.url(l.newSignedToken(h.ID, h.Renewal.Generation, expires.Unix())), expires
}

func (l *LinkSigner) url(token string) string { return l.base + PathPrefix + token }

// signedLink is what a token names.
type signedLink struct {
	hold       string
	generation uint32
}

// sign returns the token of a link: id, generation and Unix time of the expiry,
// and their MAC.
func (l *LinkSigner) newSignedToken(id string, generation uint32, expires int64) string {
	body := id + "." + strconv.FormatUint(uint64(generation), 10) + "." +
		strconv.FormatInt(expires, 10)
	return body + "." + base64.RawURLEncoding.EncodeToString(l.mac(body))
}

func (l *LinkSigner) mac(body string) []byte {
	m := hmac.New(sha256.New, l.key)
	m.Write([]byte("holdd cardholder link\n" + body))
	return m.Sum(nil)
}

// verify returns what a token names. Its errors are errInvalidLink and
// errExpiredLink; the second only for a token that holdd signed.
func (l *LinkSigner) verifyToken(token string, now time.Time) (signedLink, error) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || len(token) > maxTokenBytes {
		return signedLink{}, errInvalidLink
	}
	body := token[:i]
	mac, err := base64.RawURLEncoding.Strict().DecodeString(token[i+1:])
	if err != nil || !hmac.Equal(mac, l.mac(body)) {
		return signedLink{}, errInvalidLink
	}
	parts := strings.Split(body, ".")
	if len(parts) != 3 {
		return signedLink{}, errInvalidLink
	}
	generation, err1 := strconv.ParseUint(parts[1], 10, 32)
	expires, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil || hold.CheckPaymentIntentID(parts[0]) != nil {
		return signedLink{}, errInvalidLink
	}
	if now.Unix() >= expires {
		return signedLink{}, errExpiredLink
	}
	return signedLink{parts[0], uint32(generation)}, nil
}
