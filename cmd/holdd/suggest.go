package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdd/holdd/config"
)

const helpHint = `"holdd help" lists the commands, and "holdd COMMAND --help" explains one`

// maxTypos is how many letters of a command or flag may be wrong for a
// suggestion.
const maxTypos = 2

// rejectUnknownSubcommands makes parent and all commands below it that have
// subcommands reject other arguments.
func rejectUnknownSubcommands(parent *cobra.Command) {
	if !parent.HasSubCommands() {
		return
	}
	parent.Args = rejectUnknownCommand
	if !parent.Runnable() { // cobra checks the arguments of runnable commands only
		parent.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, child := range parent.Commands() {
		rejectUnknownSubcommands(child)
	}
}

// rejectUnknownCommand rejects arguments of a command that has subcommands, and
// suggests the ones that they may mean.
func rejectUnknownCommand(parent *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := helpHint
	if parent.HasParent() {
		hint = fmt.Sprintf("%q lists its commands", parent.CommandPath()+" --help")
	}
	parent.SuggestionsMinimumDistance = maxTypos
	names := parent.SuggestionsFor(args[0])
	// The first letter is seldom mistyped.
	if same := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !strings.HasPrefix(args[0], name[:1])
	}); len(same) > 0 {
		names = same
	}
	if len(names) > 0 {
		path := parent.CommandPath() + " "
		hint = fmt.Sprintf("did you mean %s?", path+strings.Join(names, " or "+path))
	}
	return usageErrorf(hint, "unknown command %q for %q", args[0], parent.CommandPath())
}

// rejectUnknownHelpTopics makes holdd help reject what is no command.
func rejectUnknownHelpTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return
	}
	help.Run, help.RunE = nil, func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err == nil && len(rest) == 0 {
			cmd.InitDefaultHelpFlag() // cobra adds both only to a command that it runs
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		}
		if err == nil && !cmd.HasSubCommands() {
			return usageErrorf("", "unknown command %q for %q", rest[0], cmd.CommandPath())
		}
		return cmp.Or(rejectUnknownCommand(cmd, rest), err)
	}
}

var unknownFlagPattern = regexp.MustCompile(`^unknown flag: --([A-Za-z0-9-]+)`)

// explainFlagError adds the flag that an unknown one may mean.
func explainFlagError(cmd *cobra.Command, err error) error {
	hint := fmt.Sprintf("%q lists the flags", cmd.CommandPath()+" --help")
	if m := unknownFlagPattern.FindStringSubmatch(err.Error()); m != nil {
		if name := nearestFlag(cmd.Flags(), m[1]); name != "" {
			hint = "did you mean --" + name + "?"
		} else if variable := config.EnvNameOfFlag(m[1]); variable != "" {
			hint = "it is a setting, and a flag of holdd serve only: set " + variable +
				", or set it in the settings file"
		}
	}
	return usageErrorf(hint, "%w", err)
}

// nearestFlag returns the flag whose name is nearest to typed, or one that
// begins with it; "" if there is none.
func nearestFlag(flags *pflag.FlagSet, typed string) (nearest string) {
	best := maxTypos + 1
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		d := editDistance(typed, f.Name)
		if d == maxTypos && typed[0] != f.Name[0] {
			d++ // the first letter is seldom mistyped
		}
		if len(typed) > 2 && strings.HasPrefix(f.Name, typed) {
			d = min(d, 1)
		}
		if d < best {
			best, nearest = d, f.Name
		}
	})
	return nearest
}

// editDistance returns how many letters must be added, removed or replaced to
// turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
