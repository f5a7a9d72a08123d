package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newDocsCommand writes what packages of holdd install beside the binary. cobra
// has the same in a package of its own, which links a Markdown parser.
func newDocsCommand(out *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "docs DIRECTORY", Short: "Write man pages and completions", Hidden: true,
		Args: cobra.ExactArgs(1),
		Long: `Write the manual pages of all commands and the completions for bash, zsh and fish to a
directory in the layout of /usr/local/share.`,
		Example: "  holdd docs /usr/local/share",
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := renderDocFiles(cmd.Root())
			if err != nil {
				return err
			}
			for name, text := range files {
				path := filepath.Join(args[0], filepath.FromSlash(name))
				if err := writeDocFile(path, text); err != nil {
					return &exitError{code: exitFailed, err: fmt.Errorf("cannot write: %w", err)}
				}
			}
			out.printNote("%d files in %s", len(files), args[0])
			return nil
		},
	}
}

func writeDocFile(path, text string) error {
	const dirMode, fileMode fs.FileMode = 0o755, 0o644
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), fileMode)
}

// renderDocFiles returns the files by their paths.
func renderDocFiles(root *cobra.Command) (map[string]string, error) {
	files := map[string]string{}
	var bash, zsh, fish strings.Builder
	for _, err := range []error{root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh),
		root.GenFishCompletion(&fish, true)} {
		if err != nil {
			return nil, err
		}
	}
	files["bash-completion/completions/holdd"] = bash.String()
	files["zsh/site-functions/_holdd"] = zsh.String()
	files["fish/vendor_completions.d/holdd.fish"] = fish.String()
	var add func(c *cobra.Command)
	add = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		files["man/man1/"+manPageName(c)+".1"] = renderManPage(c)
		for _, child := range c.Commands() {
			add(child)
		}
	}
	add(root)
	return files, nil
}

func manPageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// renderManPage returns the manual page of a command in man(7).
func renderManPage(c *cobra.Command) string {
	var b strings.Builder
	name := manPageName(c)
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"holdd\" \"holdd\"\n", strings.ToUpper(name))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escapeRoff(name), escapeRoff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", escapeRoff(c.UseLine()))
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	b.WriteString(".SH DESCRIPTION\n")
	if isHelpTopic(c) {
		writeVerbatim(&b, long)
	} else {
		b.WriteString(strings.ReplaceAll(escapeRoff(long), "\n\n", "\n.PP\n") + "\n")
	}
	writeManFlags(&b, c)
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		writeVerbatim(&b, c.Example)
	}
	writeSeeAlso(&b, c)
	return b.String()
}

// isHelpTopic reports whether a command is a text to read, such as exit-codes.
func isHelpTopic(c *cobra.Command) bool { return !c.Runnable() && !c.HasSubCommands() }

func writeVerbatim(b *strings.Builder, text string) {
	b.WriteString(".nf\n" + escapeRoff(strings.TrimRight(text, "\n")) + "\n.fi\n")
}

func writeManFlags(b *strings.Builder, c *cobra.Command) {
	c.InitDefaultHelpFlag()
	head := ".SH OPTIONS\n"
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		b.WriteString(head)
		head = ""
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", escapeRoff(name), escapeRoff(usage))
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" &&
			!strings.Contains(usage, "default") {
			fmt.Fprintf(b, "(default %s)\n", escapeRoff(f.DefValue))
		}
	})
}

func writeSeeAlso(b *strings.Builder, c *cobra.Command) {
	var pages []string
	if c.HasParent() {
		pages = append(pages, manPageName(c.Parent()))
	}
	for _, child := range c.Commands() {
		if !child.Hidden && child.Name() != "help" {
			pages = append(pages, manPageName(child))
		}
	}
	for i, p := range pages {
		if i == 0 {
			b.WriteString(".SH SEE ALSO\n")
		}
		end := "\n"
		if i+1 < len(pages) {
			end = ",\n"
		}
		fmt.Fprintf(b, ".BR %s (1)%s", escapeRoff(p), strings.ReplaceAll(end, ",", " ,"))
	}
}

// escapeRoff escapes a text. A line that begins with a dot or an apostrophe
// would be a request, and a character outside ASCII is named by its number.
func escapeRoff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	var b strings.Builder
	for _, r := range strings.Join(lines, "\n") {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}
