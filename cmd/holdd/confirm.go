package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

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
	if p.yes {
		return nil
	}
	info, err := client.GetHealth(ctx)
	if err != nil {
		return toExitError(err, "")
	}
	return p.out.askForConfirmation(ctx, info.Livemode != nil && *info.Livemode, about, question)
}

// sendWithConfirmation calls request. If holdd refuses because on_expiry would
// move the money at once, send asks the operator and calls request again,
// confirmed. describe returns the hold's name and description.
func (p *confirmationPrompt) sendWithConfirmation(
	ctx context.Context, client *api.Client,
	describe func(deadline time.Time) (name string, about []labeledValue, err error),
	request func(confirmed bool) error,
) error {
	err := request(p.yes)
	refusal, ok := errors.AsType[*api.Problem](err)
	if !ok || !isConfirmationProblem(refusal) || p.yes {
		return err
	}
	if !p.out.interactive {
		reason, _, _ := strings.Cut(refusal.Detail, "; ")
		return usageErrorf(confirmHint, "%s: cannot ask for confirmation without a terminal, "+
			"nothing was done", reason)
	}
	var deadline time.Time
	if refusal.Deadline != nil {
		deadline = *refusal.Deadline
	}
	name, about, err := describe(deadline)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Release the money of %s now? %s", name, releaseIsFinal)
	if refusal.Code == hold.WouldCaptureNow {
		question = fmt.Sprintf("Capture the money of %s now?", name)
	}
	err = p.ask(ctx, client, about, "The deadline is so near that on_expiry acts at once. "+
		question)
	if err != nil {
		return err
	}
	return request(true)
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

// askForConfirmation shows values and asks. It returns nil for "y" and "yes".
func (c *terminal) askForConfirmation(
	ctx context.Context, live bool, values []labeledValue, question string,
) error {
	noTerminal := usageErrorf(confirmHint,
		"cannot ask for confirmation without a terminal, nothing was done")
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
