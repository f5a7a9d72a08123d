package stripesim_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/spec"

	"github.com/holdd/holdd/worker/stripesim"
)

const dynamicMethodsForm = "amount=1000&currency=eur&capture_method=manual&confirm=true&" +
	"payment_method=pm_card_visa&automatic_payment_methods[enabled]=true&" +
	"automatic_payment_methods[allow_redirects]=never"

// versionClient is a client of a simulator whose accounts have a version.
func versionClient(t testing.TB, version string) *testClient {
	o := unlimitedOptions(1)
	o.APIVersion = version
	return newTestClient(t, o)
}

func TestAPIVersion_EndiveRefusesPaymentMethodTypes(t *testing.T) {
	const code = "payment_method_types_no_longer_supported"
	for account, header := range map[string]string{
		stripesim.NewestAPIVersion: "", "": "2026-09-30.endive", "2023-10-16": "2026-10-28.endive",
	} {
		c := versionClient(t, account)
		var h []string
		if header != "" {
			h = []string{"Stripe-Version", header}
		}
		c.mustFail(400, code, "POST", "/v1/payment_intents", manualCaptureForm+"pm_card_visa", h...)
		in := c.mustSucceed("POST", "/v1/payment_intents", "amount=1000&currency=eur", h...)
		types := "payment_method_types[]=card"
		c.mustFail(400, code, "POST", intentPath(in.id()), types, h...)
		c.mustFail(400, code, "POST", intentPath(in.id(), "confirm"), types, h...)
	}
	for account, header := range map[string]string{
		stripesim.NewestAPIVersion: "2023-10-16", "": "2026-08-26.dahlia",
	} {
		versionClient(t, account).mustSucceed("POST", "/v1/payment_intents",
			manualCaptureForm+"pm_card_visa", "Stripe-Version", header)
	}
}

func TestAPIVersion_DynamicMethodsWorkInEveryVersion(t *testing.T) {
	for _, version := range []string{"2023-10-16", "2025-03-31.basil", stripesim.NewestAPIVersion} {
		a := versionClient(t, version).mustSucceed("POST", "/v1/payment_intents",
			dynamicMethodsForm)
		assertEqual(t, version, a.stringAt("status"), "requires_capture")
		assertEqual(t, version, a.header.Get("Stripe-Version"), version)
	}
}

// A version before the oldest or after the newest that the simulator renders is
// answered as that, and the answer says so.
func TestAPIVersion_Nearest(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	for version, want := range map[string]string{
		"2022-11-15": "2023-10-16", "2024-04-10": "2024-04-10",
		"2011-01-01": "2023-10-16", "2025-03-31.preview": "2025-03-31.preview",
		"2026-10-28.endive": "2026-10-28.endive", "2099-01-01": stripesim.NewestAPIVersion,
		"2026-12-16.endive":        stripesim.NewestAPIVersion,
		stripesim.NewestAPIVersion: stripesim.NewestAPIVersion,
	} {
		a := c.mustSucceed("GET", "/v1/balance", "", "Stripe-Version", version)
		assertEqual(t, version, a.header.Get("Stripe-Version"), want)
	}
}

func TestAPIVersion_AllowedPaymentMethodTypes(t *testing.T) {
	c := versionClient(t, stripesim.NewestAPIVersion)
	form := strings.ReplaceAll(manualCaptureForm, "payment_method_types",
		"allowed_payment_method_types") +
		"pm_card_visa"
	a := c.mustSucceed("POST", "/v1/payment_intents", form)
	assertEqual(t, "status", a.stringAt("status"), "requires_capture")
	assertEqual(t, "allowed", a.stringAt("allowed_payment_method_types.0"), "card")
	assertEqual(t, "computed", a.stringAt("payment_method_types.0"), "card")
	c.mustFail(400, "", "POST", "/v1/payment_intents",
		form+"&automatic_payment_methods[enabled]=true")
}

func TestAPIVersion_DefaultCaptureMethod(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	for version, want := range map[string]string{
		"2023-10-16": "automatic", "2024-04-10": "automatic_async",
		stripesim.NewestAPIVersion: "automatic_async",
	} {
		a := c.mustSucceed("POST", "/v1/payment_intents", "amount=1000&currency=eur",
			"Stripe-Version", version)
		assertEqual(t, version, a.stringAt("capture_method"), want)
	}
}

