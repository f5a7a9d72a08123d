package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func newLogLevelCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use:       "log-level [debug|info|warn|error]",
		Short:     "Show or change what the daemon logs",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"debug", "info", "warn", "error"},
		Long: `Show the least level that the daemon logs, or change it until the daemon restarts.

Only the replica that answers changes its level. Outcomes are logged at info. The log names who
changed the level.`,
		Example: "  holdd log-level debug",
	}
	c := addConnectionFlags(cmd, out, env)
	var dryRun bool
	addDryRunFlag(cmd, &dryRun)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		var l api.LogLevel
		var err error
		if len(args) == 1 && dryRun {
			return c.printDryRun("log at "+args[0]+" until the daemon restarts", nil, nil)
		}
		if len(args) == 0 {
			l, err = client.GetLogLevel(ctx)
		} else {
			l, err = client.SetLogLevel(ctx, args[0])
		}
		if err != nil {
			return err
		}
		return c.printJSONOrText(l, func(timeFormatter) {
			fmt.Fprintf(out.stdout, "%s (the settings say %s)\n", sanitize(l.Level),
				sanitize(l.Configured))
		})
	})
	return cmd
}
