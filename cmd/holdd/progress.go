package main

import (
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// progressBar is a progress bar on a terminal, and nothing elsewhere.
type progressBar struct {
	writer     progress.Writer
	tracker    *progress.Tracker
	renderDone chan struct{}
}

func (c *terminal) newProgressBar(what string, total int64) *progressBar {
	if !c.canDrawProgress {
		return &progressBar{}
	}
	pw := progress.NewWriter()
	pw.SetOutputWriter(c.stderr)
	pw.SetUpdateFrequency(100 * time.Millisecond)
	pw.SetTrackerLength(30)
	pw.Style().Visibility.Value = true
	b := &progressBar{writer: pw, tracker: &progress.Tracker{Message: what, Total: total},
		renderDone: make(chan struct{})}
	pw.AppendTracker(b.tracker)
	go func() { defer close(b.renderDone); pw.Render() }()
	return b
}

// describe replaces what the bar says, and reports whether there is one.
func (b *progressBar) describe(what string) bool {
	if b.tracker != nil {
		b.tracker.UpdateMessage(what)
	}
	return b.tracker != nil
}

func (b *progressBar) add(n int64) {
	if b.tracker != nil {
		b.tracker.Increment(n)
	}
}

// set replaces what is done so far.
func (b *progressBar) set(n int64) {
	if b.tracker != nil {
		b.tracker.SetValue(n)
	}
}

// stop ends the drawing and leaves the last line on the screen.
func (b *progressBar) stop(complete bool) {
	if b.writer == nil {
		return
	}
	if complete {
		b.tracker.MarkAsDone() // the total counts empty lines, add does not
	}
	// The writer ignores a Stop that precedes its first drawing.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for ended := false; !ended; {
		b.writer.Stop()
		select {
		case <-b.renderDone:
			ended = true
		case <-again.C:
		}
	}
	b.writer, b.tracker = nil, nil
}
