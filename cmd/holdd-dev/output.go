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
)

// Colors, as parameters of the terminal's escape sequence.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
	faint  = "2"
	bold   = "1"
)

// printer writes whole lines from many goroutines.
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

func (p *printer) print(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, s)
}

func (p *printer) colorize(color, s string) string {
	if !p.color || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// line is one step of a booking.
type line struct {
	reference, cardholder, amount string
	color, what, reason           string
}

func (p *printer) printLine(l line) {
	p.print(fmt.Sprintf("%s  %-7s  %-15s  %10s  %s  %s\n",
		p.colorize(faint, formatClock(time.Now())), printable(l.reference), printable(l.cardholder),
		l.amount, p.colorize(l.color, fmt.Sprintf("%-10s", l.what)), printable(l.reason)))
}

func (p *printer) printNote(s string) {
	p.print(p.colorize(faint, formatClock(time.Now())) + "  " + s + "\n")
}

func (p *printer) printBanner(o options, hotelURL, apiURL, simURL, redisAddress string) {
	ends := "It runs until Ctrl-C"
	if o.runFor > 0 {
		ends = "It runs for " + o.runFor.String() + " or until Ctrl-C"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s No money moves, and nothing is kept.\n",
		p.colorize(bold, "holdd-dev: a booking system, holdd and a simulated Stripe."))
	fmt.Fprintf(&b, "A day lasts %s: an authorization of %.0f days ends after %s.\n",
		o.day, authorizationDays, formatDuration(daysLong(authorizationDays, o.day)))
	fmt.Fprintf(&b, "%s, and then prints a summary of Stripe's ledger.\n\n", ends)
	for _, row := range [][2]string{
		{"book a room", hotelURL + "/"},
		{"console", apiURL + "/console/"},
		{"API, explained", apiURL + "/docs"},
		{"holds, as JSON", apiURL + "/v1/holds"},
		{"Stripe's ledger", simURL + "/_sim/ledger"},
		{"Redis (in memory)", "redis-cli -u redis://" + redisAddress},
		{"another terminal", "go run ./cmd/holdd list --url " + apiURL},
		{"", "curl -sS --fail-with-body " + simURL + "/v1/payment_intents -u " + testKey + ":"},
	} {
		b.WriteString("  " + p.colorize(cyan, fmt.Sprintf("%-18s", row[0])) + row[1] + "\n")
	}
	b.WriteString("\n" + p.colorize(faint, fmt.Sprintf("%-8s  %-7s  %-15s  %10s  %-10s  %s",
		"time", "booking", "guest", "amount", "what", "why")) + "\n")
	p.print(b.String())
}

func formatClock(t time.Time) string { return t.Format("15:04:05") }

func formatDuration(d time.Duration) string {
	return d.Round(100 * time.Millisecond).String()
}

// printable replaces control characters: references and names may come from a
// request that the user sent with curl.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
