package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func newCallbacksCommand(out *console, env environmentVars) *cobra.Command {
	cmd := &cobra.Command{
		Use: "callbacks", Short: "Show the state of callbacks and notifications",
		Args: cobra.NoArgs,
		Long: `Show the sinks of events and alerts and the state of their deliveries. The sinks are
the callback and each of notify_urls.

An event that a receiver has not accepted for three days is a dead letter. "holdd callbacks dead"
lists dead letters, and "holdd callbacks replay" sends them again.`,
		Example: `  holdd callbacks
  holdd callbacks dead
  holdd callbacks replay`,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.RunE = c.clientRunE(func(ctx context.Context, client *api.Client, _ []string) error {
		s, err := client.SinkStatuses(ctx)
		if err != nil {
			return err
		}
		return c.printJSONOrText(s, func(timeFormatter) { printSinks(out, &s) })
	})
	cmd.AddCommand(newDeadLettersCommand(out, env), newReplayCommand(out, env))
	return cmd
}

func printSinks(out *console, s *api.SinkList) {
	out.printLiveModeNotice(s.Livemode)
	if len(s.Sinks) == 0 {
		out.printNote("no events are delivered: set callback_url or notify_urls")
		return
	}
	t := out.newTable("to", "state", "since", "oldest waiting", "parked", "dead", "lost", "why")
	for _, k := range s.Sinks {
		state, color := "ok", green
		switch {
		case k.Disabled:
			state, color = "disabled", boldRed
		case k.FailingSince != nil:
			state, color = "failing", red
		case k.ParkedHolds > 0:
			state, color = "parking", yellow
		}
		t.AppendRow(
			[]any{k.Sink, out.colorizeStdout(color, state), formatOptionalTime(k.FailingSince),
				formatOptionalTime(k.OldestAt), k.ParkedHolds, k.DeadLetters, k.EventsLost,
				sanitize(k.Reason)},
		)
	}
	t.Render()
}

func formatOptionalTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

func newDeadLettersCommand(out *console, env environmentVars) *cobra.Command {
	var sink string
	var limit int
	cmd := &cobra.Command{Use: "dead",
		Short: "List the events that a receiver has not accepted for three days",
		Args:  cobra.NoArgs, Example: "  holdd callbacks dead --json"}
	c := addConnectionFlags(cmd, out, env)
	addSinkFlag(cmd, &sink)
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many")
	cmd.RunE = c.clientRunE(func(ctx context.Context, client *api.Client, _ []string) error {
		d, err := client.DeadLetters(ctx, sink, limit)
		if err != nil {
			return err
		}
		return c.printJSONOrText(d, func(timeFormatter) {
			if len(d.DeadLetters) > 0 {
				t := out.newTable("id", "when", "event", "hold", "why")
				for _, l := range d.DeadLetters {
					t.AppendRow([]any{l.ID, formatOptionalTime(&l.Timestamp), sanitize(l.Type),
						l.HoldID, sanitize(l.Reason)})
				}
				t.Render()
			}
			out.printNote("%d of %d dead letters of %s", len(d.DeadLetters), d.Total,
				sanitize(d.Sink))
		})
	})
	return cmd
}

// maxReplayRequests bounds a replay of all dead letters: a letter that is
// rejected at once returns to the list.
const maxReplayRequests = 100

func newReplayCommand(out *console, env environmentVars) *cobra.Command {
	var sink string
	cmd := &cobra.Command{Use: "replay [ID …]",
		Short: "Send dead letters again: these, or all",
		Long: `Send dead letters again: these, or all.

Each keeps its webhook-id, so that a receiver can drop an event it has seen. An event that is not
accepted again returns to the dead letters.`,
		Example: `  holdd callbacks replay
  holdd callbacks replay 0:1795858200000-0`}
	c := addConnectionFlags(cmd, out, env)
	addSinkFlag(cmd, &sink)
	cmd.RunE = c.clientRunE(func(ctx context.Context, client *api.Client, ids []string) error {
		var total api.ReplayResult
		for range maxReplayRequests {
			r, err := client.ReplayDeadLetters(ctx, sink, ids)
			if err != nil {
				return err
			}
			total.Replayed += r.Replayed
			if r.Replayed == 0 || len(ids) > 0 {
				break
			}
		}
		return c.printJSONOrText(total, func(timeFormatter) {
			fmt.Fprintf(out.stdout, "%d replayed to %s: holdd callbacks shows the result\n",
				total.Replayed, sanitize(sink))
		})
	})
	return cmd
}

func addSinkFlag(cmd *cobra.Command, sink *string) {
	cmd.Flags().StringVar(sink, "sink", "callback", "the sink, as holdd callbacks names it")
}
