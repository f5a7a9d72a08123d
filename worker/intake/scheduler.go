package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxConcurrentRetrieves bounds the concurrent retrieves of one batch.
	maxConcurrentRetrieves = 16
	// retrieveTimeout bounds one retrieve, because a booking system waits for
	// the answer.
	retrieveTimeout = 3 * time.Second
	// retrieveBudgetWait is how long the retrieves of one request wait for the
	// read budget. The burst of the budget is a few reads, and bookings come
	// several at a time.
	retrieveBudgetWait = time.Second
)

// ScheduleResult is the answer to one schedule request. Err is a
// *[hold.Problem] if the request is invalid or conflicts with the hold. Any
// other error wraps [health.ErrUnavailable]; the caller may repeat the request.
type ScheduleResult struct {
	Hold    hold.Hold
	Created bool // false if the same request was accepted before
	Err     error
}

// SchedulerOptions configure a [Scheduler].
type SchedulerOptions struct {
	Rules  hold.DecisionRules
	Clock  *clock.RedisClock
	Health *health.Reporter
}

// Scheduler accepts schedule requests. It is safe for concurrent use.
type Scheduler struct {
	holds     HoldReader   // store.Holds
	stripe    StripeCaller // gateway.Caller
	committer Committer    // commit.Committer
	o         SchedulerOptions
}

// NewScheduler returns a scheduler that reads holds, retrieves intents through
// stripe and writes through committer.
func NewScheduler(
	holds HoldReader, stripe StripeCaller, committer Committer, o SchedulerOptions,
) *Scheduler {
	return &Scheduler{holds: holds, stripe: stripe, committer: committer, o: o}
}

// Schedule decides each request on its own and returns the results in the order
// of reqs. It retrieves the intent of a request that lacks amount, currency or
// expires_at, if the read budget allows it within [retrieveBudgetWait], and
// accepts other holds unverified. by is the author in the holds' history.
func (s *Scheduler) Schedule(
	ctx context.Context, reqs []hold.ScheduleRequest, by string,
) []ScheduleResult {
	results := make([]ScheduleResult, len(reqs))
	todo := make([]int, len(reqs))
	for i := range reqs {
		todo[i] = i
	}
	for round := 0; len(todo) > 0; round++ {
		first, distinct, duplicates := splitDuplicateRequests(reqs, todo)
		todo = s.tryScheduleBatch(ctx, reqs, distinct, results, by)
		for _, i := range duplicates {
			result, ok := s.answerDuplicateInBatch(&reqs[i], &results[first[reqs[i].PaymentIntent]])
			if !ok {
				todo = append(todo, i)
				continue
			}
			results[i] = result
		}
		if round >= len(reqs)+maxConflictRetries {
			for _, i := range todo {
				results[i] = ScheduleResult{Err: tooManyConflictsError(reqs[i].PaymentIntent)}
			}
			break
		}
	}
	return results
}

// splitDuplicateRequests splits the requests of todo: distinct has the first
// request for each intent, and duplicates the others. first maps each intent to
// its first request.
func splitDuplicateRequests(
	reqs []hold.ScheduleRequest, todo []int,
) (first map[string]int, distinct, duplicates []int) {
	first = make(map[string]int, len(todo))
	for _, i := range todo {
		if _, seen := first[reqs[i].PaymentIntent]; seen {
			duplicates = append(duplicates, i)
			continue
		}
		first[reqs[i].PaymentIntent] = i
		distinct = append(distinct, i)
	}
	return first, distinct, duplicates
}

// answerDuplicateInBatch compares a request with the hold that an earlier request of
// the same batch created. ok is false if the earlier request created no hold.
func (s *Scheduler) answerDuplicateInBatch(
	req *hold.ScheduleRequest, earlier *ScheduleResult,
) (result ScheduleResult, ok bool) {
	now := s.o.Clock.Now()
	if _, err := req.Validate(now); err != nil {
		return ScheduleResult{Err: err}, true
	}
	if earlier.Err != nil || earlier.Hold.ID == "" {
		return ScheduleResult{}, false
	}
	return answerForExistingHold(&earlier.Hold, req.RefuseUnlessRepeats(&earlier.Hold, now)), true
}

// newHoldCandidate is a validated request for an intent that has no hold yet.
type newHoldCandidate struct {
	index  int // of its result
	valid  *hold.ValidRequest
	answer hold.Answer // to the retrieve of the intent; zero if none was sent
}

