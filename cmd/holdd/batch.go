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
	maxLineBytes      = 32 << 10  // bytes of one line of a file
	maxBatchBytes     = 900 << 10 // bytes of one call; holdd takes 1 MiB
	maxListedFailures = 1000      // refused lines that a table shows
)

// confirmSchedule asks about a hold that holdd doesn't know yet: what the
// person gave is all there is to show.
func (c *changeFlags) confirmSchedule(
	cmd *cobra.Command, info func(context.Context) (api.Health, error), req *hold.ScheduleRequest,
) error {
	daemonInfo, err := info(cmd.Context())
	if err != nil {
		return addExitCode(err, "")
	}
	live := daemonInfo.Livemode != nil && *daemonInfo.Livemode
	verb, at := "Capture", req.CaptureAt
	if req.CaptureAt == "" {
		verb, at = "Let go", req.CancelAt
	}
	money := "all that it holds"
	switch {
	case req.CaptureAmount > 0 && req.CancelAt == "":
		money = hold.FormatAmount(req.CaptureAmount, strings.ToLower(req.Currency))
		if req.Currency == "" {
			money += " in minor units"
		}
	case req.Amount > 0:
		money = hold.FormatAmount(req.Amount, strings.ToLower(req.Currency))
	}
	name := req.PaymentIntent
	if req.Reference != "" {
		name = sanitize(req.Reference)
	}
	return c.app.confirm(cmd.Context(), live, []labeledValue{
		{"booking", sanitize(req.Reference)}, {"hold", sanitize(req.PaymentIntent)},
		{"account", sanitize(req.Account)}, {"time", sanitize(at)},
	}, fmt.Sprintf("%s %s of %s now?", verb, money, name))
}

// lineFailure is a line of a file that was refused, as --json tells it.
type lineFailure struct {
	Line int `json:"line"`
	api.BatchResult
	req hold.ScheduleRequest
}

// batchSchedule carries one run of schedule --file.
type batchSchedule struct {
	*changeFlags
	client           *api.Client
	reqs             []hold.ScheduleRequest
	lineNumbers      []int
	batchBytes       int
	linesRead        int // lines that hold something
	created          int
	alreadyScheduled int
	failures         []lineFailure // those not yet shown; bounded by maxShown
	failed           int
	unconfirmed      int // of these, for want of a confirmation
	worstExitCode    int // exit code
	progress         *progressBar
}

// scheduleFile reads line by line and schedules in batches, so that a file of
// any size needs little memory.
func (c *changeFlags) scheduleFile(ctx context.Context, path string) error {
	in, total := c.app.stdin, int64(0)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usageErrorf("", "the file can't be read: %w", err)
		}
		defer f.Close()
		if total, err = countLines(f); err != nil {
			return usageErrorf("", "the file can't be read: %w", err)
		}
		in = f
	}
	client, err := c.newClient()
	if err != nil {
		return err
	}
	defer client.Close()
	b := &batchSchedule{changeFlags: c, client: client,
		progress: c.app.newProgressBar("scheduling", total)}
	err = b.scheduleLines(ctx, in)
	b.progress.stop(err == nil)
	return b.printSummary(err)
}

func (b *batchSchedule) scheduleLines(ctx context.Context, in io.Reader) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 0, 4096), maxLineBytes)
	line := 0
	for scan.Scan() {
		line++
		text := bytes.TrimSpace(bytes.TrimPrefix(scan.Bytes(), []byte("\ufeff")))
		if len(text) == 0 {
			continue
		}
		b.linesRead++
		var req hold.ScheduleRequest
		if err := decodeLine(text, &req); err != nil {
			if err := b.recordFailure(
				lineFailure{Line: line, BatchResult: api.BatchResult{
					Status: 400, Problem: &api.Problem{
						Title: "The line is no hold", Status: 400, Code: api.InvalidJSON,
						Detail: err.Error()}}}); err != nil {
				return err
			}
			b.progress.add(1)
			continue
		}
		if req.TimeZone == "" {
			req.TimeZone = b.timeZoneName()
		}
		if len(b.reqs) == api.MaxBatchHolds || b.batchBytes+len(text)+100 > maxBatchBytes {
			if err := b.sendBatch(ctx); err != nil {
				return err
			}
		}
		b.reqs, b.lineNumbers, b.batchBytes = append(b.reqs, req), append(b.lineNumbers, line),
			b.batchBytes+len(text)+100
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d is longer than %d KiB: one line has one hold",
				line+1, maxLineBytes>>10)
		}
		return errors.Join(b.sendBatch(ctx), &exitError{code: exitUsage, err: err})
	}
	return b.sendBatch(ctx)
}

