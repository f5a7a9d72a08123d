package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

func newHistoryParentCommand(out *terminal, env environList) *cobra.Command {
	cmd := &cobra.Command{
		Use: "history", Short: "Verify the record of who did what",
		Long: `With the setting audit_stream, holdd records in the stream holdd:audit of its Redis who changed
which hold, and who changed the log level or the partitions, reloaded settings, replayed dead letters,
erased personal data, repaired a record, or changed many holds at once. Each entry has the hash of the
entry before it. "holdd show" has the history of one hold.`,
	}
	cmd.AddCommand(newHistoryVerifyCommand(out, env))
	return cmd
}

// historyVerificationResult is what --json prints.
type historyVerificationResult struct {
	Entries      int64  `json:"entries"`
	Hash         string `json:"hash"` // of the newest entry
	BrokenAt     string `json:"broken_at,omitempty"`
	MissingEntry string `json:"missing_entry,omitempty"` // the hash of --expect
}

func newHistoryVerifyCommand(out *terminal, env environList) *cobra.Command {
	var expect string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the hashes of the audit stream",
		Args: cobra.NoArgs,
		Long: `Read the stream holdd:audit and check that each entry follows from the one before it, so that
none was changed, removed or inserted.

Whoever can write to Redis can also write a new stream with new hashes, or remove the newest entries.
The log of holdd therefore has the hash of each entry ("audit entries written"). With --expect and a
hash from the log, the command also checks that this entry is in the stream.

The command needs no running daemon. It reads the daemon's settings file and environment to find the
Redis. Exit code 1 means that the stream is not intact.`,
		Example: "  holdd history verify\n  holdd history verify --expect 5f1c…",
	}
	load := addSettingsFlags(cmd, env)
	cmd.Flags().StringVar(&expect, "expect", "", "a hash from the log that the stream must have")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load()
		if err != nil {
			return err
		}
		v, err := store.VerifyAuditLog(cmd.Context(), store.Options{URL: s.RedisURL.Reveal()},
			expect)
		if err != nil {
			return toExitError(err, "")
		}
		result := historyVerificationResult{Entries: v.Entries, Hash: v.Head, BrokenAt: v.BrokenAt}
		if expect != "" && !v.HasExpected {
			result.MissingEntry = expect
		}
		switch {
		case asJSON:
			err = out.printJSONLine(result)
		case v.Entries == 0:
			out.printNote("the audit stream is empty: the setting audit_stream switches it on")
		default:
			fmt.Fprintf(out.stdout, "%s, the newest has the hash %s\n",
				hold.FormatCount(v.Entries, "entry", "entries"), v.Head)
		}
		return errors.Join(err, result.errorIfBroken())
	}
	return cmd
}

// errorIfBroken returns an error if the stream is not intact.
func (v *historyVerificationResult) errorIfBroken() error {
	const hint = "compare the stream with the log, and find out who can write to this Redis"
	switch {
	case v.BrokenAt != "":
		return &exitError{code: exitFailed, hint: hint, err: fmt.Errorf(
			"the entry %s does not follow from the one before it: the stream was changed",
			v.BrokenAt)}
	case v.MissingEntry != "":
		return &exitError{code: exitFailed, hint: hint, err: fmt.Errorf(
			"no entry has the hash %s: it was removed, or trimmed because the stream has more than "+
				"audit_stream entries", v.MissingEntry)}
	}
	return nil
}