// TestAPIVersion_BasilShowsNoRefund reads the same objects in two versions.
func TestAPIVersion_BasilShowsNoRefund(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	captured, canceled := c.authorize(stripesim.Hold{}), c.authorize(stripesim.Hold{})
	expired := c.authorize(stripesim.Hold{})
	c.mustSucceed("POST", intentPath(captured, "capture"), "amount_to_capture=400")
	d := c.sim.Dashboard()
	for _, err := range []error{d.OpenReview(canceled), d.Cancel(canceled, "abandoned"),
		c.sim.Dashboard().SetCaptureBefore(expired, c.sim.Now())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	review := ""
	for _, e := range c.get("/v1/events", "types[]=review.closed").body["data"].([]any) {
		review = testResponse{body: e.(map[string]any)}.stringAt("data.object.id")
	}
	for _, v := range []struct {
		version  string
		released int64
		refunded bool
		reason   string
		review   string
	}{
		{"2023-10-16", 600, true, "automatic", "refunded"},
		{"2025-03-31.basil", 0, false, "expired", "canceled"},
		{stripesim.NewestAPIVersion, 0, false, "expired", "canceled"},
	} {
		read := func(path string) testResponse {
			return c.mustSucceed("GET", path+"?expand[]=latest_charge", "", "Stripe-Version",
				v.version)
		}
		a := read(intentPath(captured))
		assertEqual(t, v.version, a.numberAt("latest_charge.amount_refunded"), v.released)
		assertEqual(t, v.version, a.numberAt("latest_charge.amount_captured"), 400)
		a = read(intentPath(canceled))
		assertEqual(t, v.version, a.valueAt("latest_charge.refunded"), any(v.refunded))
		assertEqual(t, v.version, a.numberAt("latest_charge.amount_captured"), 0)
		a = read(intentPath(expired))
		assertEqual(t, v.version, a.stringAt("cancellation_reason"), v.reason)
		a = c.mustSucceed("GET", "/v1/reviews/"+review, "", "Stripe-Version", v.version)
		assertEqual(t, v.version, a.stringAt("closed_reason"), v.review)
	}
}

func TestAPIVersion_EventKeepsItsVersion(t *testing.T) {
	o := unlimitedOptions(1)
	o.Webhook.APIVersion = "2025-03-31.basil"
	var payload map[string]any
	o.OnEvent = func(e stripesim.Event) {
		if e.Type == "payment_intent.canceled" {
			if err := json.Unmarshal(e.Payload, &payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := newTestClient(t, o)
	if err := c.sim.Dashboard().SetCaptureBefore(c.authorize(stripesim.Hold{}),
		c.sim.Now()); err != nil {
		t.Fatal(err)
	}
	c.sim.ProcessDue()
	for _, version := range []string{"2023-10-16", stripesim.NewestAPIVersion} {
		e := c.mustSucceed("GET", "/v1/events?types[]=payment_intent.canceled", "",
			"Stripe-Version", version)
		for what, e := range map[string]testResponse{"webhook": {body: payload},
			"list": {body: e.valueAt("data.0").(map[string]any)}} {
			assertEqual(t, what, e.stringAt("api_version"), "2025-03-31.basil")
			assertEqual(t, what, e.stringAt("data.object.cancellation_reason"), "expired")
			_, added := e.valueAt("data.object").(map[string]any)["payment_record"]
			assertEqual(t, what+" has a field of a later version", added, false)
		}
	}
}

func TestAPIVersion_Invalid(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	for name, version := range map[string]string{
		"no date":                    "nonsense",
		"a name alone":               "basil",
		"a name in capitals":         "2023-10-16.Basil",
		"a short date":               "2023-1-1",
		"a date without a version":   "2024-01-17",
		"a date before the first":    "2010-01-01",
		"without its name":           "2025-03-31",
		"a name of another":          "2025-09-30.acacia",
		"a name of the newest's day": "2026-11-18.zinnia",
		"a name before there were":   "2024-06-20.acacia",
		"a preview before there was": "2024-06-20.preview",
		"a preview between versions": "2025-04-01.preview",
		"no day of the calendar":     "2099-02-30.endive",
	} {
		t.Run(name, func(t *testing.T) {
			a := c.mustFail(400, "", "GET", "/v1/balance", "", "Stripe-Version", version)
			assertEqual(t, "type", a.stringAt("error.type"), "invalid_request_error")
			assertEqual(t, "message", a.stringAt("error.message"),
				"Invalid Stripe API version: "+version)
			c.mustFail(400, "", "POST", "/v1/webhook_endpoints",
				"url=https://example.com&enabled_events[]=*&api_version="+version)
		})
	}
}

// TestAPIVersion_MatchesOpenAPISpec checks the rendering in the version of the
// OpenAPI document, without any exception.
func TestAPIVersion_MatchesOpenAPISpec(t *testing.T) {
	var doc spec.Spec
	if err := json.Unmarshal(embedded.OpenAPISpec, &doc); err != nil {
		t.Fatal(err)
	}
	const version = "2026-08-26.dahlia" // of the document
	check := &schemaChecker{schemas: doc.Components.Schemas}
	c := versionClient(t, version)
	ids := intentPerStatus(c)
	ids["expired"] = c.authorize(stripesim.Hold{})
	ids["part"] = c.authorize(stripesim.Hold{})
	c.mustSucceed("POST", intentPath(ids["part"], "capture"), "amount_to_capture=1")
	if err := c.sim.Dashboard().SetCaptureBefore(ids["expired"], c.sim.Now()); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
			kind, _ := v["object"].(string)
			if kind != "payment_intent" && kind != "charge" && kind != "review" {
				return
			}
			seen++
			check.requireValid(t, kind, any(v))
			for _, name := range removedProperties {
				if object, property, _ := strings.Cut(name, "."); object == kind {
					if _, exists := v[property]; exists {
						t.Errorf("%s is shown", name)
					}
				}
			}
		}
	}
	for _, id := range ids {
		walk(c.get(intentPath(id), "expand[]=latest_charge&expand[]=review").body)
	}
	walk(c.get("/v1/events", "limit=100").body)
	if seen < 3*len(ids) {
		t.Errorf("%d objects", seen)
	}
}
