package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func (a *app) logLevelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:       "log-level [debug|info|warn|error]",
		Short:     "Show or change what the daemon logs",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"debug", "info", "warn", "error"},
		Long: `Show the least level that the daemon logs, or change it until the daemon restarts.

Only the replica that answers changes its level. Outcomes are logged at info. The log names who changed the level.`,
		Example: "  holdd log-level debug",
	}
	c := a.addConnectionFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withClient(c, cmd.Context(),
			func(ctx context.Context, client *api.Client) (any, error) {
				l, err := client.LogLevel(ctx)
				if err == nil && len(args) > 0 {
					l, err = client.SetLogLevel(ctx, args[0])
				}
				if err == nil && !c.asJSON {
					fmt.Fprintf(a.stdout, "%s (the settings say %s)\n", sanitize(l.Level),
						sanitize(l.Configured))
				}
				return l, err
			})
	}
	return cmd
}
