package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

const callbackDescription = "What holdd sends to `callback_url`. Signed as " +
	"[Standard Webhooks](https://www.standardwebhooks.com) describe it: verify the signature of the body as it arrived, refuse a timestamp that is " +
	"more than five minutes off, and ignore a `webhook-id` that you have seen. Events of one " +
	"hold arrive in their order. Ignore types that you do not know: later releases add some. " +
	"holdd repeats a delivery without a 2xx for three days."

// addCallbackDocs adds what holdd sends to callback_url.
func addCallbackDocs(o *huma.OpenAPI) error {
	h := exampleHold()
	captured := exampleErasedHold()
	captured.Reference, captured.Metadata = h.Reference, h.Metadata
	captured.Cause = "schedule"
	failing := h.CreatedAt
	o.Webhooks = map[string]*huma.PathItem{}
	for _, c := range []struct {
		name, summary, about string
		example              event.Envelope
	}{
		{"holdEvent", "An event about a hold", "`type` begins with `hold.`, and `data.hold` is " +
			"the hold after the event.",
			event.Envelope{ID: "evt_3PxYzA2eZvKYlo2C1gQmT0aB_3tmj0v3a10_1",
				Type: hold.EventCaptured, Timestamp: *captured.SettledAt,
				Data: event.EventData{Hold: captured, Cause: "schedule"}}},
		{"systemEvent", "An event about the daemon", "`data` has the fields of its `type` and " +
			"no `hold`.",
			event.Envelope{ID: "evt_k3v7q2m5x6c4b2zak3v7", Type: event.Orphan, Timestamp: failing,
				Data: event.EventData{Intent: &event.IntentWithoutHold{
					PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aC", Amount: 8000, Currency: "eur",
					Detail: "no terms: left alone"}}}},
	} {
		example, err := toJSONValue(c.example)
		if err != nil {
			return err
		}
		o.Webhooks[c.name] = &huma.PathItem{Post: &huma.Operation{
			OperationID: c.name, Method: http.MethodPost, Tags: []string{"callbacks"},
			Summary: c.summary, Description: c.about,
			Parameters: callbackHeaders(), Security: []map[string][]string{},
			RequestBody: &huma.RequestBody{Required: true,
				Content: map[string]*huma.MediaType{"application/json": {
					Schema: o.Components.Schemas.Schema(reflect.TypeFor[event.Envelope](), true,
						""),
					Example: example}}},
			Responses: map[string]*huma.Response{
				"2XX": {Description: "Accepted. holdd does not read the body"},
				"410": {Description: "The receiver wants no more events, until its address " +
					"changes"},
				"default": {Description: "Not accepted: holdd repeats the delivery"},
			}}}
	}
	return nil
}

func callbackHeaders() []*huma.Param {
	header := func(name, kind, description, example string) *huma.Param {
		return &huma.Param{Name: name, In: "header", Required: true, Description: description,
			Example: example, Schema: &huma.Schema{Type: kind}}
	}
	traceparent := header("traceparent", huma.TypeString, "The span of this attempt, as W3C Trace "+
		"Context, if traces are on", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	traceparent.Required = false
	return []*huma.Param{
		header("webhook-id", huma.TypeString, "The id of the event, the same in each attempt",
			"evt_3PxYzA2eZvKYlo2C1gQmT0aB_3tmj0v3a10_1"),
		header("webhook-timestamp", huma.TypeString, "Unix time of this attempt in seconds",
			"1796122800"),
		header("webhook-signature", huma.TypeString, "`v1,` and the base64 of the HMAC-SHA256 of "+
			"id, timestamp and body, joined by full stops. Several are separated by spaces",
			"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
		traceparent,
	}
}
