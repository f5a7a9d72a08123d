package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// confirmationPrompt asks the operator before money moves.
type confirmationPrompt struct {
	out *terminal
	yes bool // confirmed already, by --yes or for a whole file
}

// addYesFlag adds --yes.
func (p *confirmationPrompt) addYesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&p.yes, "yes", "y", false, "do not ask for confirmation")
}

// ask shows what a request is about and asks the question. It returns nil if
// the operator confirms.
func (p *confirmationPrompt) ask(
	ctx context.Context, client *api.Client, about []labeledValue, question string,
) error {
	reason := "this would " + questionToStatement(question)
	if strings.Contains(question, " now?") {
		reason += " at once"
	}
	return p.askWithReason(ctx, client, about, question, reason)
}

// askWithReason is ask with the reason that the error has if there is no terminal.
func (p *confirmationPrompt) askWithReason(
	ctx context.Context, client *api.Client, about []labeledValue, question, reason string,
) error {
	if p.yes {
		return nil
	}
	info, err := client.GetHealth(ctx)
	if err != nil {
		return toExitError(err, "")
	}
	return p.out.askForConfirmation(ctx, info.Livemode != nil && *info.Livemode, about, question,
		reason)
}

// sendWithConfirmation calls request. If holdd refuses because on_expiry would
// move the money at once, send asks the operator and calls request again,
// confirmed. describe returns what would move, such as "50.00 EUR of BK-1", and the hold's
// description.
func (p *confirmationPrompt) sendWithConfirmation(
	ctx context.Context, client *api.Client,
	describe func(refusal *api.Problem) (money string, about []labeledValue, err error),
	request func(confirmed bool) error,
) error {
	err := request(p.yes)
	refusal, ok := errors.AsType[*api.Problem](err)
	if !ok || !isConfirmationProblem(refusal) || p.yes {
		return err
	}
	money, about, err := describe(refusal)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Release %s now? %s", money, releaseIsFinal)
	if refusal.Code == hold.WouldCaptureNow {
		question = fmt.Sprintf("Capture %s now?", money)
	}
	reason, _, _ := strings.Cut(refusal.Detail, "; ")
	reason = strings.Replace(reason, " the money at once", " "+money+" at once", 1)
	err = p.askWithReason(ctx, client, about,
		"The deadline is so near that on_expiry acts at once. "+question, reason)
	if err != nil {
		return err
	}
	return request(true)
}

// describePolicyMoney says how much on_expiry would move at once. It names no amount of a hold
// that is captured in parts, or whose amount is not known.
func describePolicyMoney(h *hold.Hold, refusal hold.ProblemCode) string {
	amount := h.Amount
	if refusal == hold.WouldCaptureNow && h.CaptureAmount > 0 {
		amount = h.CaptureAmount
	}
	if amount == 0 || h.PartialCaptures != nil {
		return "the money"
	}
	return hold.FormatAmount(amount, h.Currency)
}

const (
	confirmHint    = "add --yes to confirm"
	releaseIsFinal = "It cannot be captured afterwards."
)

// isConfirmationProblem reports whether holdd refused because the hold's
// on_expiry would move its money at once.
func isConfirmationProblem(p *api.Problem) bool {
	return p != nil && (p.Code == hold.WouldCancelNow || p.Code == hold.WouldCaptureNow)
}

// askForConfirmation shows values and asks. It returns nil for "y" and "yes". reason is why it
// asks, for the error if there is no terminal.
func (c *terminal) askForConfirmation(
	ctx context.Context, live bool, values []labeledValue, question, reason string,
) error {
	noTerminal := usageErrorf(confirmHint,
		"%s: cannot ask for confirmation without a terminal, nothing was done", reason)
	if !c.interactive {
		return noTerminal
	}
	// The operator must see the question even if standard error is a file.
	w, color := c.stderr, c.colorStderr
	if !isTerminal(w) {
		tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
		if err != nil {
			return noTerminal
		}
		defer tty.Close()
		w, color = tty, false
	}
	if live {
		fmt.Fprintln(w, colorize(color, boldRed, liveModeNotice))
	}
	printLabeledValues(w, values)
	fmt.Fprintf(w, "%s [y/N] ", colorize(color, bold, question))

	answer := make(chan string, 1)
	go func() { // ends with the process: a read from a terminal cannot be canceled
		line, err := bufio.NewReader(io.LimitReader(c.stdin, 200)).ReadString('\n')
		if err != nil {
			fmt.Fprintln(w)
		}
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(w)
		return &exitError{code: exitInterrupted, err: errors.New("interrupted: nothing was done")}
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return &exitError{code: exitFailed, err: errors.New("not confirmed: nothing was done")}
	}
}
