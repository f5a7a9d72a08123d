package main

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// addDryRunFlag adds --dry-run to a command that changes something.
func addDryRunFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "dry-run", false, "show what would be done, and do nothing")
}

// dryRunResult is what a command would do, as -o json prints it.
type dryRunResult struct {
	DryRun bool       `json:"dry_run"` // always true
	Would  string     `json:"would"`
	Hold   *hold.View `json:"hold,omitempty"` // as it is now
}

// printDryRun prints what a command would do, after the lines that describe it.
func (c *connectionFlags) printDryRun(would string, v *hold.View, lines []labeledValue) error {
	result := dryRunResult{DryRun: true, Would: would, Hold: v}
	return c.printObject(result, func(timeFormatter, outputFormat) error {
		if v != nil {
			c.out.printLiveModeNotice(v.Livemode)
		}
		printLabeledValues(c.out.stdout, lines)
		fmt.Fprintf(c.out.stdout, "Dry run, nothing was done. Would %s.\n", would)
		return nil
	})
}

// findHoldAndPrintDryRun prints what a change of the hold that name means would
// do.
func (c *changeFlags) findHoldAndPrintDryRun(
	ctx context.Context, client *api.Client, name string, change holdChange,
) error {
	v, err := findHold(ctx, client, name)
	if err != nil {
		return err
	}
	about, err := c.describeHold(&v)
	if err != nil {
		return err
	}
	would := change.action + " " + holdDisplayName(&v)
	if change.question != nil {
		details, question := change.question(&v)
		if about = append(about, details...); question != "" {
			would = questionToStatement(question)
		}
	}
	if change.refusal != nil {
		if why := change.refusal(&v); why != "" {
			would = "be refused: " + why
		}
	}
	if v.SettledAt != nil {
		would = fmt.Sprintf("be refused or do nothing: %s is %s", holdDisplayName(&v), v.State)
	}
	v.History, v.HistoryOmitted = nil, 0
	return c.printDryRun(would, &v, append(about, change.terms...))
}

// questionToStatement turns "Capture all of BK-1 now? …" into "capture all of
// BK-1".
func questionToStatement(question string) string {
	question, _, _ = strings.Cut(question, " now?")
	r := []rune(question)
	r[0] = unicode.ToLower(r[0])
	return string(r)
}

// otherFlags are flags of the commands that change a hold that are no terms.
var otherFlags = []string{"dry-run", "json", "output", "revision", "time-zone", "token-file", "url",
	"wait", "yes"}

// givenTermFlagLines describes the terms that the flags set.
func givenTermFlagLines(cmd *cobra.Command) (lines []labeledValue) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, name := range otherFlags {
			if f.Name == name {
				return
			}
		}
		value := f.Value.String()
		if value == "" {
			value = "none"
		}
		lines = append(lines, labeledValue{"new " + strings.ReplaceAll(f.Name, "-", " "),
			sanitize(value)})
	})
	return lines
}
