package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Lines in Markdown between which the benchmark writes its figures.
const (
	figuresBegin = "<!-- make bench writes the figures from here: %s -->"
	figuresEnd   = "<!-- to here -->"
)

// publish saves the tables and the chart, and rewrites the figures in the
// documentation. It changes nothing if a part is missing.
func (r *report) publish(dir string, docs []string) error {
	for _, p := range panels {
		if !p.hasValues(r.samples) {
			return fmt.Errorf("no results are written: %q was not measured, so measure every part",
				p.title())
		}
	}
	rewritten := make([]string, len(docs))
	for i, file := range docs {
		text, err := os.ReadFile(file)
		if err == nil {
			rewritten[i], err = r.rewriteFigures(string(text))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := r.save(dir); err != nil {
		return err
	}
	for i, file := range docs {
		if err := os.WriteFile(file, []byte(rewritten[i]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// rewriteFigures returns a Markdown text with new figures in its sections.
func (r *report) rewriteFigures(text string) (string, error) {
	sections := map[string]func() string{
		"summary": r.summaryText, "comparison": r.comparisonText, "tables": r.tablesText,
	}
	found := 0
	for name, render := range sections {
		begin := fmt.Sprintf(figuresBegin, name) + "\n"
		before, rest, ok := strings.Cut(text, begin)
		if !ok {
			continue
		}
		_, after, ok := strings.Cut(rest, figuresEnd)
		if !ok {
			return "", fmt.Errorf("section %s has no end: add a line %q", name, figuresEnd)
		}
		text = before + begin + render() + figuresEnd + after
		found++
	}
	if found == 0 {
		return "", errors.New("no section for figures: see figuresBegin")
	}
	return text, nil
}

// summaryText returns the figures for a reader who wants only the most
// important ones.
func (r *report) summaryText() string {
	s := r.samples
	return fmt.Sprintf("In the last run holdd captured %s, stripe-go in a loop without a queue %s. "+
		"In the median of\neight limiters it captured %s of what they allow, and %s of its requests "+
		"were answered 429. At rest\nit took %s and %s of a core.\n",
		s.formatMedian(drainRate, "holdd"), s.formatMedian(drainRate, "bare"),
		s.formatMedian(limitedShare, "holdd"), s.formatMedian(limitedRejections, "holdd"),
		s.formatMedian(idleMemory, "holdd"), s.formatMedian(idleCPU, "holdd"))
}

// comparisonText returns a table with holdd and what stands beside it.
func (r *report) comparisonText() string {
	t := table{header: tableRow{"", "holdd", "beside it"}}
	for _, f := range []figure{
		drainRate, drainRate50ms, redisCPU, workerCPU, scheduleClientRate, scheduleHTTPRate,
		latenessP99, maxEarliness, limitedShare, limitedRejections, pendingMemory,
		pendingMemoryWithReference, idleMemory, idleCPU, idleCommands, verifyTime, stormTime,
		reconcileTime,
	} {
		var beside []string
		for _, name := range engineNames[1:] {
			if _, ok := r.samples.median(f, name); !ok {
				continue
			}
			label := name
			if name == "bare" {
				label = figureInfo[f].bare
				if label == "" {
					continue
				}
			}
			beside = append(beside, label+" "+r.samples.formatMedian(f, name))
		}
		t.rows = append(t.rows, tableRow{f.title(), r.samples.formatMedian(f, "holdd"),
			strings.Join(beside, ", ")})
	}
	var text strings.Builder
	writeMarkdownTable(&text, t.header, t.rows)
	return text.String()
}

// tablesText returns the tables that do not compare engines.
func (r *report) tablesText() string {
	var text strings.Builder
	for _, t := range r.tables {
		if t.inDocs {
			fmt.Fprintf(&text, "\n%s:\n\n", t.title)
			writeMarkdownTable(&text, t.header, t.rows)
		}
	}
	text.WriteString("\n")
	return text.String()
}
