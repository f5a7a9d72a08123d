package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

const (
	maxLine      = 32 << 10  // bytes of one line of a file
	maxBatchJSON = 900 << 10 // bytes of one call; holdd takes 1 MiB
	maxShown     = 1000      // refused lines that a table shows
)

// askSchedule asks about a hold that holdd doesn't know yet: what the person gave is all there is to show.
func (c *change) askSchedule(cmd *cobra.Command, info func(context.Context) (api.Info, error), w *hold.ScheduleRequest) error {
	about, err := info(cmd.Context())
	if err != nil {
		return explain(err, "")
	}
	live := about.Livemode != nil && *about.Livemode
	verb, at := "Capture", w.CaptureAt
	if w.CaptureAt == "" {
		verb, at = "Let go", w.CancelAt
	}
	money := "all that it holds"
	switch {
	case w.CaptureAmount > 0 && w.CancelAt == "":
		money = hold.FormatAmount(w.CaptureAmount, strings.ToLower(w.Currency))
		if w.Currency == "" {
			money += " in minor units"
		}
	case w.Amount > 0:
		money = hold.FormatAmount(w.Amount, strings.ToLower(w.Currency))
	}
	name := w.PaymentIntent
	if w.Reference != "" {
		name = clean(w.Reference)
	}
	return c.app.confirm(cmd.Context(), live, []fact{
		{"booking", clean(w.Reference)}, {"hold", clean(w.PaymentIntent)}, {"account", clean(w.Account)}, {"time", clean(at)},
	}, fmt.Sprintf("%s %s of %s now?", verb, money, name))
}

// failure is a line of a file that was refused, as --json tells it.
type failure struct {
	Line int `json:"line"`
	api.BatchResult
	wish hold.ScheduleRequest
}

// batch carries one run of schedule --file.
type batch struct {
	*change
	client      *api.Client
	wishes      []hold.ScheduleRequest
	lines       []int
	bytes       int
	read        int // lines that hold something
	created     int
	existed     int
	failures    []failure // those not yet shown; bounded by maxShown
	failed      int
	unconfirmed int // of these, for want of a confirmation
	worst       int // exit code
	bar         *bar
}

// scheduleFile reads line by line and schedules in batches, so that a file of any size needs little memory.
func (c *change) scheduleFile(ctx context.Context, path string) error {
	in, total := c.app.stdin, int64(0)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usage("", "the file can't be read: %w", err)
		}
		defer f.Close()
		if total, err = countLines(f); err != nil {
			return usage("", "the file can't be read: %w", err)
		}
		in = f
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	b := &batch{change: c, client: client, bar: c.app.newBar("scheduling", total)}
	err = b.run(ctx, in)
	b.bar.stop(err == nil)
	return b.summary(err)
}

func (b *batch) run(ctx context.Context, in io.Reader) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 0, 4096), maxLine)
	line := 0
	for scan.Scan() {
		line++
		text := bytes.TrimSpace(bytes.TrimPrefix(scan.Bytes(), []byte("\ufeff")))
		if len(text) == 0 {
			continue
		}
		b.read++
		var w hold.ScheduleRequest
		if err := decodeLine(text, &w); err != nil {
			if err := b.refused(failure{Line: line, BatchResult: api.BatchResult{Status: 400, Problem: &api.Problem{
				Title: "The line is no hold", Status: 400, Code: api.InvalidJSON, Detail: err.Error()}}}); err != nil {
				return err
			}
			b.bar.add(1)
			continue
		}
		if w.TimeZone == "" {
			w.TimeZone = b.zoneName()
		}
		if len(b.wishes) == api.MaxBatch || b.bytes+len(text)+100 > maxBatchJSON {
			if err := b.send(ctx); err != nil {
				return err
			}
		}
		b.wishes, b.lines, b.bytes = append(b.wishes, w), append(b.lines, line), b.bytes+len(text)+100
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d is longer than %d KiB: one line has one hold", line+1, maxLine>>10)
		}
		return errors.Join(b.send(ctx), &exit{code: exitUsage, err: err})
	}
	return b.send(ctx)
}

func decodeLine(text []byte, w *hold.ScheduleRequest) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields() // a misspelt capture_at would leave a hold that nobody captures
	if err := dec.Decode(w); err != nil {
		return fmt.Errorf("write one JSON object: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("write one JSON object a line, and nothing after it")
	}
	return nil
}

// send schedules what has been gathered.
func (b *batch) send(ctx context.Context) error {
	if len(b.wishes) == 0 {
		return nil
	}
	if err := b.askOnce(ctx); err != nil {
		return err
	}
	if b.yes {
		for i := range b.wishes {
			b.wishes[i].Confirm = true
		}
	}
	results, err := b.client.ScheduleBatch(ctx, b.wishes)
	if err != nil {
		return explain(err, "")
	}
	asked := b.confirmResults(ctx, results)
	for i, r := range results {
		switch {
		case r.Problem != nil || r.Hold == nil:
			if r.Problem == nil {
				r.Problem = &api.Problem{Status: r.Status, Code: api.UnexpectedAnswer, Detail: "holdd told neither a hold nor a problem"}
			}
			if err := b.refused(failure{b.lines[i], r, b.wishes[i]}); err != nil {
				return err
			}
		case r.Status == 201:
			b.created++
		default:
			b.existed++
		}
	}
	b.bar.add(int64(len(results)))
	b.wishes, b.lines, b.bytes = b.wishes[:0], b.lines[:0], 0
	return asked
}

