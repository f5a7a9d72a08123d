package client_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdd/holdd/worker/api/client"
	"github.com/holdd/holdd/worker/hold"
)

const (
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"
	otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	testEvent   = `{"id":"evt_1","type":"hold.captured","data":{"hold":` +
		`{"id":"pi_1","reference":"BK-1","state":"captured","captured_amount":9900}}}`
)

// signCallback signs with the library of Standard Webhooks.
func signCallback(t *testing.T, id string, at time.Time, secret string) http.Header {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := hook.Sign(id, at, []byte(testEvent))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", signature)
	return h
}

func TestVerifyCallback(t *testing.T) {
	h := signCallback(t, "evt_1", time.Now(), testSecret)
	h.Set("Webhook-Signature", "v1,AAAA v2,x "+h.Get("Webhook-Signature"))
	e, err := client.VerifyCallback([]byte(testEvent), h, otherSecret, testSecret)
	if err != nil || e.ID != "evt_1" || e.Type != hold.EventCaptured ||
		e.Data.Hold.State != hold.Captured.String() || e.Data.Hold.CapturedAmount != 9900 {
		t.Errorf("%+v %v", e, err)
	}
	_, err = client.VerifyCallback([]byte(testEvent), h, "whsec_short")
	if err == nil || errors.As(err, new(*client.CallbackError)) {
		t.Errorf("a short secret: %v", err)
	}
}

func TestVerifyCallback_Refused(t *testing.T) {
	now := time.Now()
	unsigned := signCallback(t, "evt_1", now, testSecret)
	unsigned.Del("Webhook-Signature")
	eleventh := signCallback(t, "evt_1", now, testSecret)
	eleventh.Set("Webhook-Signature", strings.Repeat("v1,AAAA ", 10)+
		eleventh.Get("Webhook-Signature"))
	genuine := signCallback(t, "evt_1", now, testSecret)
	for name, test := range map[string]struct {
		body   string
		header http.Header
	}{
		"another body":        {testEvent + " ", genuine},
		"another secret":      {testEvent, signCallback(t, "evt_1", now, otherSecret)},
		"an old one":          {testEvent, signCallback(t, "evt_1", now.Add(-6*time.Minute), testSecret)},
		"one of the future":   {testEvent, signCallback(t, "evt_1", now.Add(6*time.Minute), testSecret)},
		"another id":          {testEvent, signCallback(t, "evt_2", now, testSecret)},
		"no signature":        {testEvent, unsigned},
		"too many signatures": {testEvent, eleventh},
		"no headers":          {testEvent, http.Header{}},
	} {
		e, err := client.VerifyCallback([]byte(test.body), test.header, testSecret)
		if !errors.As(err, new(*client.CallbackError)) || e.ID != "" {
			t.Errorf("%s: %+v %v", name, e, err)
		}
	}
	if _, err := client.VerifyCallback([]byte(testEvent), genuine); err == nil {
		t.Error("no secret accepts a callback")
	}
}
