package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestDocsCommand_WritesAPageForEachCommand compares the pages with the commands
// and their flags.
func TestDocsCommand_WritesAPageForEachCommand(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := runCommand(t, nil, "docs", dir); code != exitOK {
		t.Fatal(stderr)
	}
	root := newRootCommand(newTerminal(nil, nil, nil, nil), nil)
	pages := 0
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		pages++
		b, err := os.ReadFile(filepath.Join(dir, "man/man1", manPageName(c)+".1"))
		if err != nil {
			t.Fatal(err)
		}
		page := string(b)
		for _, want := range []string{".TH ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n",
			escapeRoff(c.Short)} {
			if !strings.Contains(page, want) {
				t.Errorf("%s has no %q", c.CommandPath(), want)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(page, escapeRoff("--"+f.Name)) {
				t.Errorf("%s does not explain --%s", c.CommandPath(), f.Name)
			}
		})
		for l := range strings.Lines(page) {
			if strings.HasPrefix(l, ".") && !strings.HasPrefix(l, ".SH ") && !strings.HasPrefix(l, ".TH ") &&
				!strings.HasPrefix(l, ".B ") && !strings.HasPrefix(l, ".BR ") && l != ".TP\n" &&
				l != ".PP\n" && l != ".nf\n" && l != ".fi\n" || strings.HasPrefix(l, "'") {
				t.Errorf("%s: unknown request %q", c.CommandPath(), l)
			}
		}
		for _, child := range c.Commands() {
			check(child)
		}
	}
	check(root)
	for _, name := range []string{"bash-completion/completions/holdd", "zsh/site-functions/_holdd",
		"fish/vendor_completions.d/holdd.fish"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(b) < 500 {
			t.Errorf("%s: %v, %d bytes", name, err, len(b))
		}
	}
	if pages < 25 {
		t.Errorf("only %d pages", pages)
	}
}

func TestRoff_EscapesRequests(t *testing.T) {
	if got := escapeRoff(".PP\n'x a-b \\n …"); got != "\\&.PP\n\\&'x a\\-b \\en \\[u2026]" {
		t.Errorf("%q", got)
	}
}

// TestCommands_HaveDryRun lists the commands that change something.
func TestCommands_HaveDryRun(t *testing.T) {
	root := newRootCommand(newTerminal(nil, nil, nil, nil), nil)
	for _, name := range []string{"schedule", "adopt", "reschedule", "capture", "cancel", "increment",
		"pause", "resume", "acknowledge", "reconcile", "callbacks replay", "log-level", "repartition",
		"forget", "repair", "init"} {
		c, _, err := root.Find(strings.Fields(name))
		if err != nil || c.Flags().Lookup("dry-run") == nil {
			t.Errorf("%s has no --dry-run: %v", name, err)
		}
	}
}
