package gateway

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/paymentintent"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// Do sends a call whose request the caller has reserved, through [Gateway.Do].
func (c *Caller) Do(ctx context.Context, call hold.Call) (hold.Answer, error) {
	return c.sendThroughBreaker(ctx, call, c.o.Timeout)
}

// WaitForBudgetAndSend reserves a request, waiting at most maxWait for the
// budget, and sends the call.
func (c *Caller) WaitForBudgetAndSend(
	ctx context.Context, call hold.Call, maxWait time.Duration,
) (hold.Answer, error) {
	if err := c.WaitForBudget(ctx, call, maxWait); err != nil {
		return hold.Answer{}, err
	}
	return c.sendThroughBreaker(ctx, call, c.o.Timeout)
}

// WaitForBudget reserves one request and waits until it may be sent. It returns
// an error if the budget allows none within maxWait.
func (c *Caller) WaitForBudget(ctx context.Context, call hold.Call, maxWait time.Duration) error {
	deadline := time.Now().Add(maxWait)
	for {
		reserved, err := c.budget.ReserveRequests(ctx, hold.BudgetRequest{
			Account: call.Account, Op: call.Op.RateLimitBucket(), Requests: 1, Ahead: ReserveAhead,
			Priority: callPriority(call.Op),
		})
		if err != nil {
			c.o.Health.ReportError(ctx, "reserve a request", err)
			return &hold.CallNotSentError{Reason: "the budget is unavailable",
				RetryAfter: notSentRetry}
		}
		r := reserved[0]
		wait := r.First
		if r.Requests == 0 {
			wait = r.Wait
			if time.Now().Add(wait).After(deadline) {
				return &hold.CallNotSentError{
					Reason:     "the budget for requests to Stripe is used up",
					RetryAfter: wait,
				}
			}
		}
		if !execute.SleepUnlessCanceled(ctx, wait) {
			return &hold.CallNotSentError{Reason: "the caller canceled", RetryAfter: notSentRetry}
		}
		if r.Requests > 0 {
			return nil
		}
	}
}

// Outcomes of a call for the breaker.
var (
	errNoAnswer       = errors.New("no answer from Stripe")
	errCallerCanceled = errors.New("the caller canceled")
)

