package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newCallbacksCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "callbacks", Short: "Show the state of callbacks and notifications",
		Long: `Show the sinks of events and alerts and the state of their deliveries. The sinks are
the callback and each of notify_urls.

An event that a receiver has not accepted for three days is a dead letter. "holdd callbacks dead"
lists dead letters, and "holdd callbacks replay" sends them again.`,
		Example: `  holdd callbacks
  holdd callbacks dead
  holdd callbacks replay`,
	}
	c := addConnectionFlags(cmd, out, env)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, _ []string) error {
		s, err := client.ListSinkStatuses(ctx)
		if err != nil {
			return err
		}
		return c.printObject(s, func(times timeFormatter, f outputFormat) error {
			return printSinks(out, &s, times, f)
		})
	})
	c.addOutputFlag(cmd)
	cmd.AddCommand(newDeadLettersCommand(out, env), newReplayCommand(out, env))
	return cmd
}

func printSinks(out *terminal, s *api.SinkList, times timeFormatter, format outputFormat) error {
	if format.isText() {
		out.printLiveModeNotice(s.Livemode)
	}
	if len(s.Sinks) == 0 {
		out.printSummary(noSinksNote)
	}
	// In a table both are in the lines below it, which have room for them.
	why := wideOnly("why", func(k *api.SinkStatus) string { return k.Reason })
	since := timeColumn("since", times, func(k *api.SinkStatus) *time.Time { return k.FailingSince })
	since.table = nil
	sink := everywhere("to", func(k *api.SinkStatus) string { return k.Sink })
	sink.narrow = 30
	state := everywhere("state", describeSinkState)
	state.color = func(k *api.SinkStatus) string { return sinkColors[describeSinkState(k)] }
	number := func(title string, n func(k *api.SinkStatus) int64) column[api.SinkStatus] {
		return everywhere(title, func(k *api.SinkStatus) string { return fmt.Sprint(n(k)) })
	}
	rows := &listPrinter[api.SinkStatus]{out: out, format: format, columns: []column[api.SinkStatus]{
		sink, state, since,
		timeColumn("oldest waiting", times, func(k *api.SinkStatus) *time.Time { return k.OldestAt }),
		number("parked", func(k *api.SinkStatus) int64 { return int64(k.ParkedHolds) }),
		number("dead", func(k *api.SinkStatus) int64 { return int64(k.DeadLetters) }),
		number("lost", func(k *api.SinkStatus) int64 { return int64(k.EventsLost) }), why}}
	if err := rows.print(s.Sinks); err != nil || format != formatTable {
		return err
	}
	for i := range s.Sinks {
		if reason := describeSinkFailure(&s.Sinks[i], times); reason != "" {
			fmt.Fprintln(out.stdout, wrapText(sanitize(reason), tableWidth))
		}
	}
	return nil
}

// describeSinkFailure says since when and why a sink fails, "" if it does not.
func describeSinkFailure(k *api.SinkStatus, times timeFormatter) string {
	if k.FailingSince == nil && k.Reason == "" {
		return ""
	}
	text := k.Sink + " " + describeSinkState(k)
	if k.FailingSince != nil {
		text += " since " + formatRelative(k.FailingSince.Sub(times.now))
	}
	if k.Reason != "" {
		text += ": " + k.Reason
	}
	return text
}

const noSinksNote = "no events are delivered: set callback_url or notify_urls"

var sinkColors = map[string]string{"ok": green, "disabled": boldRed, "failing": red,
	"parking": yellow}

func describeSinkState(k *api.SinkStatus) string {
	switch {
	case k.Disabled:
		return "disabled"
	case k.FailingSince != nil:
		return "failing"
	case k.ParkedHolds > 0:
		return "parking"
	}
	return "ok"
}

func newDeadLettersCommand(out *terminal, env environList) *cobra.Command {
	var sink string
	var limit int
	cmd := &cobra.Command{Use: "dead",
		Short: "List the events that a receiver has not accepted for three days",
		Args:  cobra.NoArgs, Example: "  holdd callbacks dead --json"}
	c := addConnectionFlags(cmd, out, env)
	addSinkFlag(cmd, &sink)
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many")
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, _ []string) error {
		d, err := client.ListDeadLetters(ctx, sink, limit)
		if isNoCallbacksError(cmd, err) {
			out.printSummary(noCallbacksNote)
			return nil
		}
		if err != nil {
			return err
		}
		return c.printObject(d, func(times timeFormatter, f outputFormat) error {
			if d.Total == 0 && f.isText() {
				out.printSummary("no dead letters of %s", sanitize(d.Sink))
				return nil
			}
			err := printDeadLetters(out, &d, times, f)
			out.printSummary("%d of %s of %s", len(d.DeadLetters),
				hold.FormatCount(d.Total, "dead letter", "dead letters"), sanitize(d.Sink))
			return err
		})
	})
	c.addOutputFlag(cmd)
	return cmd
}