// askOnce asks when the first holds come along whose time is now. One yes is for the whole file.
func (b *batch) askOnce(ctx context.Context) error {
	if b.yes {
		return nil
	}
	now, n := time.Now(), 0
	first := 0
	for i := range b.wishes {
		if dueAtOnce(&b.wishes[i], now) {
			if n++; n == 1 {
				first = b.lines[i]
			}
		}
	}
	if n == 0 {
		return nil
	}
	about, err := b.client.Info(ctx)
	if err != nil {
		return explain(err, "")
	}
	b.bar.stop(false) // makes room for the question; what comes after it is drawn no more
	err = b.app.confirm(ctx, about.Livemode != nil && *about.Livemode, []fact{
		{"lines", fmt.Sprintf("%d to %d", b.lines[0], b.lines[len(b.lines)-1])}, {"due now", fmt.Sprintf("%d, the first in line %d", n, first)},
	}, "Their money moves at once. Go on, for the whole file?")
	b.yes = err == nil
	return err
}

// confirmResults asks about the holds of this batch whose policy would act at once, and schedules
// them after a yes, which is for the whole file. Without a terminal they stay refused.
func (b *batch) confirmResults(ctx context.Context, results []api.BatchResult) error {
	var at []int
	var again []hold.ScheduleRequest
	for i, r := range results {
		if r.Problem == nil || r.Problem.Code != hold.WouldCancelNow && r.Problem.Code != hold.WouldCaptureNow {
			continue
		}
		w := b.wishes[i]
		w.Confirm = true
		at, again = append(at, i), append(again, w)
	}
	if len(at) == 0 || b.yes || !b.app.face.canAsk {
		return nil
	}
	about, err := b.client.Info(ctx)
	if err != nil {
		return explain(err, "")
	}
	b.bar.stop(false)
	err = b.app.confirm(ctx, about.Livemode != nil && *about.Livemode, []fact{
		{"lines", fmt.Sprintf("%d to %d", b.lines[0], b.lines[len(b.lines)-1])}, {"end at once", fmt.Sprintf("%d, the first in line %d", len(at), b.lines[at[0]])},
	}, "They end so soon that on_expiry moves their money at once. Go on, for the whole file?")
	if err != nil {
		return err
	}
	b.yes = true
	done, err := b.client.ScheduleBatch(ctx, again)
	if err != nil {
		return explain(err, "")
	}
	for n, i := range at {
		results[i] = done[n]
	}
	return nil
}

func (b *batch) refused(f failure) error {
	b.failed++
	if _, now := movesMoneyNow(f.Problem); now {
		b.unconfirmed++
	}
	code, _ := judge(f.Problem, "")
	b.worst = max(b.worst, code)
	if b.json {
		return b.app.line(f)
	}
	if len(b.failures) < maxShown {
		b.failures = append(b.failures, f)
	}
	return nil
}

// summary shows what was refused and says what became of the rest.
func (b *batch) summary(err error) error {
	if len(b.failures) > 0 {
		slices.SortFunc(b.failures, func(x, y failure) int { return cmp.Compare(x.Line, y.Line) })
		t := b.app.newTable("line", "hold", "booking", "code", "what to do")
		for _, f := range b.failures {
			t.AppendRow([]any{f.Line, clean(f.wish.PaymentIntent), clean(f.wish.Reference), string(f.Problem.Code), clean(f.Problem.Error())})
		}
		t.Render()
		if more := b.failed - len(b.failures); more > 0 {
			b.app.note("%d more were refused: --json lists all", more)
		}
	}
	b.app.note("%d scheduled, %d were before, %d refused", b.created, b.existed, b.failed)
	if b.unconfirmed > 0 {
		b.app.note("%d of these would move money at once: add --yes, or \"confirm\": true to their lines", b.unconfirmed)
	}
	if err != nil {
		b.app.note("stopped with %d of %d lines not answered; run again, it leaves alone what is scheduled", b.read-b.created-b.existed-b.failed, b.read)
		return explain(err, "")
	}
	if b.failed > 0 {
		code := exitFailed
		if b.worst == exitUnknown { // of one at least nobody knows
			code = exitUnknown
		}
		return &exit{code: code, err: fmt.Errorf("not all holds were scheduled: %d of %d were refused", b.failed, b.read)}
	}
	return nil
}

func countLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	var n int64
	buf := make([]byte, 64<<10)
	for {
		k, err := f.Read(buf)
		n += int64(bytes.Count(buf[:k], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return n, err
}

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct {
	pw      progress.Writer
	tracker *progress.Tracker
	ended   chan struct{}
}

func (a *app) newBar(what string, total int64) *bar {
	if !a.face.barErr {
		return &bar{}
	}
	pw := progress.NewWriter()
	pw.SetOutputWriter(a.stderr)
	pw.SetUpdateFrequency(100 * time.Millisecond)
	pw.SetTrackerLength(30)
	pw.Style().Visibility.Value = true
	b := &bar{pw: pw, tracker: &progress.Tracker{Message: what, Total: total}, ended: make(chan struct{})}
	pw.AppendTracker(b.tracker)
	go func() { defer close(b.ended); pw.Render() }()
	return b
}

func (b *bar) add(n int64) {
	if b.tracker != nil {
		b.tracker.Increment(n)
	}
}

// stop ends the drawing, and leaves the last line where it is: what was reached can be read.
func (b *bar) stop(complete bool) {
	if b.pw == nil {
		return
	}
	if complete {
		b.tracker.MarkAsDone() // empty lines were counted in the total
	}
	// A stop that comes before the drawing has begun is lost: a short list would wait for ever.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for ended := false; !ended; {
		b.pw.Stop()
		select {
		case <-b.ended:
			ended = true
		case <-again.C:
		}
	}
	b.pw, b.tracker = nil, nil
}
