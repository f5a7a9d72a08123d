package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

func newPauseCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pause HOLD", Short: "Suspend a hold's scheduled action until it is resumed",
		Long: `Suspend a hold's scheduled action until it is resumed. Its deadline still applies, and
so does its on_expiry: the command asks for confirmation if that acts at once.`,
	}
	c := addChangeFlags(cmd, out, env)
	c.addYesFlag(cmd)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		request := func(id string, confirmed bool) (hold.View, error) {
			return client.Pause(ctx, id, c.revision, confirmed)
		}
		return c.runChange(ctx, client, args[0], holdChange{request: request, action: "pause",
			decide: func(h hold.Hold, now time.Time) (hold.Decision, error) {
				return h.Pause(0, "", now)
			}})
	})
	return cmd
}

func newResumeCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "resume HOLD", Short: "Resume a paused hold",
		Long: `Resume a paused hold. If its time has passed, money moves at once, and the command asks for
confirmation.`,
	}
	c := addChangeFlags(cmd, out, env)
	c.addYesFlag(cmd)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		request := func(id string, confirmed bool) (hold.View, error) {
			return client.Resume(ctx, id, c.revision, confirmed)
		}
		return c.runChange(ctx, client, args[0],
			holdChange{question: resumeQuestion, request: request, action: "resume",
				decide: func(h hold.Hold, now time.Time) (hold.Decision, error) {
					return h.Resume("", now)
				}})
	})
	return cmd
}

// resumeQuestion asks about a hold whose time passed while it was paused.
func resumeQuestion(v *hold.View) ([]labeledValue, string) {
	soon := time.Now().Add(dueNowTolerance)
	switch {
	case v.CaptureAt != nil && !v.CaptureAt.After(soon):
		return captureQuestion(v, 0)
	case v.CancelAt != nil && !v.CancelAt.After(soon):
		return cancelQuestion(v)
	}
	return nil, ""
}

func newAcknowledgeWarningsCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "acknowledge HOLD", Short: "Silence further warnings of a hold's deadline",
		Long: `Acknowledge a hold's deadline and silence further warnings of it, until its terms change.`,
	}
	c := addChangeFlags(cmd, out, env)
	cmd.RunE = c.newRunEWithClient(func(ctx context.Context, client *api.Client, args []string) error {
		request := func(id string, _ bool) (hold.View, error) {
			return client.AcknowledgeWarnings(ctx, id, c.revision)
		}
		return c.runChange(ctx, client, args[0], holdChange{request: request,
			action: "acknowledge the deadline of",
			decide: func(h hold.Hold, now time.Time) (hold.Decision, error) {
				return h.AcknowledgeWarnings("", now)
			}})
	})
	return cmd
}
