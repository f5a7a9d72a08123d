package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // zones of schedules and local times, on machines that have none installed

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Run carries out one command line and returns its exit code. environ is
// "KEY=value"; nothing else of the process is looked at. Terminals are
// recognized where the three streams are files.
func Run(
	ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer,
) int {
	a := newApp(environ, stdin, stdout, stderr)
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if a.stdout.err != nil && ctx.Err() == nil {
		err = &exitError{code: exitFailed, err: a.stdout.err,
			hint: "the output could not be written; what was asked for may have been done"}
	}
	return a.reportError(ctx, err)
}

// app is what all commands share: where they read and write, and their
// environment.
type app struct {
	environ  []string
	stdin    io.Reader
	stdout   *stickyWriter
	stderr   io.Writer
	terminal terminal
}

func newApp(environ []string, stdin io.Reader, stdout, stderr io.Writer) *app {
	a := &app{environ: environ, stdin: stdin, stdout: &stickyWriter{w: stdout}, stderr: stderr}
	a.terminal = newTerminal(a.getenv, stdin, stdout, stderr)
	return a
}

// getenv looks a variable up; the last one counts, as with exec.
func (a *app) getenv(name string) string {
	v := ""
	for _, kv := range a.environ {
		if k, value, ok := strings.Cut(kv, "="); ok && k == name {
			v = value
		}
	}
	return v
}

// stickyWriter remembers the first failure, so that a full disk doesn't look
// like success.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdd",
		Short: "Sees each card hold to its end: captured or released at its time",
		Long: `holdd captures or releases card authorizations ("holds") at Stripe at their time, and warns before one expires.

"holdd serve" is the daemon. The commands about holds speak to it over its HTTP API.`,
		SilenceErrors: true, // told by report, once
		SilenceUsage:  true, // a failed call is no reason to explain the command line
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddGroup(
		&cobra.Group{ID: "daemon", Title: "The daemon:"},
		&cobra.Group{ID: "holds", Title: "Holds:"},
		&cobra.Group{ID: "money", Title: "Holds, moving money at once:"},
	)
	group := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
		}
		root.AddCommand(cmds...)
	}
	group("daemon", a.serveCommand(), a.doctorCommand(), a.configCommand(),
		a.logLevelCommand(), a.repartitionCommand())
	group("holds", a.scheduleCommand(), a.listCommand(), a.showCommand(),
		a.planCommand(), a.rescheduleCommand(),
		a.pauseCommand(), a.resumeCommand(), a.acknowledgeCommand(),
		a.reconcileCommand(), a.callbacksCommand())
	group("money", a.captureCommand(), a.cancelCommand())
	root.AddCommand(a.versionCommand(), exitCodesTopic(), environmentTopic())
	return root
}
