package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/hold"
)

// stageFlags is the flag for the captures of a hold that is captured in parts.
type stageFlags struct {
	texts    []string
	requests []hold.CaptureStageRequest
}

func (s *stageFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.texts, "capture", nil,
		"capture a part: AT=AMOUNT, such as 2026-12-01T11:00:00+01:00=45.00; repeat it in the order "+
			"of the times; the last one releases the rest")
}

// currency returns the currency that one of the flags names, "" if none does.
func (s *stageFlags) currency() string {
	for _, text := range s.texts {
		_, amount, _ := strings.Cut(text, "=")
		var a amountFlag
		if a.Set(amount) == nil && a.currency != "" {
			return a.currency
		}
	}
	return ""
}

// resolve turns the flags into planned captures, with amounts in minor units.
func (s *stageFlags) resolve(currency string, now time.Time) error {
	s.requests = nil
	for _, text := range s.texts {
		at, amount, ok := strings.Cut(text, "=")
		if text == "" && len(s.texts) == 1 {
			s.requests = []hold.CaptureStageRequest{}
			return nil
		}
		var a amountFlag
		if !ok || at == "" || a.Set(amount) != nil {
			return usageErrorf("", "invalid --capture %.60q: want AT=AMOUNT, and for the amount %s",
				text, amountHelp)
		}
		minor, err := a.minorUnits("capture", currency)
		if err != nil {
			return err
		}
		if at, err = resolveTimeFlag(at, now); err != nil {
			return err
		}
		s.requests = append(s.requests, hold.CaptureStageRequest{At: at, Amount: minor})
	}
	return nil
}

// needsCurrency reports whether an amount depends on a currency that the flags do
// not name.
func (s *stageFlags) needsCurrency() bool {
	for _, text := range s.texts {
		_, amount, _ := strings.Cut(text, "=")
		var a amountFlag
		if a.Set(amount) == nil && a.major && a.currency == "" {
			return true
		}
	}
	return false
}

// stageLines describes the captures of a hold that is captured in parts.
func stageLines(v *hold.View, c timeFormatter) (f []labeledValue) {
	for _, stage := range v.Captures {
		s := hold.FormatAmount(stage.Amount, v.Currency) + " " + c.formatWithRelative(stage.At)
		if stage.Captured {
			s += ", captured"
		}
		f = append(f, labeledValue{"part", s})
	}
	return f
}