func printDeadLetters(
	out *terminal, d *api.DeadLetterList, times timeFormatter, format outputFormat,
) error {
	why := wideOnly("why", func(l *api.DeadLetter) string { return l.Reason })
	rows := &listPrinter[api.DeadLetter]{out: out, format: format, columns: []column[api.DeadLetter]{
		everywhere("id", func(l *api.DeadLetter) string { return l.ID }),
		timeColumn("when", times, func(l *api.DeadLetter) *time.Time { return &l.Timestamp }),
		everywhere("event", func(l *api.DeadLetter) string { return l.Type }),
		everywhere("hold", func(l *api.DeadLetter) string { return l.HoldID }), why}}
	return rows.print(d.DeadLetters)
}

// maxReplayRequests bounds a replay of all dead letters: a letter that is
// rejected at once returns to the list.
const maxReplayRequests = 100

func newReplayCommand(out *terminal, env environList) *cobra.Command {
	var sink string
	var dryRun bool
	cmd := &cobra.Command{Use: "replay [ID …]",
		Short: "Send dead letters again: these, or all",
		Long: `Send dead letters again: these, or all.

Each keeps its webhook-id, so that a receiver can drop an event it has seen. An event that is not
accepted again returns to the dead letters.`,
		Example: `  holdd callbacks replay
  holdd callbacks replay 0:1795858200000-0`}
	c := addConnectionFlags(cmd, out, env)
	addSinkFlag(cmd, &sink)
	addDryRunFlag(cmd, &dryRun)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, ids []string) error {
		if dryRun {
			d, err := client.ListDeadLetters(ctx, sink, 1)
			switch {
			case isNoCallbacksError(cmd, err):
				out.printSummary(noCallbacksNote)
				return nil
			case err != nil:
				return err
			case len(ids) > 0:
				return c.printDryRun(fmt.Sprintf("send those of %s that are dead letters of %s again",
					hold.FormatCount(len(ids), "id", "ids"), sanitize(sink)), nil, nil)
			}
			return c.printDryRun(fmt.Sprintf("send %s to %s again",
				hold.FormatCount(d.Total, "dead letter", "dead letters"), sanitize(sink)), nil, nil)
		}
		total, err := replayDeadLetters(ctx, client, sink, ids)
		if isNoCallbacksError(cmd, err) {
			out.printSummary(noCallbacksNote)
			return nil
		}
		if err == nil && total.Replayed == 0 && len(ids) > 0 {
			err = &exitError{code: exitNotFound, hint: "holdd callbacks dead lists them",
				err: fmt.Errorf("none of the ids is of a dead letter of %s", sanitize(sink))}
		}
		if err != nil {
			return err
		}
		return c.printJSONOrText(total, func(timeFormatter) {
			fmt.Fprintf(out.stdout, "%d replayed to %s: holdd callbacks shows the result\n",
				total.Replayed, sanitize(sink))
		})
	})
	return cmd
}

// replayDeadLetters replays the dead letters with these ids, or all.
func replayDeadLetters(
	ctx context.Context, client *api.Client, sink string, ids []string,
) (total api.ReplayResult, err error) {
	for range maxReplayRequests {
		r, err := client.ReplayDeadLetters(ctx, sink, ids)
		if err != nil {
			return total, err
		}
		total.Replayed += r.Replayed
		if r.Replayed == 0 || len(ids) > 0 {
			break
		}
	}
	return total, nil
}

const noCallbacksNote = "no callbacks are configured, so there are no dead letters: set " +
	"callback_url; holdd callbacks lists the other sinks"

// isNoCallbacksError reports whether err says that no callback is configured.
// For a sink that the operator names, it is an error like any other.
func isNoCallbacksError(cmd *cobra.Command, err error) bool {
	return errors.Is(err, &api.Problem{Code: api.SinkNotFound}) && !cmd.Flags().Changed("sink")
}

func addSinkFlag(cmd *cobra.Command, sink *string) {
	cmd.Flags().StringVar(sink, "sink", "callback", "the sink, as holdd callbacks names it")
}
