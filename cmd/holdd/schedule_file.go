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

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

const (
	maxLineBytes      = 32 << 10  // of one line of a file
	maxBatchBytes     = 900 << 10 // of one request; holdd takes 1 MiB
	maxListedFailures = 1000      // rejected lines that a table shows, and of lines that act at once
	// concurrentForecasts is how many holds a dry run reads at a time.
	concurrentForecasts = 8
)

const uncheckedLines = "holdd checks only when the lines are sent whether Stripe holds money for " +
	"the PaymentIntents, and their amounts and deadlines. Lines whose on_expiry would act at once " +
	"need --yes"

// rejectedLine is a rejected line, as --json prints it.
type rejectedLine struct {
	Line int `json:"line"`
	api.BatchResult
	req hold.ScheduleRequest
}

// fileScheduler runs one schedule --file.
type fileScheduler struct {
	*connectionFlags
	*confirmationPrompt
	client   *api.Client
	dryRun   bool // decide the lines and send nothing
	sent     bool // a batch, at least in part
	total    int64
	progress *progressBar

	// the batch to be sent
	reqs        []hold.ScheduleRequest
	lineNumbers []int
	batchBytes  int

	linesRead        int // without empty lines
	created          int
	alreadyScheduled int
	failed           int
	unconfirmed      int            // of failed
	warned           int            // accepted with a warning
	unread           int            // of created: not read at Stripe yet
	failures         []rejectedLine // at most maxListedFailures, none with --json
	worstExitCode    int

	// of a dry run
	findings  map[string]*api.Finding // of the last comparison, by intent; nil: not read yet
	accepted  map[string][]byte       // requests of lines that would be scheduled, by intent
	immediate int                     // of created
	dueLines  []immediateLine         // at most maxListedFailures, none with --json
}

// scheduleFile reads line by line and schedules in batches, so that a file of
// any size needs little memory.
func scheduleFile(
	ctx context.Context, c *connectionFlags, p *confirmationPrompt, client *api.Client, path string,
	dryRun bool,
) error {
	in, total := c.out.stdin, int64(0)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usageErrorf("", "cannot read the file: %w", err)
		}
		defer f.Close()
		if total, err = countLines(f); err != nil {
			return usageErrorf("", "cannot read the file: %w", err)
		}
		in = f
	}
	s := &fileScheduler{connectionFlags: c, confirmationPrompt: p, client: client, dryRun: dryRun,
		total: total, progress: &progressBar{}}
	if dryRun || p.yes {
		s.showProgress()
	}
	err := s.scheduleLines(ctx, in)
	s.progress.stop(err == nil)
	return s.printSummary(err)
}

func (s *fileScheduler) scheduleLines(ctx context.Context, in io.Reader) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 0, 4096), maxLineBytes)
	line := 0
	for scan.Scan() {
		line++
		text := bytes.TrimSpace(bytes.TrimPrefix(scan.Bytes(), []byte("\ufeff")))
		if len(text) == 0 {
			continue
		}
		s.linesRead++
		req, err := decodeScheduleLine(text)
		if err != nil {
			problem := &api.Problem{Title: "The line is not a hold", Status: 400,
				Code: api.InvalidJSON, Detail: err.Error()}
			result := api.BatchResult{Status: 400, Problem: problem}
			if err := s.recordRejectedLine(rejectedLine{Line: line,
				BatchResult: result}); err != nil {
				return err
			}
			continue
		}
		req.TimeZone = cmp.Or(req.TimeZone, s.timeZoneName())
		size := len(text) + 100
		if len(s.reqs) == api.MaxBatchHolds || s.batchBytes+size > maxBatchBytes {
			if err := s.sendBatch(ctx); err != nil {
				return err
			}
		}
		s.reqs, s.lineNumbers = append(s.reqs, req), append(s.lineNumbers, line)
		s.batchBytes += size
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d is longer than %d KiB: want one hold a line",
				line+1, maxLineBytes>>10)
		}
		return errors.Join(s.sendBatch(ctx), &exitError{code: exitUsage, err: err})
	}
	return s.sendBatch(ctx)
}

