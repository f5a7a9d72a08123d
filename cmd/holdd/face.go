package main

// The rules of holdd's terminal face:
//
//   - Answers go to standard output; questions, progress, notes and errors go to standard error.
//   - An error is "error: " and a sentence, then perhaps "hint: " and what to try. No usage text, no stack, no second telling.
//   - Nothing is asked unless a person can answer: standard input has to be a terminal. Otherwise: exit code 2, and a hint at --yes.
//   - The answer to a question is "no" unless it is "y" or "yes".
//   - Colours help and never tell: without them nothing is missing. None with NO_COLOR, TERM=dumb, or without a terminal.
//   - A progress bar is drawn on a terminal only, and so is a chart, as wide as fits: what it shows stands in the table as well.
//   - Tables have no lines and no column that is always empty. Times stand in the reader's zone, with how far away they are.
//   - Money is written as people do, with its currency. Live mode is told before the first line.
//   - --json is for machines: the API's own JSON, one object a line, times in UTC, never coloured, never cut.
//   - What comes from outside is cleaned of what a terminal would obey.

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// face is what holdd knows of who looks on.
type face struct {
	canAsk   bool // standard input is a terminal
	colorOut bool
	colorErr bool
	barErr   bool // standard error is a terminal that can redraw a line
	width    int  // columns of the terminal that standard output is; 0: it is none, or one that draws nothing
}

func newFace(env func(string) string, stdin io.Reader, stdout, stderr io.Writer) face {
	plain := env("NO_COLOR") != "" || env("TERM") == "dumb"
	return face{
		canAsk:   isTerminal(stdin),
		colorOut: isTerminal(stdout) && !plain,
		colorErr: isTerminal(stderr) && !plain,
		barErr:   isTerminal(stderr) && env("TERM") != "dumb",
		width:    width(env, stdout),
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width is that of the terminal, or what COLUMNS says where the terminal doesn't know. A terminal that is dumb, or whose locale has no UTF-8,
// has none: nothing can be drawn on it.
func width(env func(string) string, stdout io.Writer) int {
	if !isTerminal(stdout) || env("TERM") == "dumb" {
		return 0
	}
	locale := strings.ToUpper(cmp.Or(env("LC_ALL"), env("LC_CTYPE"), env("LANG"), "UTF-8"))
	if !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8") {
		return 0
	}
	if n, _, err := term.GetSize(int(stdout.(*os.File).Fd())); err == nil && n > 0 {
		return n
	}
	if n, err := strconv.Atoi(env("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return 80
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	cyan   = "36"
	bold   = "1"
	faint  = "2"
	alarm  = "1;31"
)

func paint(on bool, color, s string) string {
	if !on || color == "" || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// paint colours what goes to standard output.
func (a *app) paint(color, s string) string { return paint(a.face.colorOut, color, s) }

// clean replaces what a terminal would obey or hide: control characters, and marks that turn the writing direction.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cleanLines is clean for texts of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (a *app) complain(sentence, hint string) {
	fmt.Fprintf(a.stderr, "%s %s\n", paint(a.face.colorErr, alarm, "error:"), cleanLines(sentence))
	if hint != "" {
		fmt.Fprintf(a.stderr, "%s %s\n", paint(a.face.colorErr, bold, "hint:"), cleanLines(hint))
	}
}

// note tells something beside the answer.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

const liveMark = "LIVE mode: real money"

// markLive comes before everything that speaks of real money.
func markLive(w io.Writer, color, live bool) {
	if live {
		fmt.Fprintln(w, paint(color, alarm, liveMark))
	}
}

// confirm shows what is going to happen and asks. A nil error is a yes.
func (a *app) confirm(ctx context.Context, live bool, facts []fact, question string) error {
	if !a.face.canAsk {
		return usage("add --yes to do it without being asked", "this moves money and there is no terminal to ask on: nothing was done")
	}
	// The question has to be seen even where standard error goes to a file.
	w, color := a.stderr, a.face.colorErr
	if !isTerminal(w) {
		tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
		if err != nil {
			return usage("add --yes to do it without being asked", "this moves money and there is no terminal to ask on: nothing was done")
		}
		defer tty.Close()
		w, color = tty, false
	}
	markLive(w, color, live)
	writeFacts(w, facts)
	fmt.Fprintf(w, "%s [y/N] ", paint(color, bold, question))

	type line struct {
		text string
		err  error
	}
	answer := make(chan line, 1)
	go func() { // ends with the process: a read from a terminal can't be called off
		text, err := bufio.NewReader(io.LimitReader(a.stdin, 200)).ReadString('\n')
		answer <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(w)
		return &exit{code: exitInterrupted, err: errors.New("interrupted: nothing was done")}
	case l := <-answer:
		switch strings.ToLower(strings.TrimSpace(l.text)) {
		case "y", "yes":
			return nil
		}
		if l.err != nil {
			fmt.Fprintln(w)
		}
		return &exit{code: exitFailed, err: errors.New("not confirmed: nothing was done")}
	}
}

// fact is one line of what is known of a hold.
type fact struct{ name, value string }

func writeFacts(w io.Writer, facts []fact) {
	width := 0
	for _, f := range facts {
		width = max(width, len(f.name))
	}
	for _, f := range facts {
		if f.value != "" {
			fmt.Fprintf(w, "  %-*s  %s\n", width, f.name, f.value)
		}
	}
}

// newTable is a table in holdd's style, written to standard output by its Render.
func (a *app) newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(a.out)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressEmptyColumns()
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}
