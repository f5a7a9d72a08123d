package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// termFlags is the flags for a hold's terms, common to schedule and reschedule.
type termFlags struct {
	captureAt, cancelAt string
	captureAmount       amountFlag
	onExpiry, reference string
	metadata            []string
	captureParams       captureParamFlags
	renewal             renewalFlags
	stages              captureStageFlags
}

func (t *termFlags) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.captureAt, "capture-at", "",
		"when to capture: 2026-12-01T11:00:00+01:00, a local time with --time-zone, +36h, or now")
	f.StringVar(&t.cancelAt, "cancel-at", "", "when to release instead")
	f.Var(&t.captureAmount, "capture-amount",
		"capture only this much: "+amountHelp+"; the rest is released")
	f.StringVar(&t.onExpiry, "on-expiry", "",
		"what to do with a hold still open near its deadline: cancel, capture or alert")
	f.StringVar(&t.reference, "reference", "", "your booking")
	f.StringArrayVar(&t.metadata, "metadata", nil, "key=value; may be repeated")
	t.captureParams.addFlags(cmd)
	t.renewal.addFlags(cmd)
	t.stages.addFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("on-expiry",
		cobra.FixedCompletions([]cobra.Completion{"cancel", "capture", "alert"},
			cobra.ShellCompDirectiveNoFileComp))
}

// resolveTimes turns "now" and "+36h" into times.
func (t *termFlags) resolveTimes(now time.Time) (err error) {
	if t.captureAt != "" && t.cancelAt != "" {
		return usageErrorf("", "cannot combine --capture-at with --cancel-at")
	}
	if err = t.renewal.makeUntilAbsolute(now); err != nil {
		return err
	}
	if err = t.stages.parseAndResolveTimes(now); err != nil {
		return err
	}
	if t.captureAt, err = resolveTimeFlag(t.captureAt, now); err != nil {
		return err
	}
	t.cancelAt, err = resolveTimeFlag(t.cancelAt, now)
	return err
}

// amountFlags returns the flags that take an amount.
func (t *termFlags) amountFlags() []*amountFlag {
	list := append(t.captureParams.amounts(), &t.captureAmount, &t.renewal.maxAmount)
	return append(list, t.stages.amounts()...)
}

// setTerms sets the terms of a new hold, whose currency may not be known.
func (t *termFlags) setTerms(req *hold.ScheduleRequest, currency string) (err error) {
	if req.CaptureAmount, err = t.captureAmount.minorUnits("capture-amount", currency); err != nil {
		return err
	}
	if req.Captures, err = t.stages.newStageRequests(currency); err != nil {
		return err
	}
	if req.Metadata, err = t.metadataMap(); err != nil {
		return err
	}
	req.Reference, req.OnExpiry = t.reference, t.onExpiry
	req.CaptureAt, req.CancelAt = t.captureAt, t.cancelAt
	if req.Renewal, err = t.renewal.newRenewalRequest(currency); err != nil {
		return err
	}
	req.CaptureParams, err = t.captureParams.newCaptureParams(currency)
	return err
}

func (t *termFlags) metadataMap() (map[string]string, error) {
	return parsePairs("metadata", t.metadata)
}

// parsePairs parses the values of a flag that takes key=value.
func parsePairs(flag string, pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, kv := range pairs {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usageErrorf("", "invalid --%s %.60q: want key=value", flag, kv)
		}
		if _, twice := m[k]; twice {
			return nil, usageErrorf("", "invalid --%s: key %.60q is given twice", flag, k)
		}
		m[k] = v
	}
	return m, nil
}
