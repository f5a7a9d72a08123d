package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// immediateLine is a line that would move money at once, as --dry-run --json prints it.
type immediateLine struct {
	Line   int    `json:"line"`
	DryRun bool   `json:"dry_run"` // always true
	Would  string `json:"would"`
	req    hold.ScheduleRequest
}

// forecastBatch decides the holds of the batch as the dry run of one hold does, and empties it.
func (s *fileScheduler) forecastBatch(ctx context.Context) error {
	if err := s.readFindings(ctx); err != nil {
		return toExitError(err, "")
	}
	margin, now := readExpiryMargin(ctx, s.client), time.Now()
	forecasts, errs := make([]scheduleForecast, len(s.reqs)), make([]error, len(s.reqs))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	slots := make(chan struct{}, concurrentForecasts)
	for i := range s.reqs {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			req := &s.reqs[i]
			forecasts[i], errs[i] = forecastSchedule(ctx, s.client, req,
				s.findings[req.PaymentIntent], margin, now)
			if errs[i] != nil {
				stop() // the others would most likely fail too
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return toExitError(err, "")
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range forecasts {
		if err := s.recordForecast(i, &forecasts[i], now); err != nil {
			return err
		}
	}
	s.showProgress()
	s.reqs, s.lineNumbers, s.batchBytes = s.reqs[:0], s.lineNumbers[:0], 0
	return nil
}

// readFindings reads once what the last comparison with Stripe found without a hold.
func (s *fileScheduler) readFindings(ctx context.Context) error {
	if s.findings != nil {
		return nil
	}
	run, err := listIntentsWithoutHold(ctx, s.client)
	if err != nil && !errors.Is(err, &api.Problem{Code: api.ReconcileRunNotFound}) {
		return err
	}
	s.findings = map[string]*api.Finding{}
	for i := range run.Findings {
		s.findings[run.Findings[i].PaymentIntent] = &run.Findings[i]
	}
	return nil
}

// recordForecast counts what holdd would answer to the hold at an index of the batch. A line
// before it may have scheduled its intent.
func (s *fileScheduler) recordForecast(i int, forecast *scheduleForecast, now time.Time) error {
	req := &s.reqs[i]
	refusal, isScheduled := forecast.refusal, forecast.existing != nil
	if first := s.acceptedHold(req.PaymentIntent, now); first != nil && !isScheduled {
		refusal, isScheduled = req.RefuseUnlessRepeats(first, now), true
	}
	problem, refused := errors.AsType[*hold.Problem](refusal)
	switch {
	case refused:
		answer := answerWithRefusal(problem)
		r := api.BatchResult{Status: answer.Status, Problem: answer}
		return s.recordRejectedLine(rejectedLine{s.lineNumbers[i], r, *req})
	case isScheduled:
		s.alreadyScheduled++
		return nil
	}
	if err := s.keepAccepted(forecast.known); err != nil {
		return err
	}
	s.created++
	if forecast.atOnce == "" {
		return nil
	}
	s.immediate++
	line := immediateLine{s.lineNumbers[i], true, forecast.atOnce, *req}
	if s.asJSON {
		return s.connectionFlags.out.printJSONLine(line)
	}
	if len(s.dueLines) < maxListedFailures {
		s.dueLines = append(s.dueLines, line)
	}
	return nil
}

// keepAccepted keeps the request of a line that would be scheduled. As JSON it takes a fraction of
// the memory of a hold.
func (s *fileScheduler) keepAccepted(req *hold.ScheduleRequest) error {
	text, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if s.accepted == nil {
		s.accepted = map[string][]byte{}
	}
	s.accepted[req.PaymentIntent] = text
	return nil
}

// acceptedHold returns the hold that a line before would create for an intent, nil if none would.
func (s *fileScheduler) acceptedHold(intent string, now time.Time) *hold.Hold {
	var req hold.ScheduleRequest
	if json.Unmarshal(s.accepted[intent], &req) != nil { // no line has the intent
		return nil
	}
	valid, err := req.Validate(now)
	if err != nil {
		return nil
	}
	d, err := hold.DecideNewHold(valid, nil, "", now)
	if err != nil {
		return nil
	}
	return &d.Hold
}

// printDryRunSummary prints the lines that would move money at once and the counts.
func (s *fileScheduler) printDryRunSummary(err error) error {
	out := s.connectionFlags.out
	if len(s.dueLines) > 0 {
		if len(s.failures) > 0 {
			fmt.Fprintln(out.stdout)
		}
		rows := &listPrinter[immediateLine]{out: out, format: formatTable,
			columns: immediateLineColumns()}
		if printErr := rows.print(s.dueLines); printErr != nil {
			return printErr
		}
	}
	out.printSummary("dry run, nothing was done: %d would be scheduled, %d already scheduled, "+
		"%d rejected", s.created, s.alreadyScheduled, s.failed)
	if s.immediate > 0 {
		out.printSummary("%d of the lines would move money at once, after a question or with --yes",
			s.immediate)
	}
	if err != nil {
		unchecked := s.linesRead - s.created - s.alreadyScheduled - s.failed
		out.printSummary("stopped: %d of %s %s not checked", unchecked,
			hold.FormatCount(s.linesRead, "line", "lines"), wasOrWere(unchecked))
	}
	out.printSummary("%s", uncheckedLines)
	return s.summaryError(err)
}

func immediateLineColumns() []column[immediateLine] {
	intent := everywhere("hold", func(l *immediateLine) string { return l.req.PaymentIntent })
	intent.narrow = 30
	return []column[immediateLine]{
		everywhere("line", func(l *immediateLine) string { return fmt.Sprint(l.Line) }), intent,
		wrapped("would at once", func(l *immediateLine) string { return l.Would })}
}
