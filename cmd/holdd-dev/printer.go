package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/holdd/holdd/worker/hold"
)

const (
	plain  = ""
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
	faint  = "2"
	bold   = "1"
)

// printer writes for people: one line for each thing that happened, whole lines
// even where many speak at once.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	color bool
}

func newPrinter(w io.Writer) *printer {
	f, ok := w.(*os.File)
	return &printer{out: w, color: ok && term.IsTerminal(int(f.Fd())) &&
		os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (t *printer) colorize(color, s string) string {
	if !t.color || color == plain || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

func (t *printer) print(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.out, s) // nobody is left to tell
}

// subject is what a line is about.
type subject struct {
	ref, cardholder, currency string
	amount                    int64 // minor units; 0: none is told
}

// printLine tells one event: what is one word or two, why the rest of the
// sentence.
func (t *printer) printLine(s subject, color, what, reason string) {
	amount := ""
	if s.amount != 0 {
		amount = hold.FormatAmount(s.amount, s.currency)
	}
	t.print(fmt.Sprintf("%s  %s  %s %s  %s  %s\n", t.colorize(faint, formatClock(time.Now())),
		pad(sanitizeText(s.ref), 7), pad(sanitizeText(s.cardholder), 17),
		fmt.Sprintf("%13s", amount), t.colorize(color, pad(what, 9)), sanitizeText(reason)))
}

// printNote tells something about the show itself.
func (t *printer) printNote(format string, args ...any) {
	t.print(t.colorize(faint, formatClock(time.Now())) + "  " +
		sanitizeText(fmt.Sprintf(format, args...)) + "\n")
}

// serviceURLs are where a newcomer may look.
type serviceURLs struct{ api, sim, redis string }

func (t *printer) printBanner(o options, p serviceURLs) {
	day := func(days float64) string {
		return formatDuration(time.Duration(days * float64(o.dayLength)))
	}
	ends := "It runs until Ctrl-C"
	if o.runFor > 0 {
		ends = "It ends after " + o.runFor.String() + " or at Ctrl-C"
	}
	head := t.colorize(bold, "holdd-dev: a hotel, holdd and a simulated Stripe in one process.") +
		" No money moves, and nothing is kept.\n" +
		"A day lasts " + o.dayLength.String() + " here: an authorization of 7 days ends after " +
		day(authorizationDays) + ", and " + day(marginDays) +
		" before a hold's end holdd acts on its on_expiry.\n" +
		ends + ", and then shows that its books agree with Stripe's ledger.\n\n"
	rows := [][2]string{
		{"API, explained", p.api + "/docs"},
		{"holds, as JSON", p.api + "/v1/holds"},
		{"Stripe's ledger", p.sim + "/_sim/ledger"},
		{"Redis (in memory)", "redis-cli -u redis://" + p.redis},
		{"try, elsewhere", "go run ./cmd/holdd list --url " + p.api},
		{"", "go run ./cmd/holdd list --url " + p.api + " --state scheduled"},
		{"", "curl -s " + p.sim + "/v1/payment_intents -u " + testKey + ":"},
	}
	var b strings.Builder
	b.WriteString(head)
	for _, r := range rows {
		b.WriteString("  " + t.colorize(cyan, pad(r[0], 18)) + r[1] + "\n")
	}
	b.WriteString("\n" + t.colorize(faint, fmt.Sprintf("%-8s  %-7s  %-17s %13s  %-9s  %s", "time",
		"booking", "guest", "amount", "what", "why")) + "\n")
	t.print(b.String())
}

func formatClock(t time.Time) string { return t.Format("15:04:05") }

// formatDuration writes a duration with no more digits than a person wants.
func formatDuration(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func pad(s string, n int) string { return fmt.Sprintf("%-*s", n, s) }

// sanitizeText takes out what a terminal would obey: references and messages
// may come from a newcomer's curl.
func sanitizeText(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
