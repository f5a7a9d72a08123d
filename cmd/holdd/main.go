package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // time zones, for machines that have none installed

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Run runs one command line and returns its exit code. environ has the form
// "KEY=value". Run reads nothing else of the process. It treats a stream as a
// terminal only if the stream is a file.
func Run(
	ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer,
) int {
	env := environList(environ)
	out := newTerminal(env, stdin, stdout, stderr)
	root := newRootCommand(out, env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if out.stdout.err != nil && ctx.Err() == nil {
		err = &exitError{code: exitFailed, err: out.stdout.err,
			hint: "the output could not be written; the command may have been carried out"}
	}
	return reportError(ctx, out, err)
}

// environList is a list of "KEY=value".
type environList []string

// get returns the value of a variable. The last one counts, as with exec.
func (e environList) get(name string) string {
	v := ""
	for _, kv := range e {
		if k, value, ok := strings.Cut(kv, "="); ok && k == name {
			v = value
		}
	}
	return v
}

func newRootCommand(out *terminal, env environList) *cobra.Command {
	root := &cobra.Command{
		Use:   "holdd",
		Short: "Captures or releases each card hold on time",
		Long: `holdd captures or releases card authorizations ("holds") at Stripe on time, and
alerts before one expires.

"holdd serve" runs the daemon. The commands about holds call its HTTP API.`,
		SilenceErrors: true, // reportError prints them, once
		SilenceUsage:  true,
	}
	root.Version, _, _ = readBuildVersion()
	root.SetFlagErrorFunc(explainFlagError)
	root.SetHelpFunc(printWrappedHelp)
	root.SetIn(out.stdin)
	root.SetOut(out.stdout)
	root.SetErr(out.stderr)
	type constructors []func(*terminal, environList) *cobra.Command
	for _, group := range []struct {
		id, title string
		commands  constructors
	}{
		{"daemon", "The daemon:", constructors{
			newServeCommand, newInitCommand, newDoctorCommand, newAuditCommand, newConfigCommand,
			newLogLevelCommand, newRepartitionCommand, newHistoryParentCommand,
		}},
		{"holds", "Holds:", constructors{
			newScheduleCommand, newListCommand, newShowCommand, newPlanCommand,
			newRescheduleCommand, newPauseCommand, newResumeCommand, newAcknowledgeWarningsCommand,
			newCardholderLinkCommand,
			newReconcileCommand, newAdoptCommand, newCallbacksCommand, newRepairUnreadableRecordCommand,
			newForgetCommand,
		}},
		{"money", "Holds, moving money at once:", constructors{
			newCaptureCommand, newCancelCommand, newIncrementCommand,
		}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, newCommand := range group.commands {
			cmd := newCommand(out, env)
			cmd.GroupID = group.id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(newVersionCommand(out), newExitCodesTopic(), newEnvironmentTopic(),
		newDocsCommand(out))
	root.InitDefaultCompletionCmd()
	rejectUnknownSubcommands(root)
	rejectUnknownHelpTopics(root)
	return root
}
