package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
)

const (
	callbackTolerance     = 5 * time.Minute
	maxCallbackSignatures = 10
	minSecretBytes        = 16
)

// CallbackError reports a callback that holdd did not send, or that is too old.
// Answer it with 400.
type CallbackError struct{ Reason string }

// Error returns the reason.
func (c *CallbackError) Error() string { return c.Reason }

// VerifyCallback verifies a callback as Standard Webhooks describe it, and
// returns its event. body is the body as it arrived. A secret is callback_secret:
// whsec_ and base64; give both while it is changed. The caller ignores an event
// whose ID it has seen.
//
// An error is a *[CallbackError], apart from that of an invalid secret.
func VerifyCallback(body []byte, h http.Header, secrets ...string) (e event.Envelope, err error) {
	id, timestamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	signatures := h.Get("Webhook-Signature")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	switch age := time.Since(time.Unix(seconds, 0)).Abs(); {
	case id == "" || err != nil || signatures == "":
		return e, &CallbackError{"missing or invalid header webhook-id, webhook-timestamp or " +
			"webhook-signature"}
	case age > callbackTolerance:
		return e, &CallbackError{"webhook-timestamp is too far from the current time"}
	}
	content := append([]byte(id+"."+timestamp+"."), body...)
	for _, secret := range secrets {
		signed, err := hasValidSignature(content, signatures, secret)
		switch {
		case err != nil:
			return e, err
		case !signed:
			continue
		case json.Unmarshal(body, &e) != nil || e.ID != id:
			return event.Envelope{}, &CallbackError{"webhook-id is not the id of the event"}
		}
		return e, nil
	}
	return e, &CallbackError{"no signature is valid"}
}

func hasValidSignature(content []byte, signatures, secret string) (bool, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) < minSecretBytes {
		return false, errors.New("invalid secret: want whsec_ and base64")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for i, signature := range strings.Fields(signatures) {
		if i < maxCallbackSignatures && hmac.Equal([]byte(signature), want) {
			return true, nil
		}
	}
	return false, nil
}
