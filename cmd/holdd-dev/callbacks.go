package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// cardholderKey is the metadata with which the booking system names the
// cardholder.
const cardholderKey = "guest"

// maxCallbackBytes bounds the body of a callback.
const maxCallbackBytes = 1 << 20

// callbackReceiver receives the events that holdd posts, and prints each event
// about a hold once.
type callbackReceiver struct {
	hook *standardwebhooks.Webhook
	out  *printer
	seen sync.Map // ids of the events that were printed
}

// serveCallbacks serves a callbackReceiver on a free port.
func serveCallbacks(out *printer) (url string, stop func(), err error) {
	hook, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		return "", nil, err
	}
	return serveHTTP("127.0.0.1:0", &callbackReceiver{hook: hook, out: out})
}

// ServeHTTP verifies the signature and answers 204. holdd repeats an event
// until it gets a 2xx answer, so a receiver remembers the ids that it has
// processed.
func (r *callbackReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxCallbackBytes))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := r.hook.Verify(body, req.Header); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var e event.Envelope
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, seen := r.seen.LoadOrStore(e.ID, true); !seen {
		r.printEvent(&e)
	}
	w.WriteHeader(http.StatusNoContent)
}

// printEvent prints one line for an event about a hold. The booking system has
// printed its own requests itself.
func (r *callbackReceiver) printEvent(e *event.Envelope) {
	h, cause := &e.Data.Hold, e.Data.Cause
	term, policy := h.OnExpiryOrOnFailure()
	l := line{reference: h.Reference, cardholder: h.Metadata[cardholderKey],
		amount: hold.FormatAmount(h.Amount, h.Currency)}
	switch e.Type {
	case hold.EventCaptured:
		l.amount = hold.FormatAmount(h.CapturedAmount, h.Currency)
		l.color, l.what, l.reason = green, "captured", captureReasons[cause]
		if cause == hold.CauseOnExpiry.String() {
			l.reason = "before the authorization ended, as " + term + " says"
		}
	case hold.EventCanceled:
		l.color, l.what, l.reason = green, "released", "nothing was captured"
	case hold.EventExpiring:
		l.color, l.what = yellow, "warning"
		l.reason = "the authorization ends in " + formatDuration(time.Until(h.ExpiresAt)) +
			"; " + term + " is " + policy
	case hold.EventRetrying:
		l.color, l.what = yellow, "retrying"
		l.reason = "no reply from Stripe; holdd repeats the request"
	case hold.EventRenewed:
		l.color, l.what = green, "renewed"
		l.reason = "a new authorization holds the amount until " + formatClock(h.ExpiresAt.Local()) +
			"; the old one is released"
	case hold.EventRequiresAction:
		l.color, l.what = yellow, "cardholder"
		l.reason = "the bank wants the cardholder before it holds the amount again"
		if r := h.Renewal; r != nil {
			l.reason += "; otherwise on_failure is " + r.OnFailure
		}
	case hold.EventIncremented:
		l.color, l.what, l.reason = green, "raised", "the bank holds the new total"
	case hold.EventExpired:
		l.color, l.what, l.reason = red, "expired", "the card network released the amount"
	case hold.EventAttention:
		l.color, l.what, l.reason = red, "attention", strings.ReplaceAll(cause, "_", " ")
	default:
		return
	}
	r.out.printLine(l)
}

var captureReasons = map[string]string{
	hold.CauseSchedule.String(): "at checkout, as scheduled",
	hold.CauseTrigger.String():  "as requested; Stripe releases the rest",
}
