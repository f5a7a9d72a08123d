package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// printWrappedHelp prints the help of a command, as cobra does, no wider than a table.
func printWrappedHelp(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	about := strings.TrimSpace(cmd.Long)
	if about == "" {
		about = strings.TrimSpace(cmd.Short)
	}
	fmt.Fprintln(w, wrapParagraphs(about, tableWidth))
	if cmd.Runnable() || cmd.HasSubCommands() {
		fmt.Fprintf(w, "\n%s", wrappedUsage(cmd))
	}
}

// wrappedUsage returns the usage of a command with the texts of its flags wrapped.
func wrappedUsage(cmd *cobra.Command) string {
	usage := cmd.UsageString()
	for _, flags := range []*pflag.FlagSet{cmd.LocalFlags(), cmd.InheritedFlags()} {
		if flat := strings.TrimRight(flags.FlagUsages(), " \n"); flat != "" {
			wrapped := strings.TrimRight(flags.FlagUsagesWrapped(tableWidth), " \n")
			usage = strings.Replace(usage, flat, wrapped, 1)
		}
	}
	return usage
}

// wrapParagraphs wraps the paragraphs of a text. It keeps the lines of a paragraph that has an
// indented one, such as a table.
func wrapParagraphs(s string, width int) string {
	paragraphs := strings.Split(s, "\n\n")
	for i, p := range paragraphs {
		if !strings.HasPrefix(p, " ") && !strings.Contains(p, "\n ") {
			paragraphs[i] = wrapText(p, width)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}
