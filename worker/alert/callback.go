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

// Callback is where events are posted, signed as Standard Webhooks.
type Callback struct {
	URL    string
	Secret string   // whsec_ and base64
	Least  Severity // 0: every event
}

// maxAnswer bounds what is read of an answer, which nobody looks at.
const maxAnswer = 4 << 10

// callbackName is the sink's name.
const callbackName = "callback"

func newCallback(o *Options) (*sink, error) {
	c := o.Callback
	hook, err := standardwebhooks.NewWebhook(c.Secret)
	if err != nil {
		return nil, errors.New("callback_secret is no Standard Webhooks secret: give whsec_ and the base64 of 24 to 64 random bytes")
	}
	client := client(o.Transport)
	agent := "holdd/" + o.Version
	return &sink{name: callbackName, address: digest(c.URL), least: c.Least, atOnce: atOnce, send: func(ctx context.Context, m []message) outcome {
		return post(ctx, client, hook, c.URL, agent, &m[0])
	}}, nil
}

func post(ctx context.Context, client *http.Client, hook *standardwebhooks.Webhook, url, agent string, m *message) outcome {
	now := time.Now()
	signature, err := hook.Sign(m.id, now, m.event)
	if err != nil {
		return outcome{verdict: failed, reason: "it could not be signed"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.event))
	if err != nil {
		return outcome{verdict: failed, reason: "callback_url can't be used"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", agent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return do(client, req)
}

// answered reads an answer as Standard Webhooks has it: any 2xx is taken, 410 is the end.
func answered(res *http.Response, now time.Time) outcome {
	o := outcome{reason: "HTTP " + strconv.Itoa(res.StatusCode), after: retryAfter(res.Header.Get("Retry-After"), now)}
	switch code := res.StatusCode; {
	case code/100 == 2:
		return outcome{verdict: taken}
	case code == http.StatusGone:
		o.verdict = gone
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable && o.after > 0:
		o.verdict = later
		o.after = max(o.after, backoffMin)
	case code/100 == 3:
		o.verdict, o.reason = failed, o.reason+": redirects are not followed, give the final address"
	case code == http.StatusBadRequest, code == http.StatusConflict, code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		o.verdict = refused
	default:
		o.verdict = failed
	}
	return o
}

// retryAfter reads seconds or a date; 0 where there is none.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return min(time.Duration(min(n, 1<<20))*time.Second, 24*time.Hour)
	}
	if t, err := http.ParseTime(s); err == nil && t.After(now) {
		return min(t.Sub(now), 24*time.Hour)
	}
	return 0
}

// network says what kind of failure it was. The error itself may carry the address, which may carry a token.
func network(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %s", sendTime)
	case errors.Is(err, context.Canceled):
		return "cut off"
	case errors.As(err, &dns):
		return "its name is not known"
	case errors.As(err, &op) && op.Op == "dial":
		return "no connection"
	}
	return "the connection broke, or its certificate is not trusted"
}
