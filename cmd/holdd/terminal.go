package main

// The rules of holdd's terminal face:
//
//   - Answers go to standard output; questions, progress, notes and errors go
//     to standard error.
//   - An error is "error: " and a sentence, then perhaps "hint: " and what to
//     try. No usage text, no stack, no second telling.
//   - Nothing is asked unless a person can answer: standard input has to be a
//     terminal. Otherwise: exit code 2, and a hint at --yes.
//   - The answer to a question is "no" unless it is "y" or "yes".
//   - Colours help and never tell: without them nothing is missing. None with
//     NO_COLOR, TERM=dumb, or without a terminal.
//   - A progress bar is drawn on a terminal only, and so is a chart, as wide as
//     fits: what it shows stands in the table as well.
//   - Tables have no lines and no column that is always empty. Times stand in
//     the reader's zone, with how far away they are.
//   - Money is written as people do, with its currency. Live mode is told
//     before the first line.
//   - --json is for machines: the API's own JSON, one object a line, times in
//     UTC, never coloured, never cut.
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

// terminal is what holdd knows of who looks on.
type terminal struct {
	interactive     bool // standard input is a terminal
	colorStdout     bool
	colorStderr     bool
	canDrawProgress bool // standard error is a terminal that can redraw a line
	// columns of the terminal that standard output is; 0: it is none, or one
	// that draws nothing
	width int
}

func newTerminal(env func(string) string, stdin io.Reader, stdout, stderr io.Writer) terminal {
	plain := env("NO_COLOR") != "" || env("TERM") == "dumb"
	return terminal{
		interactive:     isTerminal(stdin),
		colorStdout:     isTerminal(stdout) && !plain,
		colorStderr:     isTerminal(stderr) && !plain,
		canDrawProgress: isTerminal(stderr) && env("TERM") != "dumb",
		width:           terminalWidth(env, stdout),
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is that of the terminal, or what COLUMNS says where the
// terminal doesn't know. A terminal that is dumb, or whose locale has no UTF-8,
// has none: nothing can be drawn on it.
func terminalWidth(env func(string) string, stdout io.Writer) int {
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
	red     = "31"
	green   = "32"
	yellow  = "33"
	blue    = "34"
	cyan    = "36"
	bold    = "1"
	faint   = "2"
	boldRed = "1;31"
)

func colorize(on bool, color, s string) string {
	if !on || color == "" || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// colorizeStdout colours what goes to standard output.
func (a *app) colorizeStdout(color, s string) string {
	return colorize(a.terminal.colorStdout, color, s)
}

// sanitize replaces what a terminal would obey or hide: control characters, and
// marks that turn the writing direction.
func sanitize(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// sanitizeLines is clean for texts of several lines.
func sanitizeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = sanitize(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (a *app) printError(sentence, hint string) {
	fmt.Fprintf(a.stderr, "%s %s\n", colorize(a.terminal.colorStderr, boldRed, "error:"),
		sanitizeLines(sentence))
	if hint != "" {
		fmt.Fprintf(a.stderr, "%s %s\n", colorize(a.terminal.colorStderr, bold, "hint:"),
			sanitizeLines(hint))
	}
}

// printNote tells something beside the answer.
func (a *app) printNote(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

const liveModeNotice = "LIVE mode: real money"

// printLiveModeNotice comes before everything that speaks of real money.
func printLiveModeNotice(w io.Writer, color, live bool) {
	if live {
		fmt.Fprintln(w, colorize(color, boldRed, liveModeNotice))
	}
}

// confirm shows what is going to happen and asks. A nil error is a yes.
func (a *app) confirm(
	ctx context.Context, live bool, values []labeledValue, question string,
) error {
	if !a.terminal.interactive {
		return usageErrorf("add --yes to do it without being asked",
			"this moves money and there is no terminal to ask on: nothing was done")
	}
	// The question has to be seen even where standard error goes to a file.
	w, color := a.stderr, a.terminal.colorStderr
	if !isTerminal(w) {
		tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
		if err != nil {
			return usageErrorf("add --yes to do it without being asked",
				"this moves money and there is no terminal to ask on: nothing was done")
		}
		defer tty.Close()
		w, color = tty, false
	}
	printLiveModeNotice(w, color, live)
	printLabeledValues(w, values)
	fmt.Fprintf(w, "%s [y/N] ", colorize(color, bold, question))

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
		return &exitError{code: exitInterrupted, err: errors.New("interrupted: nothing was done")}
	case l := <-answer:
		switch strings.ToLower(strings.TrimSpace(l.text)) {
		case "y", "yes":
			return nil
		}
		if l.err != nil {
			fmt.Fprintln(w)
		}
		return &exitError{code: exitFailed, err: errors.New("not confirmed: nothing was done")}
	}
}

// labeledValue is one line of what is known of a hold.
type labeledValue struct{ label, value string }

func printLabeledValues(w io.Writer, values []labeledValue) {
	width := 0
	for _, f := range values {
		width = max(width, len(f.label))
	}
	for _, f := range values {
		if f.value != "" {
			fmt.Fprintf(w, "  %-*s  %s\n", width, f.label, f.value)
		}
	}
}

// newTable is a table in holdd's style, written to standard output by its
// Render.
func (a *app) newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(a.stdout)
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
