package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/cmd/holdd/daemon"
	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Exit codes are an interface: scripts branch on them. A number never changes
// its meaning.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnreachable = 4
	exitConflict    = 5
	exitUnknown     = 6
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes are stable.

  0    done
  1    failed: holdd rejected the request (the message says why) or would reject
       it (--dry-run), the operator did not confirm, or doctor found something
       wrong
  2    invalid usage, setting or token, or a question without a terminal to
       answer it
  3    no such hold
  4    holdd does not answer or is unavailable: nothing was done, try again
  5    conflict: too late, already captured or canceled, changed meanwhile, or
       scheduled with other terms
  6    the outcome is unknown, or not known yet: check the hold before you try
       again
  130  interrupted
`

const environmentHelp = `Variables of the commands that call a running holdd. Flags override them.

  HOLDD_URL         address of the API: http://host:port, https://host or
                    unix:///path (default http://127.0.0.1:8420)
  HOLDD_TOKEN_FILE  file with the token, if the API requires one
  HOLDD_TOKEN       the token itself; prefer a file, which child processes do
                    not inherit
  HOLDD_TIME_ZONE   time zone of printed and given local times, such as
                    Europe/Paris
  NO_COLOR          print no colours

"holdd serve" reads its settings file from HOLDD_CONFIG, and each setting from a
variable of its own: see "holdd config show".
`

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "Exit codes", Long: exitCodesHelp}
}

func newEnvironmentTopic() *cobra.Command {
	return &cobra.Command{Use: "environment", Short: "Environment variables", Long: environmentHelp}
}

// exitError is an error with an exit code and a hint.
type exitError struct {
	code    int
	err     error
	hint    string
	printed bool // in the daemon's log
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageErrorf(hint, format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// toExitError adds an exit code and a hint to an error of the API, the settings
// or the daemon. id is the hold that the request named, or "".
func toExitError(err error, id string) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e
	}
	showCommand := ""
	if id != "" {
		showCommand = "holdd show " + id
	}
	u, unreachable := errors.AsType[*api.UnreachableError](err)
	switch {
	case unreachable && u.OutcomeUnknown: // also if it was interrupted
		return &exitError{code: exitUnknown, err: u, hint: showCommand}
	case errors.Is(err, context.Canceled):
		return &exitError{code: exitInterrupted, err: errors.New("interrupted")}
	case unreachable:
		return &exitError{code: exitUnreachable, err: u, hint: "set the address with --url or " +
			"HOLDD_URL, such as http://127.0.0.1:8420 or unix:///run/holdd/holdd.sock"}
	}
	if p, ok := errors.AsType[*api.Problem](err); ok {
		code, hint := exitCodeAndHintForProblem(p, showCommand)
		return &exitError{code: code, err: errors.New(describeProblem(p)), hint: hint}
	}
	_, invalid := errors.AsType[*config.InvalidSettingsError](err)
	if invalid || errors.Is(err, daemon.ErrSetting) {
		return &exitError{code: exitUsage, err: err}
	}
	return &exitError{code: exitFailed, err: err}
}

// describeProblem returns the problem's sentence, or all of them.
func describeProblem(p *api.Problem) string {
	if len(p.Errors) < 2 {
		return replaceAPIWordsWithCommands(p.Error())
	}
	var b strings.Builder
	b.WriteString(p.Title)
	for _, f := range p.Errors {
		b.WriteString("\n  " +
			replaceAPIWordsWithCommands(strings.TrimPrefix(f.Field+": "+f.Detail, ": ")))
	}
	return b.String()
}

const (
	tokenHint   = "give a token of holdd's tokens file with --token-file or HOLDD_TOKEN_FILE"
	addressHint = "check --url and HOLDD_URL"
	timeHint    = "write 2026-12-01T11:00:00+01:00, or 2026-12-01T11:00 with " +
		"--time-zone Europe/Paris, or +36h, or now"
	// The API counts in minor units.
	minorUnitsHint = "numbers without a point in this message are in minor units: 1250 is 12.50 EUR"
	amountHint     = "--amount is all that the authorization holds; --capture-amount captures less of it"
	bookingHint    = "holdd list --reference BOOKING finds a hold by its booking"
)

// problemExits is the exit code and hint of problems whose HTTP status does not
// determine them.
var problemExits = map[hold.ProblemCode]exitError{
	hold.HoldNotFound:      {code: exitNotFound, hint: bookingHint},
	hold.IntentNotFound:    {code: exitNotFound, hint: bookingHint},
	api.TokenRequired:      {code: exitUsage, hint: tokenHint},
	api.TokenInvalid:       {code: exitUsage, hint: tokenHint},
	api.TokenReadOnly:      {code: exitUsage, hint: "use a token with the role operate"},
	api.SinkNotFound:       {code: exitUsage}, // the message names the command
	api.HostNotAllowed:     {code: exitUsage, hint: addressHint},
	api.UnexpectedResponse: {code: exitUsage, hint: addressHint},
	api.RouteNotFound:      {code: exitUsage, hint: addressHint},
	api.MethodNotAllowed:   {code: exitUsage, hint: addressHint},
	api.Unavailable:        {code: exitUnreachable},
	hold.InvalidAmount:     {code: exitFailed, hint: minorUnitsHint},
	hold.AmountTooLarge:    {code: exitFailed, hint: minorUnitsHint},
	hold.AmountMismatch:    {code: exitFailed, hint: amountHint},
	hold.RevisionMismatch: {code: exitConflict,
		hint: "nothing was done: check the hold and repeat the command"},
	hold.HoldExists: {code: exitConflict}, // the message names the command
	hold.AfterDeadline: {code: exitFailed,
		hint: "choose a time before the authorization expires"},
	hold.WouldCancelNow:  {code: exitUsage, hint: confirmHint},
	hold.WouldCaptureNow: {code: exitUsage, hint: confirmHint},
	hold.InvalidID:       {code: exitUsage},
	hold.InvalidTime:     {code: exitUsage, hint: timeHint},
	hold.UnknownTimeZone: {code: exitUsage, hint: timeHint},
}

// bareNumberPattern matches a number that has no point and no currency after it.
var bareNumberPattern = regexp.MustCompile(`(^|[ "(])\d+($|[",;:)]| [^A-Z])`)

func exitCodeAndHintForProblem(p *api.Problem, showCommand string) (code int, hint string) {
	if p.Code == api.InternalError {
		return exitUnknown, showCommand
	}
	if e, ok := problemExits[p.Code]; ok {
		if e.hint == minorUnitsHint && !bareNumberPattern.MatchString(p.Detail) {
			return e.code, ""
		}
		return e.code, e.hint
	}
	switch p.Status {
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict, showCommand
	case http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return exitUnreachable, ""
	}
	return exitFailed, ""
}

// exclusiveFlagsPattern matches cobra's error of flags that exclude each other. It captures
// those that are set.
var exclusiveFlagsPattern = regexp.MustCompile(
	`^if any flags in the group \[.*\] are set none of the others can be; \[(.*)\] were all set$`)

// describeCobraError returns cobra's message, for flags that exclude each other in the words of the
// other errors.
func describeCobraError(err error) string {
	message := strings.TrimSpace(err.Error())
	if m := exclusiveFlagsPattern.FindStringSubmatch(message); m != nil {
		return "cannot combine --" + strings.Join(strings.Fields(m[1]), " with --")
	}
	return message
}

// reportError prints an error and returns its exit code. No other code prints
// errors.
func reportError(ctx context.Context, out *terminal, err error) int {
	if err == nil {
		return exitOK
	}
	e, ok := errors.AsType[*exitError](err)
	if !ok { // cobra's: an unknown command or flag, a missing argument
		e = &exitError{code: exitUsage, err: errors.New(describeCobraError(err)), hint: helpHint}
	}
	if ctx.Err() != nil && e.code != exitUnknown {
		e = &exitError{code: exitInterrupted, err: errors.New("interrupted"), hint: e.hint,
			printed: e.printed}
	}
	if !e.printed {
		out.printError(e.err.Error(), e.hint)
	}
	return e.code
}