// tryScheduleBatch decides requests for different intents. It returns the
// requests that conflict with another writer and must be decided again; their
// results are left empty.
func (s *Scheduler) tryScheduleBatch(
	ctx context.Context, reqs []hold.ScheduleRequest, todo []int, results []ScheduleResult,
	by string,
) (conflicts []int) {
	ids := make([]string, len(todo))
	for n, i := range todo {
		ids[n] = reqs[i].PaymentIntent
	}
	existing, now, err := s.holds.ReadHolds(ctx, ids...)
	unreadable := hold.UnreadableHoldIDsInError(err)
	if err != nil {
		err = s.o.Health.ReportAndWrapUnavailable(ctx, "read holds", err)
	}
	if err != nil && unreadable == nil {
		for _, i := range todo {
			results[i] = ScheduleResult{Err: err}
		}
		return nil
	}
	s.o.Clock.AdjustTo(now)
	var candidates []newHoldCandidate
	for n, i := range todo {
		if slices.Contains(unreadable, ids[n]) {
			results[i] = ScheduleResult{Err: hold.NewUnreadableProblem(ids[n])}
			continue
		}
		valid, result := validateOrAnswerFromExistingHold(&reqs[i], existing[n], now)
		if valid == nil {
			results[i] = result
			continue
		}
		candidates = append(candidates, newHoldCandidate{index: i, valid: valid})
	}
	s.retrieveIntentsIfNeeded(ctx, candidates)
	var changes []commit.Change
	var indices []int // of the changes' results
	for i := range candidates {
		c := &candidates[i]
		decision, err := decideOrRefuseNewHold(c, by, now, s.o.Rules)
		if err != nil {
			results[c.index] = ScheduleResult{Err: err}
			continue
		}
		changes = append(changes, commit.Change{Before: &hold.Hold{}, Decision: decision, At: now})
		indices = append(indices, c.index)
	}
	return s.commitNewHolds(ctx, changes, indices, results)
}

// decideOrRefuseNewHold decides about a new hold, and refuses a decision that
// the rules do not allow for a request.
func decideOrRefuseNewHold(
	c *newHoldCandidate, by string, now time.Time, rules hold.DecisionRules,
) (hold.Decision, error) {
	d, err := decideNewHold(c, by, now)
	if err == nil {
		d, err = d.RefuseIfCaptureTooLate(&hold.Hold{}, now, rules)
	}
	if err == nil {
		d, err = d.RefuseUnlessPolicyActionConfirmed(&hold.Hold{}, c.valid.Confirm, now, rules)
	}
	return d, err
}

// validateOrAnswerFromExistingHold validates a request. It returns the valid request if the
// intent has no hold yet, the result otherwise.
func validateOrAnswerFromExistingHold(
	req *hold.ScheduleRequest, existing *hold.Hold, now time.Time,
) (*hold.ValidRequest, ScheduleResult) {
	if existing != nil {
		return nil, answerForExistingHold(existing, req.RefuseUnlessRepeats(existing, now))
	}
	valid, err := req.Validate(now)
	return valid, ScheduleResult{Err: err}
}

// decideNewHold decides the hold of a candidate.
func decideNewHold(c *newHoldCandidate, by string, now time.Time) (hold.Decision, error) {
	switch {
	case c.answer.Kind == hold.AnswerNotFound:
		return hold.Decision{}, &hold.Problem{Code: hold.IntentNotFound, Field: "payment_intent",
			Detail: fmt.Sprintf("Stripe doesn't know %s under this key and account: "+
				"check the id, the account, and test or live mode", c.valid.ID)}
	case c.answer.Kind == hold.AnswerOK:
		return hold.DecideNewHold(c.valid, c.answer.Intent, by, now)
	case c.valid.NamesCurrencyOnly():
		return hold.Decision{}, fmt.Errorf("%w: %s", health.ErrCurrencyUnchecked, c.valid.ID)
	}
	return hold.DecideNewHold(c.valid, nil, by, now)
}

// commitNewHolds writes new holds and fills in their results. It returns the
// requests whose intents another writer scheduled first.
func (s *Scheduler) commitNewHolds(
	ctx context.Context, changes []commit.Change, indices []int, results []ScheduleResult,
) (conflicts []int) {
	if len(changes) == 0 {
		return nil
	}
	written, err := s.committer.CommitWithRetry(ctx, changes)
	if err != nil {
		err = s.o.Health.ReportAndWrapUnavailable(ctx, "write holds", err)
	}
	for n, i := range indices {
		switch {
		case err != nil:
			results[i] = ScheduleResult{Err: err}
		case written[n]:
			results[i] = ScheduleResult{Hold: changes[n].Decision.Hold, Created: true}
			results[i].Hold.Version = 1
		default:
			conflicts = append(conflicts, i)
		}
	}
	return conflicts
}

// retrieveIntentsIfNeeded retrieves the intents of candidates whose requests lack
// amount, currency or expires_at, as the read budget allows.
func (s *Scheduler) retrieveIntentsIfNeeded(ctx context.Context, candidates []newHoldCandidate) {
	var calls []hold.Call
	var of []int
	for i := range candidates {
		if d := candidates[i].valid; d.NeedsIntentRetrieval() {
			calls = append(calls,
				hold.Call{Op: hold.OpRead, PaymentIntent: d.ID, Account: d.Account,
					MayBeMissing: true})
			of = append(of, i)
		}
	}
	if len(calls) == 0 || s.stripe.IsKeyRejected() {
		return
	}
	batch := execute.CallBatchOptions{Concurrency: maxConcurrentRetrieves, Timeout: retrieveTimeout,
		MaxWait: retrieveBudgetWait, Priority: hold.PriorityRequested}
	s.stripe.DoEach(ctx, calls, batch, func(i int, a hold.Answer) {
		candidates[of[i]].answer = a
	})
}

// answerForExistingHold answers a request for an intent that has a hold. err says
// why it does not repeat the request that created the hold.
func answerForExistingHold(h *hold.Hold, err error) ScheduleResult {
	if errors.Is(err, &hold.Problem{Code: hold.HoldExists}) {
		return ScheduleResult{Hold: *h, Err: err}
	}
	if err != nil {
		return ScheduleResult{Err: err}
	}
	return ScheduleResult{Hold: *h}
}
