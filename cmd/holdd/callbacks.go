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
		Use: "callbacks", Short: "Where events and alerts are sent, and how that goes", Args: cobra.NoArgs,
		Long: `Where events and alerts are sent, and how that goes: the callback and each of notify_urls.

What a receiver did not take for three days is a dead letter. "holdd callbacks dead" lists them, "holdd callbacks replay" sends them once more.`,
		Example: "  holdd callbacks\n  holdd callbacks dead\n  holdd callbacks replay",
	}
	c := a.connect(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(c, cmd.Context(), func(ctx context.Context, client *api.Client) (any, error) {
			s, err := client.Deliveries(ctx)
			if err == nil && !c.json {
				a.showSinks(&s)
			}
			return s, err
		})
	}
	cmd.AddCommand(a.deadCommand(), a.replayCommand())
	return cmd
}

// with calls f with a client, and prints what it returns where JSON is wanted.
func (a *app) with(c *connection, ctx context.Context, f func(context.Context, *api.Client) (any, error)) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	v, err := f(ctx, client)
	if err != nil {
		return explain(err, "")
	}
	if c.json {
		return a.line(v)
	}
	return nil
}

func (a *app) showSinks(s *api.Sinks) {
	markLive(a.out, a.face.colorOut, s.Livemode)
	if len(s.Sinks) == 0 {
		a.note("nothing is told to anybody: set callback_url or notify_urls")
		return
	}
	t := a.newTable("to", "state", "since", "oldest waiting", "parked", "dead", "lost", "why")
	for _, k := range s.Sinks {
		state, color := "ok", green
		switch {
		case k.Gone:
			state, color = "gone", alarm
		case k.FailingSince != nil:
			state, color = "failing", red
		case k.ParkedHolds > 0:
			state, color = "parking", yellow
		}
		t.AppendRow([]any{k.Sink, a.paint(color, state), moment(k.FailingSince), moment(k.OldestAt), k.ParkedHolds, k.DeadLetters, k.Lost, clean(k.Reason)})
	}
	t.Render()
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

func (a *app) deadCommand() *cobra.Command {
	var sink string
	limit := 100
	cmd := &cobra.Command{Use: "dead", Short: "List events that a receiver did not take for three days", Args: cobra.NoArgs, Example: "  holdd callbacks dead --json"}
	c := a.connect(cmd)
	cmd.Flags().StringVar(&sink, "sink", "callback", "whose, as holdd callbacks names it")
	cmd.Flags().IntVar(&limit, "limit", limit, "at most")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(c, cmd.Context(), func(ctx context.Context, client *api.Client) (any, error) {
			d, err := client.DeadLetters(ctx, sink, limit)
			if err != nil || c.json {
				return d, err
			}
			if len(d.Dead) > 0 {
				t := a.newTable("id", "when", "event", "hold", "why")
				for _, l := range d.Dead {
					t.AppendRow([]any{l.ID, moment(&l.At), clean(l.Type), l.Hold, clean(l.Reason)})
				}
				t.Render()
			}
			a.note("%d of %d dead letters of %s", len(d.Dead), d.Total, clean(d.Sink))
			return d, nil
		})
	}
	return cmd
}

func (a *app) replayCommand() *cobra.Command {
	var sink string
	cmd := &cobra.Command{Use: "replay [id …]", Short: "Send dead letters once more: those named, or all",
		Long:    "Send dead letters once more: those named, or all.\n\nEach has the webhook-id that it always had, so a receiver that has seen it drops it. What is not taken then is a dead letter again.",
		Example: "  holdd callbacks replay\n  holdd callbacks replay 0:1795858200000-0"}
	c := a.connect(cmd)
	cmd.Flags().StringVar(&sink, "sink", "callback", "whose, as holdd callbacks names it")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return a.with(c, cmd.Context(), func(ctx context.Context, client *api.Client) (any, error) {
			total := api.Replayed{}
			for range 100 { // what comes back as dead at once must not go round for ever
				r, err := client.Replay(ctx, sink, ids)
				if err != nil {
					return total, err
				}
				total.Replayed += r.Replayed
				if r.Replayed == 0 || len(ids) > 0 {
					break
				}
			}
			if !c.json {
				_, _ = fmt.Fprintf(a.out, "%d on their way to %s once more; holdd callbacks tells what becomes of them\n", total.Replayed, clean(sink))
			}
			return total, nil
		})
	}
	return cmd
}
