package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
)

func (a *app) callbacksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "callbacks", Short: "Where events and alerts are sent, and how that goes",
		Args: cobra.NoArgs,
		Long: `Where events and alerts are sent, and how that goes: the callback and each of notify_urls.

What a receiver did not take for three days is a dead letter. "holdd callbacks dead" lists them, "holdd callbacks replay" sends them once more.`,
		Example: "  holdd callbacks\n  holdd callbacks dead\n  holdd callbacks replay",
	}
	c := a.addConnectionFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withClient(c, cmd.Context(),
			func(ctx context.Context, client *api.Client) (any, error) {
				s, err := client.SinkStatuses(ctx)
				if err == nil && !c.asJSON {
					a.printSinks(&s)
				}
				return s, err
			})
	}
	cmd.AddCommand(a.deadLettersCommand(), a.replayCommand())
	return cmd
}

// withClient calls f with a client, and prints what it returns where JSON is
// wanted.
func (a *app) withClient(
	c *connectionFlags, ctx context.Context, f func(context.Context, *api.Client) (any, error),
) error {
	client, err := c.newClient()
	if err != nil {
		return err
	}
	defer client.Close()
	v, err := f(ctx, client)
	if err != nil {
		return addExitCode(err, "")
	}
	if c.asJSON {
		return a.printJSONLine(v)
	}
	return nil
}

func (a *app) printSinks(s *api.SinkList) {
	printLiveModeNotice(a.stdout, a.terminal.colorStdout, s.Livemode)
	if len(s.Sinks) == 0 {
		a.printNote("nothing is told to anybody: set callback_url or notify_urls")
		return
	}
	t := a.newTable("to", "state", "since", "oldest waiting", "parked", "dead", "lost", "why")
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
		t.AppendRow([]any{k.Sink, a.colorizeStdout(color, state),
			formatOptionalTime(k.FailingSince), formatOptionalTime(k.OldestAt), k.ParkedHolds,
			k.DeadLetters, k.EventsLost, sanitize(k.Reason)})
	}
	t.Render()
}

func formatOptionalTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

func (a *app) deadLettersCommand() *cobra.Command {
	var sink string
	limit := 100
	cmd := &cobra.Command{Use: "dead",
		Short: "List events that a receiver did not take for three days", Args: cobra.NoArgs,
		Example: "  holdd callbacks dead --json"}
	c := a.addConnectionFlags(cmd)
	cmd.Flags().StringVar(&sink, "sink", "callback", "whose, as holdd callbacks names it")
	cmd.Flags().IntVar(&limit, "limit", limit, "at most")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withClient(c, cmd.Context(),
			func(ctx context.Context, client *api.Client) (any, error) {
				d, err := client.DeadLetters(ctx, sink, limit)
				if err != nil || c.asJSON {
					return d, err
				}
				if len(d.DeadLetters) > 0 {
					t := a.newTable("id", "when", "event", "hold", "why")
					for _, l := range d.DeadLetters {
						t.AppendRow([]any{l.ID, formatOptionalTime(&l.Timestamp), sanitize(l.Type),
							l.HoldID, sanitize(l.Reason)})
					}
					t.Render()
				}
				a.printNote("%d of %d dead letters of %s", len(d.DeadLetters),
					d.Total, sanitize(d.Sink))
				return d, nil
			})
	}
	return cmd
}

func (a *app) replayCommand() *cobra.Command {
	var sink string
	cmd := &cobra.Command{Use: "replay [id …]",
		Short:   "Send dead letters once more: those named, or all",
		Long:    "Send dead letters once more: those named, or all.\n\nEach has the webhook-id that it always had, so a receiver that has seen it drops it. What is not taken then is a dead letter again.",
		Example: "  holdd callbacks replay\n  holdd callbacks replay 0:1795858200000-0"}
	c := a.addConnectionFlags(cmd)
	cmd.Flags().StringVar(&sink, "sink", "callback", "whose, as holdd callbacks names it")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return a.withClient(c, cmd.Context(),
			func(ctx context.Context, client *api.Client) (any, error) {
				total := api.ReplayResult{}
				for range 100 { // what comes back as dead at once must not go round for ever
					r, err := client.ReplayDeadLetters(ctx, sink, ids)
					if err != nil {
						return total, err
					}
					total.Replayed += r.Replayed
					if r.Replayed == 0 || len(ids) > 0 {
						break
					}
				}
				if !c.asJSON {
					_, _ = fmt.Fprintf(a.stdout,
						"%d on their way to %s once more; holdd callbacks tells what becomes of them\n", total.Replayed, sanitize(sink))
				}
				return total, nil
			})
	}
	return cmd
}
