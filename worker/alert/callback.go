package alert

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// CallbackEndpoint is the receiver of events: an HTTP endpoint that checks
// signatures as Standard Webhooks describes them.
type CallbackEndpoint struct {
	URL         string
	Secret      string   // whsec_ and base64
	MinSeverity Severity // 0 means every event
}

const callbackSinkName = "callback"

func newCallbackSink(o *Options) (*sink, error) {
	c := o.Callback
	hook, err := standardwebhooks.NewWebhook(c.Secret)
	if err != nil {
		return nil, errors.New("invalid callback_secret: " +
			"want whsec_ and the base64 of 24 to 64 random bytes")
	}
	s := &callbackSender{url: c.URL, signer: hook, client: newHTTPClient(o.Transport),
		userAgent: "holdd/" + o.Version, tracer: o.Tracer}
	return &sink{name: callbackSinkName, addressDigest: hashSinkAddress(c.URL),
		minSeverity: c.MinSeverity, maxConcurrent: maxConcurrentSends, send: s.send}, nil
}

// callbackSender posts signed events.
type callbackSender struct {
	url       string
	signer    *standardwebhooks.Webhook
	client    *http.Client
	userAgent string
	tracer    DeliveryTracer // may be nil
}

// send posts one event, signed with the time of this attempt.
func (s *callbackSender) send(ctx context.Context, messages []sinkMessage) deliveryOutcome {
	m, now := &messages[0], time.Now()
	signature, err := s.signer.Sign(m.eventID, now, m.eventJSON)
	if err != nil {
		return deliveryOutcome{result: resultFailed, reason: "the event could not be signed"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url,
		bytes.NewReader(m.eventJSON))
	if err != nil {
		return deliveryOutcome{result: resultFailed, reason: "callback_url cannot be used"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.userAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.eventID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	end := s.startSpanAndSetTraceHeaders(req, m)
	out := sendHTTPRequest(s.client, req)
	if end != nil {
		end(out.status, resultNames[out.result])
	}
	return out
}

// startSpanAndSetTraceHeaders begins the span of an attempt. It returns nil if
// there is none.
func (s *callbackSender) startSpanAndSetTraceHeaders(
	req *http.Request, m *sinkMessage,
) func(status int, result string) {
	if s.tracer == nil || m.traceparent == "" {
		return nil
	}
	return s.tracer.StartDelivery(req.Context(), m.traceparent, m.eventID, s.url, req.Header)
}
