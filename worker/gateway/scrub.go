package gateway

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

const withheldPlaceholder = "[withheld]"

// maxScrubBytes bounds how much of a text from outside is searched. A message
// is cut to [hold.MaxNoteBytes] afterwards.
const maxScrubBytes = 16 << 10

var (
	// Keys of all kinds, webhook secrets, client secrets, and what follows the
	// word client_secret. The patterns are narrow, because the caller's
	// metadata is searched too, and an article "SK_1002" is no key.
	secretPattern = regexp.MustCompile(`[A-Za-z0-9_]*_secret_[A-Za-z0-9_%-]*` +
		`|\b(?:sk|rk|pk|ek|uk)_(?:test|live)_[A-Za-z0-9_*.…-]*` +
		`|whsec_[A-Za-z0-9+/=_-]*` +
		`|client_secret["'=:\s%]+[^\s"',;&}]+`)
	// Numbers as long as a card's, grouped or not. An amount has at most 12
	// digits, a Unix time 10.
	cardNumberPattern = regexp.MustCompile(`\d(?:[ -]?\d){12,18}`)
	errorCodePattern  = boundedPattern{regexp.MustCompile(`^[a-z][a-z0-9_]*$`), 64}
)

// boundedPattern is a pattern and the most bytes that a match has. A bound
// within the expression would cost memory: regexp compiles one step for each
// repetition.
type boundedPattern struct {
	re     *regexp.Regexp
	maxLen int
}

func (p boundedPattern) matches(s string) bool { return len(s) <= p.maxLen && p.re.MatchString(s) }

// scrubber removes secrets from texts from outside. It is the second line of
// defense. The first is that only Stripe's error message, code and decline code
// are taken from an error.
type scrubber struct {
	apiKey *string // behind a pointer, which no verb of fmt follows
}

func newScrubber(k APIKey) *scrubber {
	s := string(k)
	return &scrubber{apiKey: &s}
}

// redactSecrets replaces what has the form of a secret.
func (s *scrubber) redactSecrets(text string) string {
	if !strings.Contains(text, "_") { // every secret has one
		return text
	}
	text = strings.ReplaceAll(text, *s.apiKey, withheldPlaceholder)
	return secretPattern.ReplaceAllString(text, withheldPlaceholder)
}

// redactMessage makes a text from outside fit for a log line.
func (s *scrubber) redactMessage(text string) string {
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

// validErrorCode returns c if it has the form of an error code and hides no
// secret, otherwise "".
func (s *scrubber) validErrorCode(c string) string {
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
