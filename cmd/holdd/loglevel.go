package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func (a *app) logLevelCommand() *cobra.Command {
	var duration string
	cmd := &cobra.Command{
		Use:       "log-level [debug|info|warn|error]",
		Short:     "Show what the daemon logs, or log more or less for a while",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"debug", "info", "warn", "error"},
		Long: `Show the least level that the daemon logs, or set it for a while; the level of the settings comes back by itself. It is that of the one process
that answers, not of other replicas. Outcomes are logged at info, and a line in the log tells who changed the level.`,
		Example: "  holdd log-level debug --for 10m",
	}
	c := a.addConnectionFlags(cmd)
	cmd.Flags().StringVar(&duration, "for", "15m", "how long: 90s, 2h, at most 24h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := api.ParseDuration(duration)
		if err != nil {
			return usageErrorf("", "--for %w", err)
		}
		client, err := c.newClient()
		if err != nil {
			return err
		}
		defer client.Close()
		var l api.LogLevel
		if len(args) == 0 {
			l, err = client.LogLevel(cmd.Context())
		} else {
			l, err = client.SetLogLevel(cmd.Context(), args[0], d)
		}
		if err != nil {
			return addExitCode(err, "")
		}
		if c.asJSON {
			return a.printJSONLine(l)
		}
		times, err := c.newTimeFormatter(time.Now())
		if err != nil {
			return err
		}
		if l.Until == nil {
			fmt.Fprintf(a.stdout, "%s, as the settings say\n", sanitize(l.Level))
		} else {
			fmt.Fprintf(a.stdout, "%s until %s, then %s again\n", sanitize(l.Level),
				times.formatWithRelative(*l.Until), sanitize(l.Configured))
		}
		return nil
	}
	return cmd
}
