package audit

import (
	"fmt"
	"strconv"

	"github.com/holdd/holdd/worker/htmldoc"
)

// The charts' sizes, in units of their view boxes.
const (
	chartWidth    = 720
	columnHeight  = 120
	barHeight     = 18
	barLabelWidth = 120
	charWidth     = 7
)

// svgChart returns an SVG image with a title, which screen readers read.
func svgChart(title string, height int) *htmldoc.Element {
	return htmldoc.El("svg", htmldoc.A("role", "img"),
		htmldoc.A("viewBox", fmt.Sprintf("0 0 %d %d", chartWidth, height)),
		htmldoc.El("title", htmldoc.Text(title)))
}

// figureElement returns a chart with its title below.
func figureElement(title string, svg *htmldoc.Element) *htmldoc.Element {
	return htmldoc.El("figure", svg, htmldoc.El("figcaption", htmldoc.Text(title)))
}

// columnChart shows numbers over time. Each column names its label and number
// when pointed at.
func columnChart(title string, labels []string, counts []int) *htmldoc.Element {
	most := maxCount(counts)
	svg := svgChart(title, columnHeight+20)
	step := float64(chartWidth) / float64(max(1, len(counts)))
	for i, n := range counts {
		height := float64(n) / float64(most) * columnHeight
		svgRect("column", float64(i)*step, columnHeight-height, max(1, step*0.8), height,
			fmt.Sprintf("%s: %d", labels[i], n)).AddTo(svg)
	}
	svgText(0, columnHeight+15, "start", labels[0]).AddTo(svg)
	svgText(chartWidth, columnHeight+15, "end", labels[len(labels)-1]).AddTo(svg)
	svgText(0, 10, "start", "most: "+strconv.Itoa(most)).AddTo(svg)
	return figureElement(title, svg)
}

// barChart shows numbers beside their names.
func barChart(title string, names []string, counts []int) *htmldoc.Element {
	most := maxCount(counts)
	svg := svgChart(title, len(counts)*(barHeight+6))
	const room = chartWidth - barLabelWidth - 60
	for i, n := range counts {
		y := float64(i * (barHeight + 6))
		width := float64(n) / float64(most) * room
		svgText(barLabelWidth-8, y+13, "end", shortenLabel(names[i])).AddTo(svg)
		svgRect("column", barLabelWidth, y, width, barHeight,
			fmt.Sprintf("%s: %d", names[i], n)).AddTo(svg)
		svgText(barLabelWidth+width+6, y+13, "start", strconv.Itoa(n)).AddTo(svg)
	}
	return figureElement(title, svg)
}

func bucketChart(title string, all []DurationBucket) *htmldoc.Element {
	var names []string
	var counts []int
	for i := range all {
		names, counts = append(names, FormatBucketRange(all, i)), append(counts, all[i].Count)
	}
	return barChart(title, names, counts)
}

func svgRect(class string, x, y, width, height float64, title string) *htmldoc.Element {
	return htmldoc.El("rect", htmldoc.Class(class), htmldoc.A("x", svgNumber(x)), htmldoc.A("y", svgNumber(y)),
		htmldoc.A("width", svgNumber(width)), htmldoc.A("height", svgNumber(height)),
		htmldoc.El("title", htmldoc.Text(title)))
}

func svgText(x, y float64, anchor, text string) *htmldoc.Element {
	return htmldoc.El("text", htmldoc.A("x", svgNumber(x)), htmldoc.A("y", svgNumber(y)),
		htmldoc.A("text-anchor", anchor), htmldoc.Text(text))
}

func svgNumber(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// shortenLabel bounds a label to the room beside a bar.
func shortenLabel(s string) string {
	if r := []rune(s); len(r) > barLabelWidth/charWidth {
		return string(r[:barLabelWidth/charWidth-1]) + "…"
	}
	return s
}

func maxCount(counts []int) int {
	most := 1
	for _, n := range counts {
		most = max(most, n)
	}
	return most
}