// sendThroughBreaker sends one call through the breaker.
func (c *Caller) sendThroughBreaker(
	ctx context.Context, call hold.Call, timeout time.Duration,
) (hold.Answer, error) {
	report, err := c.breaker.Allow()
	if err != nil {
		notSent := &hold.CallNotSentError{Reason: "Stripe unavailable", RetryAfter: notSentRetry}
		return hold.Answer{}, notSent
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	var a hold.Answer
	if c.o.Tracer == nil {
		a = c.client.Do(bounded, call)
	} else {
		a = c.doTraced(bounded, call)
	}
	execute.ReportProgress(ctx, 0)
	if ctx.Err() != nil && !isConclusive(a.Kind) {
		report(errCallerCanceled) // not a failure of Stripe
		return a, nil
	}
	c.recordAnswerInBreakerAndKeyState(report, a)
	if c.o.Observer != nil {
		c.o.Observer.CallFinished(opForMetrics(call.Op), a.Kind, time.Since(began))
	}
	if c.recordAnswerAndCheckUntrusted404(&call, &a) {
		a.Kind, a.Code = hold.AnswerForbidden, wrongKeyCode
	}
	c.lowerRateOrPauseRequests(ctx, call, a, began)
	return a, nil
}

// recordAnswerInBreakerAndKeyState reports to the breaker whether Stripe answered, and
// records whether Stripe accepts the key. A replayed error is an answer: Stripe
// is available and repeats an error that it stored.
func (c *Caller) recordAnswerInBreakerAndKeyState(report func(error), a hold.Answer) {
	if !isConclusive(a.Kind) {
		c.outage.recordUnanswered(a)
		report(errNoAnswer)
		return
	}
	c.outage.forgetUnloggedOutage()
	report(nil)
	rejected := a.Kind == hold.AnswerUnauthorized
	if !c.keyRejected.CompareAndSwap(!rejected, rejected) {
		return
	}
	if rejected {
		c.o.Logger.Error("Stripe rejects the key: claims paused; "+
			"set stripe_api_key to a valid key and restart",
			zap.String("request_id", a.RequestID))
		return
	}
	c.o.Logger.Info("Stripe accepts the key again")
}

// recordAnswerAndCheckUntrusted404 records whether Stripe found the intent of a
// call. It reports whether a 404 must not be believed, because Stripe has found
// none of many intents of the account. The answer then counts as a 403: the
// hold is tried again later and does not require attention.
func (c *Caller) recordAnswerAndCheckUntrusted404(call *hold.Call, a *hold.Answer) bool {
	suspected, changed := c.missing.recordAnswer(call, a.Kind)
	if changed && suspected {
		c.o.Logger.Error("Stripe does not find many PaymentIntents in a row: wrong key? "+
			"Claims of the account paused; set stripe_api_key to a key of the account of these holds",
			zap.String("account", call.Account), zap.Int("payment_intents", missingIntentsLimit),
			zap.String("payment_intent", call.PaymentIntent), zap.String("request_id", a.RequestID))
	}
	if changed && !suspected {
		c.o.Logger.Info("Stripe finds PaymentIntents again: claims of the account resume",
			zap.String("account", call.Account))
	}
	return suspected && a.Kind == hold.AnswerNotFound
}

// lowerRateOrPauseRequests lowers the rate after a 429, and pauses a kind of
// request after a 403, for all replicas. It ignores checks, which use no
// budget.
func (c *Caller) lowerRateOrPauseRequests(
	ctx context.Context, call hold.Call, a hold.Answer, began time.Time,
) {
	var err error
	switch {
	case call.Op == hold.OpCheck:
	case a.RateLimited:
		c.rateLimited.Add(1)
		if a.RateLimitScope != hold.LimitOfObject {
			err = c.budget.LowerRate(
				ctx, call.Account, call.Op.RateLimitBucket(), a.RateLimitScope, time.Since(began))
		}
	case a.Code == wrongKeyCode:
		err = c.budget.PauseOpOfAccount(ctx, call.Account, call.Op.RateLimitBucket(),
			missingIntentsPause)
	case a.Kind == hold.AnswerForbidden:
		c.o.Logger.Error("Stripe forbids this request: "+
			"give the key the permission, or check the connected account",
			zap.String("account", call.Account),
			zap.Stringer("op", call.Op),
			zap.String("code", a.Code),
			zap.String("message", a.Message),
			zap.String("request_id", a.RequestID))
		err = c.budget.PauseOpOfAccount(ctx, call.Account, call.Op.RateLimitBucket(),
			forbiddenPause)
	}
	if err != nil {
		c.o.Health.ReportError(ctx, "slow down an account", err)
	}
}

// callPriority returns the priority of a single call. A batch has its own.
func callPriority(op hold.Op) hold.RateLimitPriority {
	switch op {
	case hold.OpCapture, hold.OpCancel:
		return hold.PriorityDue
	case hold.OpUpdate:
		return hold.PriorityMirror
	case hold.OpList:
		return hold.PriorityVerify // many intents at once, which no request waits for
	}
	return hold.PriorityRequested // an increment too: a person waits for it
}

// isConclusive reports whether an answer says what happened to the request.
func isConclusive(k hold.AnswerKind) bool {
	return k != hold.AnswerUnknown && k != hold.AnswerUnreachable
}

// opForMetrics returns the operation under which a call is counted.
func opForMetrics(op hold.Op) hold.Op {
	if op == hold.OpCheck {
		return op
	}
	return op.RateLimitBucket()
}

// Do sends one request and classifies the response. It makes one attempt,
// bounded by the gateway's timeout and ctx, and never panics.
//
// The answer to a list has a [hold.Answer.Page]. The answer to an
// authorization, a confirmation or a read has a [hold.Answer.Cardholder]. Do
// does not send an invalid call: its answer is [hold.AnswerInvalid] with
// HTTPStatus 0.
func (g *Gateway) Do(ctx context.Context, c hold.Call) hold.Answer {
	if err := validateCall(&c); err != nil {
		return invalidCallAnswer(err)
	}
	switch c.Op {
	case hold.OpCapture:
		return g.intents.captureIntent(ctx, c)
	case hold.OpCancel:
		return g.intents.cancelIntent(ctx, c)
	case hold.OpIncrement:
		return g.intents.incrementIntent(ctx, c)
	case hold.OpRead:
		return g.intents.retrieveIntent(ctx, c)
	case hold.OpAuthorize:
		return g.authorizations.createAndConfirmIntent(ctx, c)
	case hold.OpConfirm:
		return g.authorizations.confirmIntent(ctx, c)
	case hold.OpCreate:
		return g.authorizations.createUnconfirmedIntent(ctx, c)
	case hold.OpSetUpCard:
		return g.cardSetups.createCardSetupSession(ctx, c)
	case hold.OpReadCardSetup:
		return g.cardSetups.retrieveCardSetupSession(ctx, c)
	case hold.OpUpdate:
		return g.intents.updateIntentMetadata(ctx, c)
	case hold.OpList:
		return g.lists.listPageByContent(ctx, c)
	default: // validateCall accepts no other
		return g.lists.probeAPIKey(ctx)
	}
}

// intentClient retrieves and changes PaymentIntents that exist.
type intentClient struct {
	api    paymentintent.Client
	sender *requestSender
}

// captureIntent captures an intent. Stripe releases the rest of the amount,
// unless the call keeps it.
func (cl *intentClient) captureIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentCaptureParams{}
	switch {
	case c.ReleaseRest:
		p.AmountToCapture, p.FinalCapture = stripe.Int64(0), stripe.Bool(true)
	case c.Amount != 0:
		p.AmountToCapture = &c.Amount
	}
	if c.KeepRest {
		p.FinalCapture = stripe.Bool(false)
	}
	setOptionalCaptureParams(p, c.CaptureParams)
	params := func(ctx context.Context) stripe.ParamsContainer {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return p
	}
	return cl.sendCaptureOrCancel(ctx, c, "capture", params)
}

