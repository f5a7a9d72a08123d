package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/store"
)

func (a *app) repartitionCommand() *cobra.Command {
	var to int
	cmd := &cobra.Command{
		Use: "repartition --to N", Short: "Divide the holds in Redis anew, while no daemon runs",
		Args: cobra.NoArgs,
		Long: `Divide the holds in Redis into another number of partitions. More of them spread the work over the masters of a Redis Cluster; on a single
Redis one is best.

Stop all replicas first: the command refuses while one runs, and while it is under way no replica starts. Interrupted, it has lost nothing: the same
command again goes on. Afterwards set partitions (HOLDD_PARTITIONS) to the new number and start the replicas. Holds that fall due meanwhile are acted on then.

Before you go to a smaller number let "holdd callbacks" show that nothing waits: events of partitions that are no more are not delivered.

It reads the daemon's settings file and environment to find the Redis.`,
		Example: "  holdd repartition --to 64",
	}
	load := a.addSettingsFlags(cmd)
	cmd.Flags().IntVar(&to, "to", 0, "how many partitions there shall be")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // it was just defined
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		bar, shown := a.newProgressBar("moving holds", 100), int64(0)
		ended := false
		defer func() { bar.stop(ended) }()
		moved, err := store.Repartition(cmd.Context(), store.Options{URL: s.RedisURL.Reveal()}, to,
			func(done, total int64) {
				if percent := min(100, done*100/max(1, total)); percent > shown {
					bar.add(percent - shown)
					shown = percent
				}
			})
		switch {
		case errors.Is(err, store.ErrInvalidSetting):
			return &exitError{code: exitUsage, err: err}
		case err != nil:
			return &exitError{code: exitFailed, err: err}
		}
		ended = true
		a.printNote(
			"%d holds moved; this Redis has %d partitions now: set partitions (HOLDD_PARTITIONS) to %d and start the replicas", moved, to, to)
		return nil
	}
	return cmd
}
