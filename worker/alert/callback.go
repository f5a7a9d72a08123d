package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Callback is the receiver of events: an HTTP endpoint that checks signatures
// as Standard Webhooks describes them.
type Callback struct {
	URL         string
	Secret      string   // whsec_ and base64
	MinSeverity Severity // 0 means every event
}

const callbackSinkName = "callback"

func newCallbackSink(o *Options) (*sink, error) {
	c := o.Callback
	hook, err := standardwebhooks.NewWebhook(c.Secret)
	if err != nil {
		return nil, errors.New("invalid callback_secret: want whsec_ and the base64 of 24 to 64 random bytes")
	}
	client := newHTTPClient(o.Transport)
	agent := "holdd/" + o.Version
	return &sink{name: callbackSinkName, addressDigest: newAddressDigest(c.URL),
		minSeverity: c.MinSeverity, maxConcurrent: maxConcurrentSends,
		send: func(ctx context.Context, m []message) deliveryOutcome {
			return postEvent(ctx, client, hook, c.URL, agent, &m[0])
		}}, nil
}

// postEvent signs an event with the time of this attempt and posts it.
func postEvent(
	ctx context.Context, client *http.Client, hook *standardwebhooks.Webhook, url,
	agent string, m *message,
) deliveryOutcome {
	now := time.Now()
	signature, err := hook.Sign(m.eventID, now, m.eventJSON)
	if err != nil {
		return deliveryOutcome{result: resultFailed, reason: "the event could not be signed"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.eventJSON))
	if err != nil {
		return deliveryOutcome{result: resultFailed, reason: "callback_url cannot be used"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", agent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.eventID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return doRequest(client, req)
}

// outcomeFromResponse maps a response to an outcome, as package alert documents
// it.
func outcomeFromResponse(res *http.Response, now time.Time) deliveryOutcome {
	o := deliveryOutcome{reason: "HTTP " + strconv.Itoa(res.StatusCode),
		retryAfter: parseRetryAfter(res.Header.Get("Retry-After"), now)}
	switch code := res.StatusCode; {
	case code/100 == 2:
		return deliveryOutcome{result: resultDelivered}
	case code == http.StatusGone:
		o.result = resultGone
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable &&
		o.retryAfter > 0:
		o.result = resultRetryLater
		o.retryAfter = max(o.retryAfter, sinkBackoffMin)
	case code/100 == 3:
		o.result, o.reason = resultFailed, o.reason+
			": redirects are not followed, set the final address"
	case code == http.StatusBadRequest, code == http.StatusConflict,
		code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		o.result = resultRejected
	default:
		o.result = resultFailed
	}
	return o
}

// parseRetryAfter parses seconds or a date, and returns 0 for anything else.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return min(time.Duration(min(n, 1<<20))*time.Second, 24*time.Hour)
	}
	if t, err := http.ParseTime(s); err == nil && t.After(now) {
		return min(t.Sub(now), 24*time.Hour)
	}
	return 0
}

// describeNetworkError names the kind of a failure. The error itself is not
// safe for logs: it may contain the address, and the address a token.
func describeNetworkError(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %s", sendTimeout)
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &dns):
		return "unknown host name"
	case errors.As(err, &op) && op.Op == "dial":
		return "connection failed"
	}
	return "connection broken, or certificate not trusted"
}
