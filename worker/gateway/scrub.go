package gateway

import (
	"regexp"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

const withheldPlaceholder = "[withheld]"

// maxScrubBytes is the length to which a text is truncated before it is
// searched for secrets. A message is then truncated to [hold.MaxNoteBytes].
const maxScrubBytes = 16 << 10

var (
	// secretPattern matches API keys, webhook secrets, client secrets, and the
	// value after the word client_secret. It is narrow, because it is also
	// applied to metadata: an article number such as "SK_1002" is not a key.
	secretPattern = regexp.MustCompile(`[A-Za-z0-9_]*_secret_[A-Za-z0-9_%-]*` +
		`|\b(?:sk_org|(?:sk|rk|pk|ek|uk)_(?:test|live))_[A-Za-z0-9_*.…-]*` +
		`|whsec_[A-Za-z0-9+/=_-]*` +
		`|client_secret["'=:\s%]+[^\s"',;&}]+`)
	// cardNumberPattern matches numbers as long as a card's, grouped or not. An
	// amount has at most 12 digits, a Unix time has 10.
	cardNumberPattern = regexp.MustCompile(`\d(?:[ -]?\d){12,18}`)
	errorCodePattern  = maxLengthPattern{regexp.MustCompile(`^[a-z][a-z0-9_]*$`), 64}
)

// maxLengthPattern is a pattern with a maximum length in bytes. A bound in the
// expression would cost memory, because regexp compiles one step for each
// repetition.
type maxLengthPattern struct {
	re     *regexp.Regexp
	maxLen int
}

func (p maxLengthPattern) matches(
	s string,
) bool {
	return len(s) <= p.maxLen && p.re.MatchString(s)
}

// secretScrubber removes secrets from texts of Stripe. It is a second defense:
// the gateway reads only the message, the code and the decline code of an
// error.
type secretScrubber struct {
	// The keys that were used, behind a pointer, so that fmt does not print them.
	apiKeys atomic.Pointer[[]string]
}

func newSecretScrubber(k APIKey) *secretScrubber {
	s := &secretScrubber{}
	s.apiKeys.Store(&[]string{string(k)})
	return s
}

// maxScrubbedKeys bounds the earlier keys that are still removed. Stripe's
// texts name the key of their request, and a request lasts seconds.
const maxScrubbedKeys = 4

// addKey adds a key that replaces the last one.
func (s *secretScrubber) addKey(k APIKey) {
	keys := append([]string{string(k)}, *s.apiKeys.Load()...)
	keys = keys[:min(len(keys), maxScrubbedKeys)]
	s.apiKeys.Store(&keys)
}

// redactSecrets replaces the API key and texts that have the form of a secret.
func (s *secretScrubber) redactSecrets(text string) string {
	if !strings.Contains(text, "_") { // every secret has an underscore
		return text
	}
	for _, key := range *s.apiKeys.Load() {
		text = strings.ReplaceAll(text, key, withheldPlaceholder)
	}
	return secretPattern.ReplaceAllString(text, withheldPlaceholder)
}

// redactMessage returns a text without secrets, card numbers and control
// characters, truncated for a log line.
func (s *secretScrubber) redactMessage(text string) string {
	text = truncateUTF8(text, maxScrubBytes)
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	text = cardNumberPattern.ReplaceAllString(s.redactSecrets(text), withheldPlaceholder)
	return truncateUTF8(strings.TrimSpace(text), hold.MaxNoteBytes)
}

// errorCodeOrEmpty returns c if it has the form of an error code and contains no
// secret, otherwise "".
func (s *secretScrubber) errorCodeOrEmpty(c string) string {
	if !errorCodePattern.matches(c) || s.redactSecrets(c) != c {
		return ""
	}
	return c
}

// truncateUTF8 shortens s to at most n bytes without splitting a character.
func truncateUTF8(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