// setOptionalCaptureParams sets the parameters beside the amount. Each attempt under a
// key sends the same.
func setOptionalCaptureParams(p *stripe.PaymentIntentCaptureParams, from hold.CaptureParams) {
	if from.ApplicationFeeAmount > 0 {
		p.ApplicationFeeAmount = &from.ApplicationFeeAmount
	}
	if from.TransferData.Amount > 0 {
		p.TransferData = &stripe.PaymentIntentTransferDataParams{Amount: &from.TransferData.Amount}
	}
	if from.StatementDescriptorSuffix != "" {
		p.StatementDescriptorSuffix = &from.StatementDescriptorSuffix
	}
	p.Metadata = from.CaptureMetadata
}

// cancelIntent cancels an intent, which releases the whole amount.
func (cl *intentClient) cancelIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentCancelParams{CancellationReason: &c.CancellationReason}
	params := func(ctx context.Context) stripe.ParamsContainer {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return p
	}
	return cl.sendCaptureOrCancel(ctx, c, "cancel", params)
}

// emptyStripeResource is the object that stripe-go decodes instead of a body
// that the gateway reads.
type emptyStripeResource struct{ stripe.APIResource }

// sendCaptureOrCancel sends a capture or a cancel. It decodes the body of a
// 200, which tracingTransport puts into the trace's bodyBuffer, because
// stripe-go reads a body six times, into a struct of some hundred fields. That
// was a fifth of the CPU time of a capture. stripe-go decodes errors.
func (cl *intentClient) sendCaptureOrCancel(
	ctx context.Context, c hold.Call, action string,
	params func(context.Context) stripe.ParamsContainer,
) hold.Answer {
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		trace := ctx.Value(callTraceContextKey{}).(*callTrace)
		trace.bodyBuffer = bodyBuffers.Get().(*bytes.Buffer)
		defer func() {
			trace.bodyBuffer.Reset()
			bodyBuffers.Put(trace.bodyBuffer) // holds at most maxBodyBytes
			trace.bodyBuffer = nil
		}()
		path := stripe.FormatURLPath("/v1/payment_intents/%s/"+action, c.PaymentIntent)
		backend, key := cl.api.B, cl.api.Key
		err := backend.Call(http.MethodPost, path, key, params(ctx), &emptyStripeResource{})
		if err != nil || !trace.bodyComplete {
			return nil, err
		}
		return decodeStripeIntent(trace.bodyBuffer.Bytes())
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
}

// retrieveIntent retrieves an intent with its charge and its review.
func (cl *intentClient) retrieveIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{Expand: intentExpandParams()}
	r := classifyOptions{intentID: c.PaymentIntent}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, "")
		return cl.api.Get(c.PaymentIntent, p)
	}
	return cl.sender.sendWithCardholderAction(ctx, r, send)
}

// incrementIntent raises the authorized amount to a new total. The answer has
// the intent with its charge.
func (cl *intentClient) incrementIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentIncrementAuthorizationParams{
		Amount: &c.Amount, Expand: intentExpandParams(),
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.IncrementAuthorization(c.PaymentIntent, p)
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
}

// updateIntentMetadata sets pairs of an intent's metadata. An empty value
// removes its pair. Other pairs do not change. The answer has the updated
// intent with its charge.
func (cl *intentClient) updateIntentMetadata(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{
		Metadata: maps.Clone(c.Metadata), Expand: intentExpandParams(),
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	send := func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return cl.api.Update(c.PaymentIntent, p)
	}
	return cl.sender.sendIntentRequest(ctx, r, send)
}

// captureOrCancelResponseJSON has the fields that the gateway reads from the response to a
// capture or a cancel. The charge of this intent is not expanded.
type captureOrCancelResponseJSON struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Status             string            `json:"status"`
	Currency           string            `json:"currency"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	CancellationReason string            `json:"cancellation_reason"`
	Created            int64             `json:"created"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
}

var lenientJSON = json.JoinOptions(
	jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// decodeStripeIntent decodes a PaymentIntent. It is as lenient as
// encoding/json, so that an invalid byte in a description does not make a
// successful capture unknown.
func decodeStripeIntent(body []byte) (*stripe.PaymentIntent, error) {
	var s captureOrCancelResponseJSON
	if err := json.Unmarshal(body, &s, lenientJSON); err != nil {
		return nil, err
	}
	return &stripe.PaymentIntent{
		ID:                 s.ID,
		Object:             s.Object,
		Status:             stripe.PaymentIntentStatus(s.Status),
		Currency:           stripe.Currency(s.Currency),
		Amount:             s.Amount,
		AmountCapturable:   s.AmountCapturable,
		AmountReceived:     s.AmountReceived,
		CancellationReason: stripe.PaymentIntentCancellationReason(s.CancellationReason),
		Created:            s.Created,
		Livemode:           s.Livemode,
		Metadata:           s.Metadata,
		PaymentMethodTypes: s.PaymentMethodTypes,
	}, nil
}