func decodeLine(text []byte, req *hold.ScheduleRequest) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields() // a misspelt capture_at would leave a hold that nobody captures
	if err := dec.Decode(req); err != nil {
		return fmt.Errorf("write one JSON object: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("write one JSON object a line, and nothing after it")
	}
	return nil
}

// sendBatch schedules what has been gathered.
func (b *batchSchedule) sendBatch(ctx context.Context) error {
	if len(b.reqs) == 0 {
		return nil
	}
	if err := b.confirmOnce(ctx); err != nil {
		return err
	}
	if b.skipConfirm {
		for i := range b.reqs {
			b.reqs[i].Confirm = true
		}
	}
	results, err := b.client.ScheduleBatch(ctx, b.reqs)
	if err != nil {
		return addExitCode(err, "")
	}
	asked := b.confirmResults(ctx, results)
	for i, r := range results {
		switch {
		case r.Problem != nil || r.Hold == nil:
			if r.Problem == nil {
				r.Problem = &api.Problem{Status: r.Status, Code: api.UnexpectedResponse,
					Detail: "holdd told neither a hold nor a problem"}
			}
			if err := b.recordFailure(lineFailure{b.lineNumbers[i], r, b.reqs[i]}); err != nil {
				return err
			}
		case r.Status == 201:
			b.created++
		default:
			b.alreadyScheduled++
		}
	}
	b.progress.add(int64(len(results)))
	b.reqs, b.lineNumbers, b.batchBytes = b.reqs[:0], b.lineNumbers[:0], 0
	return asked
}

// confirmOnce asks when the first holds come along whose time is now. One yes
// is for the whole file.
func (b *batchSchedule) confirmOnce(ctx context.Context) error {
	if b.skipConfirm {
		return nil
	}
	now, n := time.Now(), 0
	first := 0
	for i := range b.reqs {
		if requestIsDueNow(&b.reqs[i], now) {
			if n++; n == 1 {
				first = b.lineNumbers[i]
			}
		}
	}
	if n == 0 {
		return nil
	}
	daemonInfo, err := b.client.Health(ctx)
	if err != nil {
		return addExitCode(err, "")
	}
	b.progress.stop(false) // makes room for the question; what comes after it is drawn no more
	err = b.app.confirm(ctx, daemonInfo.Livemode != nil && *daemonInfo.Livemode, []labeledValue{
		{"lines", fmt.Sprintf("%d to %d", b.lineNumbers[0], b.lineNumbers[len(b.lineNumbers)-1])},
		{"due now", fmt.Sprintf("%d, the first in line %d", n, first)},
	}, "Their money moves at once. Go on, for the whole file?")
	b.skipConfirm = err == nil
	return err
}

// confirmResults asks about the holds of this batch whose policy would act at
// once, and schedules them after a yes, which is for the whole file. Without a
// terminal they stay refused.
func (b *batchSchedule) confirmResults(ctx context.Context, results []api.BatchResult) error {
	var at []int
	var again []hold.ScheduleRequest
	for i, r := range results {
		if r.Problem == nil || r.Problem.Code != hold.WouldCancelNow &&
			r.Problem.Code != hold.WouldCaptureNow {
			continue
		}
		w := b.reqs[i]
		w.Confirm = true
		at, again = append(at, i), append(again, w)
	}
	if len(at) == 0 || b.skipConfirm || !b.app.terminal.interactive {
		return nil
	}
	about, err := b.client.Health(ctx)
	if err != nil {
		return addExitCode(err, "")
	}
	b.progress.stop(false)
	err = b.app.confirm(ctx, about.Livemode != nil && *about.Livemode, []labeledValue{
		{"lines", fmt.Sprintf("%d to %d", b.lineNumbers[0], b.lineNumbers[len(b.lineNumbers)-1])},
		{"end at once", fmt.Sprintf("%d, the first in line %d", len(at), b.lineNumbers[at[0]])},
	}, "They end so soon that on_expiry moves their money at once. Go on, for the whole file?")
	if err != nil {
		return err
	}
	b.skipConfirm = true
	done, err := b.client.ScheduleBatch(ctx, again)
	if err != nil {
		return addExitCode(err, "")
	}
	for n, i := range at {
		results[i] = done[n]
	}
	return nil
}

