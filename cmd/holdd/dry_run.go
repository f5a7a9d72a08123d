package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
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
	// Unchecked says what holdd checks only when the request is sent.
	Unchecked string `json:"unchecked,omitempty"`
}

// printDryRun prints what a command would do, after the lines that describe it.
func (c *connectionFlags) printDryRun(would string, v *hold.View, lines []labeledValue) error {
	return c.printDryRunResult(dryRunResult{Would: would, Hold: v}, lines)
}

// printRefusedDryRun prints why holdd would refuse the request. The exit code is that of a refusal.
func (c *connectionFlags) printRefusedDryRun(
	refusal string, v *hold.View, lines []labeledValue,
) error {
	err := c.printDryRun("be refused: "+refusal, v, lines)
	return cmp.Or(err, error(&exitError{code: exitFailed, err: errors.New(refusal), printed: true}))
}

func (c *connectionFlags) printDryRunResult(result dryRunResult, lines []labeledValue) error {
	result.DryRun = true
	return c.printObject(result, func(timeFormatter, outputFormat) error {
		v := result.Hold
		if v != nil {
			c.out.printLiveModeNotice(v.Livemode)
		}
		printLabeledValues(c.out.stdout, lines)
		fmt.Fprintln(c.out.stdout, wrapText("Dry run, nothing was done. Would "+
			sanitize(result.Would)+".", tableWidth))
		if result.Unchecked != "" {
			fmt.Fprintln(c.out.stdout, wrapText(sanitize(result.Unchecked)+".", tableWidth))
		}
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
	shown := v
	shown.History, shown.HistoryOmitted = nil, 0
	about = append(about, change.terms...)
	now := time.Now()
	before := holdOfView(&v)
	d, err := change.decide(before, now)
	if c.revision != 0 && c.revision != v.Revision {
		err = fmt.Errorf("%s has revision %d, not %d", holdDisplayName(&v), v.Revision, c.revision)
	}
	if err != nil {
		return c.printRefusedDryRun(replaceAPIWordsWithCommands(err.Error()), &shown, about)
	}
	result := dryRunResult{Would: change.action + " " + holdDisplayName(&v), Hold: &shown}
	if change.question != nil {
		details, question := change.question(&v)
		if about = append(about, details...); question != "" {
			result.Would = questionToStatement(question)
		}
	}
	if d.Unchanged {
		result.Would = fmt.Sprintf("do nothing: %s is %s, and would not change",
			holdDisplayName(&v), v.State)
	}
	switch margin := readExpiryMargin(ctx, client); {
	case margin > 0:
		if atOnce := describePolicyActionAtOnce(d, &before, holdDisplayName(&v), margin,
			now); atOnce != "" {
			result.Would += ", and " + atOnce
		}
	case !c.yes && describePolicyActionAtOnce(d, &before, "", maxExpiryMargin, now) != "":
		result.Unchecked = uncheckedMargin
	}
	return c.printDryRunResult(result, about)
}

const (
	uncheckedMargin = "holdd checks only when the request is sent whether the deadline is within " +
		"the expiry margin. If so, on_expiry acts at once, and the request needs --yes"
	// maxExpiryMargin is the longest that the setting expiry_margin may be.
	maxExpiryMargin = 7 * 24 * time.Hour
)

// readExpiryMargin returns how long before a deadline on_expiry acts, 0 if holdd does not say so.
func readExpiryMargin(ctx context.Context, client *api.Client) time.Duration {
	info, err := client.GetHealth(ctx)
	if err != nil {
		return 0
	}
	return time.Duration(info.ExpiryMarginSeconds) * time.Second
}

// describePolicyActionAtOnce says what on_expiry does at once after a request, "" for nothing.
// before is the hold as it was, the zero Hold if it is new.
func describePolicyActionAtOnce(
	d hold.Decision, before *hold.Hold, name string, margin time.Duration, now time.Time,
) string {
	_, err := d.RefuseUnlessPolicyActionConfirmed(before, false, now,
		hold.DecisionRules{ExpiryMargin: margin})
	refusal, ok := errors.AsType[*hold.Problem](err)
	if !ok {
		return ""
	}
	verb := "release"
	if refusal.Code == hold.WouldCaptureNow {
		verb = "capture"
	}
	return fmt.Sprintf("%s %s of %s at once, because the deadline is so near that on_expiry acts",
		verb, describePolicyMoney(&d.Hold, refusal.Code), name)
}

// questionToStatement turns "Capture all of BK-1 now? …" into "capture all of
// BK-1".
func questionToStatement(question string) string {
	if end := strings.LastIndex(question, "?"); end >= 0 { // a booking may have one too
		question = strings.TrimSuffix(question[:end], " now")
	}
	r := []rune(question)
	r[0] = unicode.ToLower(r[0])
	return string(r)
}

// otherFlags are flags of the commands that change a hold that are no terms.
var otherFlags = []string{"dry-run", "json", "output", "revision", "time-zone", "token-file", "url",
	"wait", "yes"}

// givenTermFlagLines describes the terms that the flags set. Amounts are in a currency; "" is not
// known.
func givenTermFlagLines(cmd *cobra.Command, currency string) (lines []labeledValue) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, name := range otherFlags {
			if f.Name == name {
				return
			}
		}
		value := f.Value.String()
		if a, ok := f.Value.(*amountFlag); ok && currency != "" {
			if n, err := a.minorUnits(f.Name, currency); err == nil {
				value = hold.FormatAmount(n, currency)
			}
		}
		if value == "" {
			value = "none"
		}
		lines = append(lines, labeledValue{"new " + strings.ReplaceAll(f.Name, "-", " "),
			sanitize(value)})
	})
	return lines
}
