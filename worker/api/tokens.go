package api

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

const (
	minTokenBytes   = 24 // openssl rand -hex 32 makes 64
	maxTokenBytes   = 512
	maxTokens       = 1000
	tokenLineFormat = "want a name, read or operate, and a token"
)

type callerRole uint8

const (
	roleRead    callerRole = iota + 1 // only GET and HEAD
	roleOperate                       // every method
)

// Tokens are the callers' tokens and roles. Only digests are stored, so that a
// token cannot be printed.
type Tokens struct {
	entries []callerToken
}

type callerToken struct {
	name   string
	role   callerRole
	digest [sha256.Size]byte
}

var tokenNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`)

// reservedTokenNames are the names of callers without a token in a hold's
// history.
var reservedTokenNames = []string{"api", "cli", "inbox", "stripe", "holdd", "console"}

// ParseTokens parses a tokens file. Each line has a name for the history, a
// role (read or operate) and a token. Empty lines and lines that start with #
// are skipped. Errors contain the number of the line and none of its text.
func ParseTokens(r io.Reader) (*Tokens, error) {
	t := &Tokens{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1024), 4096)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		k, err := parseToken(strings.Fields(text))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, other := range t.entries {
			if other.name == k.name {
				return nil, fmt.Errorf("line %d: duplicate name: give each token its own name", n)
			}
			if other.digest == k.digest {
				return nil, fmt.Errorf("line %d: duplicate token: make a new one with "+
					"openssl rand -hex 32", n)
			}
		}
		if len(t.entries) == maxTokens {
			return nil, fmt.Errorf("line %d: too many tokens: want at most %d", n, maxTokens)
		}
		t.entries = append(t.entries, k)
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("line %d: line too long: %s", n+1, tokenLineFormat)
		}
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(t.entries) == 0 {
		return nil, errors.New("no tokens in the file: " + tokenLineFormat + " on each line")
	}
	return t, nil
}

func parseToken(fields []string) (callerToken, error) {
	if len(fields) != 3 {
		return callerToken{}, fmt.Errorf("%s instead of 3: %s",
			hold.FormatCount(len(fields), "word", "words"), tokenLineFormat)
	}
	k := callerToken{name: fields[0], digest: sha256.Sum256([]byte(fields[2]))}
	switch {
	case !tokenNamePattern.MatchString(k.name):
		return callerToken{}, errors.New("invalid name (first word): " +
			"want up to 40 letters, digits, dots, dashes or underscores")
	case slices.Contains(reservedTokenNames, k.name):
		return callerToken{}, fmt.Errorf("reserved name (first word): "+
			"%s stand for callers without a token", strings.Join(reservedTokenNames, ", "))
	case len(fields[2]) < minTokenBytes || len(fields[2]) > maxTokenBytes:
		return callerToken{},
			fmt.Errorf("invalid token (third word) of %s: want %d to %d bytes, "+
				"as from openssl rand -hex 32", hold.FormatCount(len(fields[2]), "byte", "bytes"),
				minTokenBytes, maxTokenBytes)
	case strings.ContainsFunc(fields[2], func(r rune) bool { return r <= ' ' || r > '~' }):
		return callerToken{},
			errors.New("invalid token (third word): want visible ASCII characters, " +
				"as from openssl rand -hex 32")
	}
	switch fields[1] {
	case "read":
		k.role = roleRead
	case "operate":
		k.role = roleOperate
	default:
		return callerToken{}, errors.New("invalid role (second word): want read or operate")
	}
	return k, nil
}

// Len returns the number of tokens.
func (t *Tokens) Len() int { return len(t.entries) }

// Equal reports whether the tokens are the same, in the same order.
func (t *Tokens) Equal(other *Tokens) bool {
	return other != nil && slices.Equal(t.entries, other.entries)
}

// findCallerByToken compares with every token in constant time. Role 0 means no match.
func (t *Tokens) findCallerByToken(given string) (name string, r callerRole) {
	digest := sha256.Sum256([]byte(given))
	at := -1
	for i := range t.entries {
		if subtle.ConstantTimeCompare(t.entries[i].digest[:], digest[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return "", 0
	}
	return t.entries[at].name, t.entries[at].role
}

// Authenticate returns the name and role of a token, for the console.
func (t *Tokens) Authenticate(token string) (name string, mayOperate, ok bool) {
	name, role := t.findCallerByToken(token)
	return name, role == roleOperate, role != 0
}

// ComputeSessionMAC returns the code that authenticates a message for the
// token with this name, and its role. The key follows from the token: every
// replica with the same tokens file computes the same code, and a token that is
// deleted from the file ends its sessions.
func (t *Tokens) ComputeSessionMAC(name, message string) (mac []byte, mayOperate, ok bool) {
	for i := range t.entries {
		if e := &t.entries[i]; e.name == name {
			h := hmac.New(sha256.New, e.digest[:])
			h.Write([]byte("holdd console session\x00" + message))
			return h.Sum(nil), e.role == roleOperate, true
		}
	}
	return nil, false, false
}
