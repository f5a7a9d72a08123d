package main

import (
	"fmt"
	"slices"
	"strings"
)

// panel is a group of bars in the chart: one figure, engines side by side.
type panel struct {
	figure figure
	note   string // which way is good
}

var panels = []panel{
	{drainRate, "more is better"},
	{redisCPU, "less is better"},
	{workerCPU, "less is better"},
	{pendingMemory, "less is better"},
	{scheduleClientRate, "more is better"},
	{latenessP99, "less is better"},
	{limitedShare, "more is better"},
	{limitedRejections, "less is better"},
}

// Sizes of the chart in its own units.
const (
	chartWidth  = 860
	panelWidth  = 400
	panelHeight = 150
	barHeight   = 20
	barLeft     = 64
	maxBarWidth = 240
)

// canRenderChart reports whether each panel has values.
func (r *report) canRenderChart() bool {
	return !slices.ContainsFunc(panels, func(p panel) bool {
		return len(enginesWith(r.samples, p.figure)) == 0
	})
}

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
			&s, `<g transform="translate(%d %d)"><text y="0" class="head">%s</text><text x="%d" y="0" text-anchor="end">%s</text>`+"\n", x, y, p.figure.title(), panelWidth, p.note)
		r.renderBars(&s, p, enginesWith(r.samples, p.figure))
		s.WriteString("</g>\n")
	}
	fmt.Fprintf(
		&s, `<text x="16" y="%d">bare: the least that the work takes, without a queue. Medians of one run of make bench; ratios count, not figures of different machines.</text>`+"\n", height-14)
	s.WriteString("</svg>\n")
	return s.String()
}

// renderBars draws one bar for each engine that has the panel's figure.
func (r *report) renderBars(s *strings.Builder, p panel, engines []string) {
	most := 0.0
	for _, e := range engines {
		v, _ := r.samples.median(p.figure, e)
		most = max(most, v)
	}
	line := 0
	for _, e := range engines {
		v, ok := r.samples.median(p.figure, e)
		if !ok {
			continue
		}
		class, name := "other", ""
		switch e {
		case "holdd":
			class, name = "holdd", ` class="name-holdd"`
		case "bare":
			class = "bare"
		}
		width := max(2, v/most*maxBarWidth)
		top := 14 + line*(barHeight+6)
		fmt.Fprintf(
			s, `<text x="0" y="%d"%s>%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="3"/><text class="value" x="%.1f" y="%d">%s</text>`+"\n",
			top+15, name, e, class, barLeft, top, width, barHeight, barLeft+width+8,
			top+15, p.figure.format(v))
		line++
	}
}
