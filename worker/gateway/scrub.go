package gateway

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/holdd/holdd/worker/hold"
)

const withheld = "[withheld]"

// maxScrubbed bounds what is looked at of a text from outside; a message is cut to [hold.MaxNoteBytes] afterwards.
const maxScrubbed = 16 << 10

var (
	// Keys of all kinds, webhook secrets, client secrets, and what stands behind the word client_secret. The forms are narrow, because
	// a caller's metadata passes here too, and an article "SK_1002" is no key.
	secretForm = regexp.MustCompile(`[A-Za-z0-9_]*_secret_[A-Za-z0-9_%-]*` +
		`|\b(?:sk|rk|pk|ek|uk)_(?:test|live)_[A-Za-z0-9_*.…-]*` +
		`|whsec_[A-Za-z0-9+/=_-]*` +
		`|client_secret["'=:\s%]+[^\s"',;&}]+`)
	// Numbers as long as a card's, grouped or not. An amount is at most 12 digits, a Unix time 10.
	cardForm = regexp.MustCompile(`\d(?:[ -]?\d){12,18}`)
	codeForm = form{regexp.MustCompile(`^[a-z][a-z0-9_]*$`), 64}
)

// form is what a word from outside has to look like, and the most characters that it may have. Go writes a bound within an expression out, a step for
// each repetition, and keeps that for good.
type form struct {
	re   *regexp.Regexp
	most int
}

func (f form) fits(s string) bool { return len(s) <= f.most && f.re.MatchString(s) }

// scrubber takes secrets out of texts from outside. It is the second line: the first is that no text but Stripe's error message, code
// and decline code is ever taken from an answer.
type scrubber struct {
	key *string // behind a pointer, where no verb of fmt gets at it
}

func newScrubber(k Key) *scrubber {
	s := string(k)
	return &scrubber{key: &s}
}

// secrets replaces what has the form of a secret.
func (s *scrubber) secrets(text string) string {
	if !strings.Contains(text, "_") { // there is one in each of them
		return text
	}
	text = strings.ReplaceAll(text, *s.key, withheld)
	return secretForm.ReplaceAllString(text, withheld)
}

// message makes a text from outside fit for a log line.
func (s *scrubber) message(text string) string {
	text = cut(text, maxScrubbed)
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	text = cardForm.ReplaceAllString(s.secrets(text), withheld)
	return cut(strings.TrimSpace(text), hold.MaxNoteBytes)
}

// code returns an error code, or nothing if it can't be one.
func (s *scrubber) code(c string) string {
	if !codeForm.fits(c) || s.secrets(c) != c {
		return ""
	}
	return c
}

// cut shortens to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
