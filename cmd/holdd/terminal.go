package main

// Rules of the command line's output:
//
//   - Answers go to standard output. Questions, progress, notes and errors go
//     to standard error.
//   - An error is "error: " and a sentence, and perhaps "hint: " and what to
//     do. It is printed once, without usage text or stack.
//   - A question needs a terminal as standard input. Without one the command
//     exits with code 2 and names --yes.
//   - Only "y" and "yes" confirm.
//   - Colours carry no information of their own. There are none with NO_COLOR,
//     with TERM=dumb, or without a terminal.
//   - Progress bars and charts are drawn on a terminal only. The table has all
//     that a chart shows.
//   - Tables have no lines and no empty columns, and fit 80 columns, as the
//     sentences below them do. -o wide adds columns, and times in the reader's
//     time zone. output.go has the formats of lists.
//   - Amounts are written with their currency. The notice of live mode precedes
//     all other output.
//   - --json prints the API's own JSON, one object a line, times in UTC,
//     without colours and complete.
//   - Control characters in text from outside are replaced.

import (
	"cmp"
	"encoding/json"
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

// terminal is where a command reads and writes.
type terminal struct {
	stdin  io.Reader
	stdout *stickyErrWriter
	stderr io.Writer

	interactive     bool // standard input is a terminal
	colorStdout     bool
	colorStderr     bool
	canDrawProgress bool // standard error is a terminal that can redraw a line
	// width is the columns of the terminal that standard output is. 0 means no
	// terminal, or one that cannot show a chart.
	width int
}

func newTerminal(env environList, stdin io.Reader, stdout, stderr io.Writer) *terminal {
	plain := env.get("NO_COLOR") != "" || env.get("TERM") == "dumb"
	return &terminal{
		stdin: stdin, stdout: &stickyErrWriter{w: stdout}, stderr: stderr,
		interactive:     isTerminal(stdin),
		colorStdout:     isTerminal(stdout) && !plain,
		colorStderr:     isTerminal(stderr) && !plain,
		canDrawProgress: isTerminal(stderr) && env.get("TERM") != "dumb",
		width:           terminalWidth(env, stdout),
	}
}

// stickyErrWriter keeps the first write error, so that a full disk fails the
// command.
type stickyErrWriter struct {
	w   io.Writer
	err error
}

func (s *stickyErrWriter) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth returns the columns of the terminal, or COLUMNS if the terminal
// reports none. It returns 0 for a dumb terminal and for a locale without
// UTF-8, which cannot show a chart.
func terminalWidth(env environList, stdout io.Writer) int {
	if !isTerminal(stdout) || env.get("TERM") == "dumb" {
		return 0
	}
	locale := strings.ToUpper(
		cmp.Or(env.get("LC_ALL"), env.get("LC_CTYPE"), env.get("LANG"), "UTF-8"))
	if !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8") {
		return 0
	}
	if n, _, err := term.GetSize(int(stdout.(*os.File).Fd())); err == nil && n > 0 {
		return n
	}
	if n, err := strconv.Atoi(env.get("COLUMNS")); err == nil && n > 0 {
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

// colorTextForStdout colours text for standard output.
func (c *terminal) colorTextForStdout(
	color, s string,
) string {
	return colorize(c.colorStdout, color, s)
}

// sanitize replaces control characters and marks of the writing direction,
// which a terminal would interpret.
func sanitize(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// sanitizeLines is sanitize for texts of several lines.
func sanitizeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = sanitize(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (c *terminal) printError(sentence, hint string) {
	fmt.Fprintf(c.stderr, "%s %s\n", colorize(c.colorStderr, boldRed, "error:"),
		sanitizeLines(sentence))
	if hint != "" {
		fmt.Fprintf(c.stderr, "%s %s\n", colorize(c.colorStderr, bold, "hint:"),
			sanitizeLines(hint))
	}
}

// printNote prints a line beside the answer.
func (c *terminal) printNote(format string, args ...any) {
	fmt.Fprintf(c.stderr, format+"\n", args...)
}

// printSummary prints a sentence below a table, no wider than the table.
func (c *terminal) printSummary(format string, args ...any) {
	c.printNote("%s", wrapText(fmt.Sprintf(format, args...), tableWidth))
}

const liveModeNotice = "LIVE mode: real money"

// printLiveModeNotice prints the notice that precedes all output about real
// money.
func (c *terminal) printLiveModeNotice(live bool) {
	if live {
		fmt.Fprintln(c.stdout, c.colorTextForStdout(boldRed, liveModeNotice))
	}
}

// printJSONLine writes v as one line of JSON.
func (c *terminal) printJSONLine(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return &exitError{code: exitFailed,
			err: fmt.Errorf("cannot write the answer as JSON: %w", err)}
	}
	_, err = c.stdout.Write(append(b, '\n'))
	return err
}

// labeledValue is one line of a hold's description.
type labeledValue struct{ label, value string }

func printLabeledValues(w io.Writer, values []labeledValue) {
	width := 0
	for _, f := range values {
		width = max(width, len(f.label))
	}
	for _, f := range values {
		if f.value == "" {
			continue
		}
		value := f.value
		if sentenceLabels[f.label] {
			value = wrapText(value, tableWidth-width-4)
		}
		for i, line := range strings.Split(value, "\n") {
			label := f.label
			if i > 0 {
				label = ""
			}
			fmt.Fprintf(w, "  %-*s  %s\n", width, label, line)
		}
	}
}

// sentenceLabels are the labels whose values are sentences, which wrap. Other values, such as a
// booking, stay as they are, because they may be copied.
var sentenceLabels = map[string]bool{"warning": true, "increment": true, "cardholder": true,
	"not renewed": true, "unprotected": true, "releasing": true, "verified": true}

// rowsPerTable bounds a table, and with it memory. Longer lists are printed as
// several tables.
const rowsPerTable = 500

// newTable returns a table that its Render writes to standard output.
func (c *terminal) newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(c.stdout)
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