func decodeScheduleLine(text []byte) (req hold.ScheduleRequest, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields() // a hold with a misspelt capture_at would never be captured
	if err := dec.Decode(&req); err != nil {
		return req, fmt.Errorf("want one JSON object: %s",
			strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return req, errors.New("want one JSON object a line, and nothing after it")
	}
	return req, nil
}

// sendBatch schedules the holds of the batch and empties it.
func (s *fileScheduler) sendBatch(ctx context.Context) error {
	if len(s.reqs) == 0 {
		return nil
	}
	if s.dryRun {
		return s.forecastBatch(ctx)
	}
	if err := s.confirmDueNow(ctx); err != nil {
		return err
	}
	for i := range s.reqs {
		s.reqs[i].Confirm = s.reqs[i].Confirm || s.yes
	}
	s.sent = true
	results, err := s.client.ScheduleBatch(ctx, s.reqs)
	if err != nil {
		return toExitError(err, "")
	}
	confirmErr := s.confirmAndResend(ctx, results)
	for i, r := range results {
		if r.Hold != nil && len(r.Hold.Warnings) > 0 {
			s.warned++
		}
		switch {
		case r.Problem != nil || r.Hold == nil:
			if r.Problem == nil {
				r.Problem = &api.Problem{Status: r.Status, Code: api.UnexpectedResponse,
					Detail: "holdd returned neither a hold nor a problem"}
			}
			if err := s.recordRejectedLine(rejectedLine{s.lineNumbers[i], r,
				s.reqs[i]}); err != nil {
				return err
			}
		case r.Status == 201:
			s.created++
			if isUnread(&s.reqs[i], r.Hold) {
				s.unread++
			}
		default:
			s.alreadyScheduled++
		}
	}
	s.showProgress()
	s.reqs, s.lineNumbers, s.batchBytes = s.reqs[:0], s.lineNumbers[:0], 0
	return confirmErr
}

// showProgress shows how many lines have an answer. Where a question may come before
// the first answers, the bar begins with them.
func (s *fileScheduler) showProgress() {
	if s.progress.writer == nil {
		s.progress = s.connectionFlags.out.newProgressBar("scheduling", s.total)
	}
	s.progress.set(int64(s.created + s.alreadyScheduled + s.failed))
}

// confirmDueNow asks about the holds of the batch whose time is now.
func (s *fileScheduler) confirmDueNow(ctx context.Context) error {
	var due []int
	now := time.Now()
	for i := range s.reqs {
		if isRequestDueNow(&s.reqs[i], now) {
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return nil
	}
	return s.confirmHoldsWithOperator(ctx, "due now", due, "Their money moves at once.",
		questionToStatement(scheduleQuestion(&s.reqs[due[0]])))
}

// confirmAndResend asks about the holds whose on_expiry would act at once, and
// schedules them if the operator confirms. Without a terminal they stay
// rejected.
func (s *fileScheduler) confirmAndResend(ctx context.Context, results []api.BatchResult) error {
	var refused []int
	var again []hold.ScheduleRequest
	for i, r := range results {
		if isConfirmationProblem(r.Problem) {
			req := s.reqs[i]
			req.Confirm = true
			refused, again = append(refused, i), append(again, req)
		}
	}
	if len(refused) == 0 || s.yes || !s.confirmationPrompt.out.interactive {
		return nil
	}
	if err := s.confirmHoldsWithOperator(ctx, "end at once", refused,
		"Their deadlines are so near that on_expiry moves their money at once.",
		"move the money of "+requestDisplayName(&again[0])); err != nil {
		return err
	}
	confirmed, err := s.client.ScheduleBatch(ctx, again)
	if err != nil {
		return toExitError(err, "")
	}
	for n, i := range refused {
		results[i] = confirmed[n]
	}
	return nil
}

// confirmHoldsWithOperator asks about holds of the batch, given by their
// indexes. One yes is for the whole file. firstAct is what happens to the first of them at once.
func (s *fileScheduler) confirmHoldsWithOperator(
	ctx context.Context, label string, indexes []int, warning, firstAct string,
) error {
	if s.yes {
		return nil
	}
	s.progress.stop(false) // it would overwrite the question
	first := s.lineNumbers[indexes[0]]
	reason := fmt.Sprintf("line %d would %s at once", first, firstAct)
	if more := len(indexes) - 1; more > 0 {
		reason += fmt.Sprintf(", and so would %d more", more)
	}
	err := s.askWithReason(ctx, s.client, []labeledValue{
		{"lines", fmt.Sprintf("%d to %d", s.lineNumbers[0], s.lineNumbers[len(s.lineNumbers)-1])},
		{label, fmt.Sprintf("%d, the first in line %d", len(indexes), first)},
	}, warning+" Continue, for the whole file?", reason)
	s.yes = err == nil
	if e, ok := errors.AsType[*exitError](err); ok && s.sent {
		e.err = errors.New(strings.Replace(e.Error(), "nothing was done", "nothing more was done", 1))
	}
	return err
}

func (s *fileScheduler) recordRejectedLine(f rejectedLine) error {
	s.failed++
	if isConfirmationProblem(f.Problem) {
		s.unconfirmed++
	}
	code, _ := exitCodeAndHintForProblem(f.Problem, "")
	s.worstExitCode = max(s.worstExitCode, code)
	if s.asJSON {
		// The daemon's problems have a type, those of the command not yet.
		f.Problem.Type = cmp.Or(f.Problem.Type, api.ErrorsURL+"#"+string(f.Problem.Code))
		return s.connectionFlags.out.printJSONLine(f)
	}
	if len(s.failures) < maxListedFailures {
		s.failures = append(s.failures, f)
	}
	return nil
}

// printSummary prints the rejected lines and the counts. err is what stopped
// the run.
func (s *fileScheduler) printSummary(err error) error {
	out := s.connectionFlags.out
	if len(s.failures) > 0 {
		slices.SortFunc(s.failures, func(x, y rejectedLine) int {
			return cmp.Compare(x.Line, y.Line)
		})
		rows := &listPrinter[rejectedLine]{out: out, format: formatTable,
			columns: rejectedLineColumns()}
		if printErr := rows.print(s.failures); printErr != nil {
			return printErr
		}
		if more := s.failed - len(s.failures); more > 0 {
			out.printSummary("%d more %s rejected: --json lists all", more, wasOrWere(more))
		}
	}
	if s.dryRun {
		return s.printDryRunSummary(err)
	}
	if err != nil && !s.sent {
		return err // nothing was done, so there is nothing to count
	}
	out.printSummary("%d scheduled, %d already scheduled, %d rejected", s.created,
		s.alreadyScheduled, s.failed)
	if s.unconfirmed > 0 {
		out.printSummary("%d of these would move money at once: add --yes, or \"confirm\": true "+
			"to their lines", s.unconfirmed)
	}
	if s.unread > 0 {
		out.printSummary("%d of the scheduled holds %s not read at Stripe yet: holdd reads them "+
			"within seconds, and holdd list --state attention then shows what is wrong", s.unread,
			wasOrWere(s.unread))
	}
	if s.warned > 0 {
		out.printSummary("warning: %s may expire before the capture: "+
			"holdd show HOLD has the details", hold.FormatCount(s.warned, "hold", "holds"))
	}
	unanswered := s.linesRead - s.created - s.alreadyScheduled - s.failed
	if err != nil && unanswered > 0 {
		out.printSummary("stopped: no answer for %d of %s; run the command again, it skips "+
			"the holds that are scheduled", unanswered,
			hold.FormatCount(s.linesRead, "line", "lines"))
	}
	return s.summaryError(err)
}

// rejectedLineColumns returns columns whose error wraps and is never cut: it says what to do.
func rejectedLineColumns() []column[rejectedLine] {
	intent := everywhere("hold", func(f *rejectedLine) string { return f.req.PaymentIntent })
	booking := everywhere("booking", func(f *rejectedLine) string { return f.req.Reference })
	intent.narrow, booking.narrow = 30, 30
	return []column[rejectedLine]{
		everywhere("line", func(f *rejectedLine) string { return fmt.Sprint(f.Line) }),
		intent, booking,
		everywhere("code", func(f *rejectedLine) string { return string(f.Problem.Code) }),
		wrapped("what to do", func(f *rejectedLine) string { // fields keep their names in the file
			return replaceRoutesWithCommands(f.Problem.Error())
		})}
}

// summaryError returns what stopped the run, or that lines were rejected.
func (s *fileScheduler) summaryError(err error) error {
	if err != nil || s.failed == 0 {
		return err
	}
	code := exitFailed
	if s.worstExitCode == exitUnknown {
		code = exitUnknown
	}
	return &exitError{code: code,
		err: fmt.Errorf("%d of %s %s rejected", s.failed,
			hold.FormatCount(s.linesRead, "hold", "holds"), wasOrWere(s.failed))}
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