func (b *batchSchedule) recordFailure(f lineFailure) error {
	b.failed++
	if _, now := movesMoneyNow(f.Problem); now {
		b.unconfirmed++
	}
	code, _ := exitCodeForProblem(f.Problem, "")
	b.worstExitCode = max(b.worstExitCode, code)
	if b.asJSON {
		return b.app.printJSONLine(f)
	}
	if len(b.failures) < maxListedFailures {
		b.failures = append(b.failures, f)
	}
	return nil
}

// printSummary shows what was refused and says what became of the rest.
func (b *batchSchedule) printSummary(err error) error {
	if len(b.failures) > 0 {
		slices.SortFunc(b.failures, func(x, y lineFailure) int {
			return cmp.Compare(x.Line, y.Line)
		})
		t := b.app.newTable("line", "hold", "booking", "code", "what to do")
		for _, f := range b.failures {
			t.AppendRow([]any{f.Line, sanitize(f.req.PaymentIntent), sanitize(f.req.Reference),
				string(f.Problem.Code), sanitize(f.Problem.Error())})
		}
		t.Render()
		if more := b.failed - len(b.failures); more > 0 {
			b.app.printNote("%d more were refused: --json lists all", more)
		}
	}
	b.app.printNote("%d scheduled, %d were before, %d refused", b.created,
		b.alreadyScheduled, b.failed)
	if b.unconfirmed > 0 {
		b.app.printNote(
			"%d of these would move money at once: add --yes, or \"confirm\": true to their lines",
			b.unconfirmed)
	}
	if err != nil {
		b.app.printNote(
			"stopped with %d of %d lines not answered; run again, it leaves alone what is scheduled", b.linesRead-b.created-b.alreadyScheduled-b.failed, b.linesRead)
		return addExitCode(err, "")
	}
	if b.failed > 0 {
		code := exitFailed
		if b.worstExitCode == exitUnknown { // of one at least nobody knows
			code = exitUnknown
		}
		return &exitError{code: code,
			err: fmt.Errorf("not all holds were scheduled: %d of %d were refused", b.failed,
				b.linesRead)}
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

// progressBar is a progress bar on a terminal, and nothing elsewhere.
type progressBar struct {
	writer     progress.Writer
	tracker    *progress.Tracker
	renderDone chan struct{}
}

func (a *app) newProgressBar(what string, total int64) *progressBar {
	if !a.terminal.canDrawProgress {
		return &progressBar{}
	}
	pw := progress.NewWriter()
	pw.SetOutputWriter(a.stderr)
	pw.SetUpdateFrequency(100 * time.Millisecond)
	pw.SetTrackerLength(30)
	pw.Style().Visibility.Value = true
	b := &progressBar{writer: pw, tracker: &progress.Tracker{Message: what, Total: total},
		renderDone: make(chan struct{})}
	pw.AppendTracker(b.tracker)
	go func() { defer close(b.renderDone); pw.Render() }()
	return b
}

func (b *progressBar) add(n int64) {
	if b.tracker != nil {
		b.tracker.Increment(n)
	}
}

// stop ends the drawing, and leaves the last line where it is: what was reached
// can be read.
func (b *progressBar) stop(complete bool) {
	if b.writer == nil {
		return
	}
	if complete {
		b.tracker.MarkAsDone() // empty lines were counted in the total
	}
	// A stop that comes before the drawing has begun is lost: a short list
	// would wait for ever.
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
