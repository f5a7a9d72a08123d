package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// captureStageFlags is the flag for the captures of a hold that is captured in parts.
type captureStageFlags struct {
	texts []string
	given []stageFlag
}

// stageFlag is one capture.
type stageFlag struct {
	at     string
	amount amountFlag
}

func (s *captureStageFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.texts, "capture", nil,
		"capture a part: AT=AMOUNT, such as 2026-12-01T11:00:00+01:00=45.00; repeat it in the order "+
			"of the times; the last one releases the rest")
}

// parseAndResolveTimes parses the flags and turns "now" and "+36h" into times.
func (s *captureStageFlags) parseAndResolveTimes(now time.Time) (err error) {
	s.given = nil
	if s.isExplicitlyEmpty() {
		return nil
	}
	for _, text := range s.texts {
		var f stageFlag
		at, amount, ok := strings.Cut(text, "=")
		if !ok || at == "" || f.amount.Set(amount) != nil {
			return usageErrorf("", "invalid --capture %.60q: want AT=AMOUNT, and for the amount %s",
				text, amountHelp)
		}
		if f.at, err = resolveTimeFlag(at, now); err != nil {
			return err
		}
		s.given = append(s.given, f)
	}
	return nil
}

// isExplicitlyEmpty reports whether the flag ends the planned captures.
func (s *captureStageFlags) isExplicitlyEmpty() bool { return len(s.texts) == 1 && s.texts[0] == "" }

// amounts returns the amounts of the captures.
func (s *captureStageFlags) amounts() (list []*amountFlag) {
	for i := range s.given {
		list = append(list, &s.given[i].amount)
	}
	return list
}

// newStageRequests returns the planned captures with amounts in minor units:
// nil without the flag, and none if it is empty.
func (s *captureStageFlags) newStageRequests(
	currency string) (list []hold.CaptureStageRequest, err error,
) {
	if s.isExplicitlyEmpty() {
		return []hold.CaptureStageRequest{}, nil
	}
	for i := range s.given {
		minor, err := s.given[i].amount.minorUnits("capture", currency)
		if err != nil {
			return nil, err
		}
		list = append(list, hold.CaptureStageRequest{At: s.given[i].at, Amount: minor})
	}
	return list, nil
}

// stageLines describes the captures of a hold that is captured in parts.
func stageLines(v *hold.View, c timeFormatter) (f []labeledValue) {
	for _, stage := range v.Captures {
		s := hold.FormatAmount(stage.Amount, v.Currency) + " " + c.formatActionTimeOf(v, stage.At)
		switch {
		case stage.Captured:
			s += ", captured"
		case v.SettledAt != nil:
			s += ", not captured"
		}
		f = append(f, labeledValue{"part", s})
	}
	return f
}
