package main

import (
	"fmt"
	"strings"
)

// panel is a group of bars in the chart: one figure, engines or sizes side by
// side.
type panel struct {
	figure figure
	less   bool     // less is better
	names  []string // of the samples; empty: the engines
}

var panels = []panel{
	{drainRate, false, nil},
	{scheduleClientRate, false, nil},
	{limitedShare, false, nil},
	{limitedRejections, true, nil},
	{redisCPU, true, nil},
	{latenessP99, true, nil},
	{accountsTime, true, accountSampleNames},
	{idleCommands, true, nil},
	{pendingMemory, true, nil},
	{settledMemory, true, settledSampleNames},
	{verifyTime, true, nil},
	{stormTime, true, nil},
}

func (p panel) title() string { return p.figure.title() }

func (p panel) note() string {
	if p.less {
		return "less is better"
	}
	return "more is better"
}

// samples returns the names that have values.
func (p panel) sampleNames(s *sampleSet) (names []string) {
	if p.names == nil {
		return enginesWith(s, p.figure)
	}
	for _, n := range p.names {
		if s.by[p.figure][n] != nil {
			names = append(names, n)
		}
	}
	return names
}

func (p panel) hasValues(s *sampleSet) bool { return len(p.sampleNames(s)) > 0 }

// Sizes of the chart in its own units.
const (
	chartWidth  = 860
	panelWidth  = 400
	panelHeight = 150
	barHeight   = 20
	barLeft     = 92
	maxBarWidth = 190
)

// renderChart draws the most important figures. The chart has a background of
// its own and follows the reader's preference for light or dark.
func (r *report) renderChart() string {
	var s strings.Builder
	height := 56 + (len(panels)+1)/2*panelHeight + 30
	fmt.Fprintf(
		&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title">`+"\n", chartWidth, height, chartWidth, height)
	s.WriteString(`<title id="title">holdd beside other ways to capture later</title>
<style>
.page { fill: #ffffff; stroke: #d0d7de }
text { font: 13px system-ui, sans-serif; fill: #57606a }
.head { font-weight: 600; font-size: 14px; fill: #24292f }
.value { font-variant-numeric: tabular-nums }
.holdd { fill: #1a7f5a } .other { fill: #8c959f } .bare { fill: #c4cad1 }
.name-holdd { font-weight: 600; fill: #1a7f5a }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; stroke: #30363d }
  text { fill: #9da7b1 } .head { fill: #e6edf3 }
  .holdd { fill: #3fb98a } .other { fill: #6e7681 } .bare { fill: #484f58 } .name-holdd { fill: #3fb98a }
}
</style>
`)
	fmt.Fprintf(&s, `<rect class="page" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>`+
		"\n", chartWidth-1, height-1)
	fmt.Fprintf(
		&s, `<text x="16" y="30" class="head" style="font-size:17px">The same holds, the same Redis, the same stand-in for Stripe</text>`+"\n")
	for i, p := range panels {
		x, y := 16+i%2*(panelWidth+28), 60+i/2*panelHeight
		fmt.Fprintf(
			&s, `<g transform="translate(%d %d)"><text y="0" class="head">%s</text><text x="%d" y="0" text-anchor="end">%s</text>`+"\n", x, y, p.title(), panelWidth, p.note())
		r.renderBars(&s, p)
		s.WriteString("</g>\n")
	}
	fmt.Fprintf(
		&s, `<text x="16" y="%d">bare: the least that the work takes, without a queue. In brackets: times holdd. Compare ratios, not figures of different machines.</text>`+"\n", height-14)
	s.WriteString("</svg>\n")
	return s.String()
}

// renderBars draws one bar for each name that has the panel's figure. Beside the
// value of another engine is its ratio to holdd's.
func (r *report) renderBars(s *strings.Builder, p panel) {
	most, names := 0.0, p.sampleNames(r.samples)
	for _, name := range names {
		v, _ := r.samples.median(p.figure, name)
		most = max(most, v)
	}
	holdd, _ := r.samples.median(p.figure, "holdd")
	for line, name := range names {
		v, _ := r.samples.median(p.figure, name)
		bar, label, text := "other", "", p.figure.format(v)
		switch {
		case name == "holdd" || p.names != nil:
			bar, label = "holdd", ` class="name-holdd"`
		case name == "bare":
			bar = "bare"
		}
		if bar != "holdd" && holdd > 0 {
			text += " (" + formatTimes(v/holdd) + " ×)"
		}
		width := 2.0
		if most > 0 {
			width = max(2, v/most*maxBarWidth)
		}
		top := 14 + line*(barHeight+6)
		fmt.Fprintf(
			s, `<text x="0" y="%d"%s>%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="3"/><text class="value" x="%.1f" y="%d">%s</text>`+"\n",
			top+15, label, name, bar, barLeft, top, width, barHeight, barLeft+width+8,
			top+15, text)
	}
}

// formatTimes returns a ratio with about two digits.
func formatTimes(ratio float64) string {
	switch {
	case ratio >= 10:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 1:
		return fmt.Sprintf("%.1f", ratio)
	default:
		return fmt.Sprintf("%.2f", ratio)
	}
}
