package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

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
  1    refused: holdd said no to what was asked (its message says why), a person answered no, or doctor
       found something wrong
  2    wrong usage, a wrong setting or token, or a question that nobody is there to answer
  3    there is no such hold
  4    holdd does not answer, or can't for the moment: nothing was done, try again
  5    conflict: too late, already captured or canceled, changed meanwhile, scheduled with other terms
  6    the outcome isn't known, or not yet: look at the hold before trying again
  130  interrupted
`

const environmentHelp = `Variables of the commands that speak to a running holdd. Flags override them.

  HOLDD_URL         address of the API: http://host:port, https://host or unix:///path (default http://127.0.0.1:8420)
  HOLDD_TOKEN_FILE  file that holds the token, where one is required
  HOLDD_TOKEN       the token itself; a file is better, since it isn't handed on to other programs
  HOLDD_TIME_ZONE   zone in which times are shown and local times are read, such as Europe/Paris
  NO_COLOR          no colours, whatever the terminal can do

"holdd serve" reads its settings file from HOLDD_CONFIG, and each setting from a variable of its own: see "holdd config show".
`

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp}
}

func environmentTopic() *cobra.Command {
	return &cobra.Command{Use: "environment", Short: "Variables that commands read",
		Long: environmentHelp}
}

// exitError is an error that knows its exit code and what to try next.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageErrorf(hint, format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// addExitCode gives an error of the API or the settings its exit code and hint.
// id is the hold that was spoken of, if one was.
func addExitCode(err error, id string) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return &exitError{code: exitInterrupted, err: errors.New("interrupted")}
	}
	showCommand := ""
	if id != "" {
		showCommand = "holdd show " + id
	}
	if u, ok := errors.AsType[*api.UnreachableError](err); ok {
		if u.OutcomeUnknown {
			return &exitError{code: exitUnknown, err: u, hint: showCommand}
		}
		return &exitError{code: exitUnreachable, err: u,
			hint: "give the address with --url or HOLDD_URL, such as http://127.0.0.1:8420 or unix:///run/holdd/holdd.sock"}
	}
	if p, ok := errors.AsType[*api.Problem](err); ok {
		code, hint := exitCodeForProblem(p, showCommand)
		return &exitError{code: code, err: errors.New(describeProblem(p)), hint: hint}
	}
	if c, ok := errors.AsType[*config.Error](err); ok {
		return &exitError{code: exitUsage, err: c}
	}
	return &exitError{code: exitFailed, err: err}
}

// describeProblem is the problem's sentence, and all of them where there are
// several.
func describeProblem(p *api.Problem) string {
	if len(p.Errors) < 2 {
		return p.Error()
	}
	var b strings.Builder
	b.WriteString(p.Title)
	for _, f := range p.Errors {
		b.WriteString("\n  " + strings.TrimPrefix(f.Field+": "+f.Detail, ": "))
	}
	return b.String()
}

func exitCodeForProblem(p *api.Problem, showCommand string) (code int, hint string) {
	switch p.Code {
	case hold.HoldNotFound, hold.IntentNotFound:
		return exitNotFound, "holdd list --reference BOOKING finds a hold by its booking"
	case api.TokenRequired, api.TokenInvalid:
		return exitUsage,
			"give a token of holdd's tokens file with --token-file or HOLDD_TOKEN_FILE"
	case api.TokenReadOnly:
		return exitUsage, "use a token with the role operate"
	case api.SinkNotFound: // a name on the command line
		return exitUsage, "holdd callbacks lists them"
	case api.HostNotAllowed, api.UnexpectedResponse, api.RouteNotFound, api.MethodNotAllowed:
		return exitUsage, "check --url and HOLDD_URL"
	case api.Unavailable:
		return exitUnreachable, ""
	case api.InternalError:
		return exitUnknown, showCommand
	case hold.RevisionMismatch:
		return exitConflict, "look at it again and repeat the command: nothing was done"
	case hold.HoldExists:
		return exitConflict, "change it with: holdd reschedule"
	case hold.AfterDeadline:
		return exitFailed, "choose a time before the authorization ends"
	case hold.WouldCancelNow, hold.WouldCaptureNow:
		return exitUsage, confirmHint
	case hold.InvalidTime, hold.UnknownTimeZone:
		return exitUsage,
			"write 2026-12-01T11:00:00+01:00, or 2026-12-01T11:00 with --time-zone Europe/Paris, or +36h, or now"
	}
	switch p.Status {
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict, showCommand
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusGatewayTimeout:
		return exitUnreachable, ""
	}
	return exitFailed, ""
}

// reportError tells the person what went wrong, once and here only, and returns
// the exit code.
func (a *app) reportError(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	e, ok := errors.AsType[*exitError](err)
	if !ok { // cobra's own: an unknown command or flag, a missing argument
		text := strings.TrimSpace(err.Error())
		e = &exitError{code: exitUsage, err: errors.New(text),
			hint: `"holdd help" lists the commands, and "holdd COMMAND --help" explains one`}
	}
	if ctx.Err() != nil && e.code != exitUnknown {
		e = &exitError{code: exitInterrupted, err: errors.New("interrupted"), hint: e.hint}
	}
	a.printError(e.err.Error(), e.hint)
	return e.code
}
