package api

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

const (
	minTokenBytes   = 24 // bytes; "openssl rand -hex 32" makes 64
	maxTokenBytes   = 512
	maxTokens       = 1000
	tokenLineFormat = "send: name, read or operate, token"
)

type role uint8

const (
	roleRead    role = iota + 1 // may look
	roleOperate                 // may do everything
)

// Tokens are who may call, and what they may do. Only digests are kept: a token
// can't be printed from here.
type Tokens struct {
	entries []token
}

type token struct {
	name   string
	role   role
	digest [sha256.Size]byte
}

var tokenNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`)

// reservedTokenNames are what a hold's history says of those who have no token.
var reservedTokenNames = []string{"api", "cli", "inbox", "stripe", "holdd", "console"}

// ParseTokens reads one token a line: its name for the history, its role (read
// or operate), the token. Empty lines and lines that begin with # are skipped.
// Errors name the line and nothing that it holds.
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
				return nil, fmt.Errorf("line %d: its name stands for another token: give each one its own", n)
			}
			if other.digest == k.digest {
				return nil, fmt.Errorf("line %d: its token stands on another line: make a new one",
					n)
			}
		}
		if len(t.entries) == maxTokens {
			return nil, fmt.Errorf("line %d: more than %d tokens", n, maxTokens)
		}
		t.entries = append(t.entries, k)
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("line %d: too long: %s", n+1, tokenLineFormat)
		}
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(t.entries) == 0 {
		return nil, errors.New("there is no token in it: " + tokenLineFormat)
	}
	return t, nil
}

func parseToken(fields []string) (token, error) {
	if len(fields) != 3 {
		return token{}, fmt.Errorf("%d words, not 3: %s", len(fields), tokenLineFormat)
	}
	k := token{name: fields[0], digest: sha256.Sum256([]byte(fields[2]))}
	switch {
	case !tokenNamePattern.MatchString(k.name):
		return token{},
			errors.New("the name (first word) has up to 40 letters, digits, dots, dashes or underscores")
	case slices.Contains(reservedTokenNames, k.name):
		return token{},
			fmt.Errorf("the name (first word) is one of %s, which mean callers without a token",
				strings.Join(reservedTokenNames, ", "))
	case len(fields[2]) < minTokenBytes || len(fields[2]) > maxTokenBytes:
		return token{},
			fmt.Errorf("the token (third word) has %d bytes, not %d to %d: make one with openssl rand -hex 32", len(fields[2]), minTokenBytes, maxTokenBytes)
	case strings.ContainsFunc(fields[2], func(r rune) bool { return r <= ' ' || r > '~' }):
		return token{},
			errors.New("the token (third word) has characters that a header can't carry: make one with openssl rand -hex 32")
	}
	switch fields[1] {
	case "read":
		k.role = roleRead
	case "operate":
		k.role = roleOperate
	default:
		return token{}, errors.New("the role (second word) is neither read nor operate")
	}
	return k, nil
}

// Len is how many tokens there are.
func (t *Tokens) Len() int { return len(t.entries) }

// find compares with every token in constant time. Role 0: none.
func (t *Tokens) find(given string) (name string, r role) {
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
