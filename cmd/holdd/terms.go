package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// termFlags is the flags for a hold's terms, common to schedule and reschedule.
type termFlags struct {
	captureAt, cancelAt string
	captureAmount       int64
	onExpiry, reference string
	metadata            []string
}

func (t *termFlags) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.captureAt, "capture-at", "",
		"when to capture: 2026-12-01T11:00:00+01:00, a local time with --time-zone, +36h, or now")
	f.StringVar(&t.cancelAt, "cancel-at", "", "when to release instead")
	f.Int64Var(&t.captureAmount, "capture-amount", 0,
		"capture only this much, in minor units: 1250 is 12.50; the rest is released")
	f.StringVar(&t.onExpiry, "on-expiry", "",
		"what to do with a hold still open near its deadline: cancel, capture or alert")
	f.StringVar(&t.reference, "reference", "", "your booking")
	f.StringArrayVar(&t.metadata, "metadata", nil, "key=value; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("on-expiry",
		cobra.FixedCompletions([]cobra.Completion{"cancel", "capture", "alert"},
			cobra.ShellCompDirectiveNoFileComp))
}

// resolveTimes turns "now" and "+36h" into times.
func (t *termFlags) resolveTimes(now time.Time) (err error) {
	if t.captureAt, err = parseTimeFlag(t.captureAt, now); err != nil {
		return err
	}
	t.cancelAt, err = parseTimeFlag(t.cancelAt, now)
	return err
}

func (t *termFlags) metadataMap() (map[string]string, error) {
	if len(t.metadata) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, kv := range t.metadata {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usageErrorf("", "invalid --metadata %.60q: want key=value", kv)
		}
		if _, twice := m[k]; twice {
			return nil, usageErrorf("", "invalid --metadata: key %.60q is given twice", k)
		}
		m[k] = v
	}
	return m, nil
}
