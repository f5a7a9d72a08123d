package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/config"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

func newRepartitionCommand(out *terminal, env environList) *cobra.Command {
	var to int
	var dryRun bool
	cmd := &cobra.Command{
		Use: "repartition --to N", Short: "Change the number of partitions, while no daemon runs",
		Args: cobra.NoArgs,
		Long: `Move the holds in Redis to another number of partitions. Several partitions spread
the work over the masters of a Redis Cluster. One is best on a single Redis.

Stop all replicas first: the command refuses to run beside one, and no replica starts while it runs.
If it is interrupted, no hold is lost, and the same command continues. Afterwards set partitions
(HOLDD_PARTITIONS) to the new number and start the replicas. They act then on the holds that fell
due meanwhile.

Before a change to fewer partitions wait until "holdd callbacks" shows no waiting events: events of
partitions that are removed are not delivered.

The command reads the daemon's settings file and environment to find the Redis.`,
		Example: "  holdd repartition --to 64",
	}
	load := addConfigFlagAndLoader(cmd, env, nil)
	cmd.Flags().IntVar(&to, "to", 0, "the new number of partitions")
	addDryRunFlag(cmd, &dryRun)
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // the flag exists
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		if dryRun {
			return inspectAndPrintRepartitionDryRun(cmd.Context(), out, s, to)
		}
		bar, shown := out.newProgressBar("moving holds", 100), int64(0)
		moved, err := store.Repartition(cmd.Context(),
			store.Options{URL: s.RedisURL.Reveal(), AuditEntries: s.AuditStream}, to,
			func(done, total int64) {
				if percent := min(100, done*100/max(1, total)); percent > shown {
					bar.add(percent - shown)
					shown = percent
				}
			})
		bar.stop(err == nil)
		if err != nil {
			return toExitError(err, "")
		}
		out.printNote("%s moved, this Redis has %s now: set partitions "+
			"(HOLDD_PARTITIONS) to %d and start the replicas",
			hold.FormatCount(moved, "hold", "holds"),
			hold.FormatCount(to, "partition", "partitions"), to)
		return nil
	}
	return cmd
}

// inspectAndPrintRepartitionDryRun prints from how many partitions holds would move, and
// the replicas that must stop first.
func inspectAndPrintRepartitionDryRun(
	ctx context.Context, out *terminal, s *config.Settings, to int,
) error {
	if to < 1 || to > store.MaxPartitions {
		return usageErrorf("", "invalid number of partitions %d: want 1 to %d", to,
			store.MaxPartitions)
	}
	ctx, cancel := context.WithTimeout(ctx, doctorRedisTimeout)
	defer cancel()
	in, err := store.Inspect(ctx, store.Options{URL: s.RedisURL.Reveal()})
	switch {
	case err != nil:
		return toExitError(err, "")
	case in.Partitions == "":
		return usageErrorf("", "this Redis has no data of holdd")
	}
	fmt.Fprintf(out.stdout,
		"Dry run, nothing was done. Would move the holds from %s to %s.\n", sanitize(in.Partitions),
		hold.FormatCount(to, "partition", "partitions"))
	for _, r := range in.Replicas {
		if r.HeartbeatEndsAt.After(in.Now) {
			out.printNote("stop %s first", sanitize(r.Name))
		}
	}
	return nil
}
