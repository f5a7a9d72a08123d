package stripesim_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/spec"

	"github.com/holdd/holdd/worker/stripesim"
)

// gone are properties of version 2023-10-16 that Stripe's current document, against which answers are checked, no longer has.
var gone = []string{
	"payment_intent.invoice", "payment_intent.source", "charge.invoice", "charge.source",
	"account.livemode", // the simulator's own: every object says that no money moves
}

type checker struct {
	schemas map[string]*spec.Schema
	wrong   []string
}

func (c *checker) fail(at, format string, args ...any) {
	c.wrong = append(c.wrong, at+": "+fmt.Sprintf(format, args...))
}

// check holds a value against a schema; at is where, for the message.
func (c *checker) check(s *spec.Schema, v any, at string) {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		def := c.schemas[name]
		if def == nil {
			c.fail(at, "the document has no %s", name)
			return
		}
		nullable := *def
		nullable.Nullable = nullable.Nullable || s.Nullable
		c.check(&nullable, v, at)
		return
	}
	if v == nil {
		if !s.Nullable {
			c.fail(at, "null is not allowed")
		}
		return
	}
	if len(s.AnyOf) > 0 {
		var all []string
		for _, o := range s.AnyOf {
			try := &checker{schemas: c.schemas}
			try.check(o, v, at)
			if len(try.wrong) == 0 {
				return
			}
			all = append(all, try.wrong...)
		}
		c.wrong = append(c.wrong, all...)
		return
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		c.fail(at, "%v is none of %v", v, s.Enum)
	}
	switch s.Type {
	case spec.TypeString:
		str, ok := v.(string)
		if !ok {
			c.fail(at, "%v is no string", v)
		} else if s.MaxLength > 0 && len(str) > s.MaxLength {
			c.fail(at, "longer than %d", s.MaxLength)
		}
	case spec.TypeBoolean:
		if _, ok := v.(bool); !ok {
			c.fail(at, "%v is no boolean", v)
		}
	case spec.TypeInteger:
		if f, ok := v.(float64); !ok || f != float64(int64(f)) {
			c.fail(at, "%v is no integer", v)
		}
	case spec.TypeArray:
		l, ok := v.([]any)
		if !ok {
			c.fail(at, "%v is no array", v)
		}
		for i, x := range l {
			c.check(s.Items, x, fmt.Sprintf("%s[%d]", at, i))
		}
	case spec.TypeObject:
		m, ok := v.(map[string]any)
		if !ok {
			c.fail(at, "%v is no object", v)
			return
		}
		for _, name := range s.Required {
			if _, ok := m[name]; !ok {
				c.fail(at, "%s is missing", name)
			}
		}
		kind, _ := m["object"].(string)
		for _, name := range slices.Sorted(maps.Keys(m)) {
			p := s.Properties[name]
			switch {
			case p != nil:
				c.check(p, m[name], at+"."+name)
			case s.AdditionalProperties != nil:
				c.check(s.AdditionalProperties, m[name], at+"."+name)
			case len(s.Properties) > 0 && !slices.Contains(gone, kind+"."+name):
				c.fail(at, "%s is not in the document", name)
			}
		}
	}
}

func (c *checker) expect(t *testing.T, schema string, v any) {
	t.Helper()
	c.wrong = nil
	c.check(&spec.Schema{Ref: "#/components/schemas/" + schema}, v, schema)
	for _, w := range c.wrong {
		t.Error(w)
	}
}

// TestAnswersFitStripesDocument checks answers in every status and of every kind against the OpenAPI document that
// Stripe ships in stripe-mock: required properties, types, enumerations, and nothing that isn't in it.
func TestAnswersFitStripesDocument(t *testing.T) {
	var doc spec.Spec
	if err := json.Unmarshal(embedded.OpenAPISpec, &doc); err != nil {
		t.Fatal(err)
	}
	check := &checker{schemas: doc.Components.Schemas}
	c := newClient(t, free(1))
	guest := c.ok("POST", "/v1/customers", "name=Ada&email=ada@example.com")
	check.expect(t, "customer", any(guest.body))
	card := c.ok("POST", "/v1/payment_methods", "type=card&card[number]=4242424242424242&card[exp_month]=1&card[exp_year]=40")
	check.expect(t, "payment_method", any(card.body))
	check.expect(t, "account", any(c.get("/v1/account", "").body))
	ids := states(c)
	for name, v := range map[string]any{"status": "lost", "amount": "ten", "created": nil, "livemode": 0.0, "colour": "red", "metadata": []any{}} {
		wrong := c.get(path(ids["canceled"]), "").body
		wrong[name] = v
		check.wrong = nil
		check.check(&spec.Schema{Ref: "#/components/schemas/payment_intent"}, any(wrong), "")
		equal(t, "complaints about a wrong "+name, len(check.wrong), 1)
	}
	full := c.ok("POST", "/v1/payment_intents", manual+"pm_card_mastercard&customer="+guest.id()+"&setup_future_usage=off_session&metadata[a]=b&description=d&receipt_email=a@example.com"+
		"&statement_descriptor_suffix=hotel&payment_method_options[card][request_multicapture]=if_available&payment_method_options[card][request_overcapture]=if_available"+
		"&payment_method_options[card][request_incremental_authorization]=if_available&payment_method_options[card][request_extended_authorization]=if_available")
	ids["with everything"] = full.id()
	ids["terminal"] = c.hold(stripesim.Hold{Kind: stripesim.Terminal})
	ids["off session"] = c.hold(stripesim.Hold{Kind: stripesim.OffSession})
	ids["redirect"] = c.ok("POST", "/v1/payment_intents", manual+"pm_card_authenticationRequired&return_url="+q("https://hotel.example/")).id()
	ids["automatic"] = c.ok("POST", "/v1/payment_intents", "amount=5&currency=jpy&automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never&confirm=true&payment_method=pm_card_visa").id()
	ids["part"] = c.hold(stripesim.Hold{Multicapture: true})
	c.ok("POST", path(ids["part"], "capture"), "amount_to_capture=10&final_capture=false")
	ids["passed 3-D Secure"] = c.ok("POST", "/v1/payment_intents", manual+"pm_card_authenticationRequired").id()
	ids["failed 3-D Secure"] = c.ok("POST", "/v1/payment_intents", manual+"pm_card_authenticationRequired").id()
	ids["under review"] = c.hold(stripesim.Hold{})
	ids["reviewed"] = c.hold(stripesim.Hold{})
	ids["expired"] = c.hold(stripesim.Hold{})
	d := c.sim.Dashboard()
	for _, err := range []error{d.CompleteAction(ids["passed 3-D Secure"]), d.FailAction(ids["failed 3-D Secure"]), d.OpenReview(ids["under review"]), d.OpenReview(ids["reviewed"]),
		d.CloseReview(ids["reviewed"], "approved"), c.sim.SetCaptureBefore(ids["expired"], c.sim.Now())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refusals := map[string]answer{
		"declined":          c.do("POST", "/v1/payment_intents", manual+"pm_card_chargeCustomerFail"),
		"authentication":    c.do("POST", "/v1/payment_intents", manual+"pm_card_authenticationRequired&off_session=true"),
		"unexpected state":  c.do("POST", path(ids["canceled"], "capture"), ""),
		"too large":         c.do("POST", path(ids["requires_capture"], "capture"), "amount_to_capture=5000"),
		"missing":           c.do("GET", path("pi_none"), ""),
		"unknown parameter": c.do("POST", path(ids["requires_capture"], "capture"), "x=y"),
		"no key":            c.do("GET", path("pi_none"), "", "Authorization", ""),
	}
	for _, kind := range []stripesim.FaultKind{stripesim.ErrorBefore, stripesim.Unavailable, stripesim.RateLimited, stripesim.LockTimeout, stripesim.Conflict, stripesim.Dependency, stripesim.Forbidden} {
		c.sim.SetFaults(func(stripesim.Call) stripesim.Fault { return stripesim.Fault{Kind: kind} })
		refusals[string(kind)] = c.do("POST", path(ids["requires_capture"], "capture"), "")
	}
	c.sim.SetFaults(nil)
	ids["declined"] = refusals["declined"].str("error.payment_intent.id")
	for name, a := range refusals {
		t.Run("error "+name, func(t *testing.T) { check.expect(t, "error", any(a.body)) })
	}
	for name, id := range ids {
		t.Run("intent "+name, func(t *testing.T) {
			check.expect(t, "payment_intent", any(c.get(path(id), "").body))
			a := c.get(path(id), "expand[]=latest_charge&expand[]=payment_method&expand[]=customer&expand[]=review")
			check.expect(t, "payment_intent", any(a.body))
			if ch, ok := a.at("latest_charge").(map[string]any); ok {
				check.expect(t, "charge", any(ch))
			}
			if r, ok := a.at("review").(map[string]any); ok {
				check.expect(t, "review", any(r))
			}
		})
	}
	c.sim.SetEndpoints(stripesim.Endpoint{URL: "https://hotel.example/a", APIVersion: stripesim.APIVersion}, stripesim.Endpoint{URL: "https://hotel.example/b", Disabled: true})
	t.Run("lists", func(t *testing.T) {
		for url, query := range map[string]string{"/v1/payment_intents": "limit=100&expand[]=data.latest_charge", "/v1/events": "limit=100", "/v1/customers": "", "/v1/balance": "", "/v1/webhook_endpoints": "limit=2",
			"/v1/payment_intents/search": "query=" + q(`status:"canceled"`)} {
			check.wrong = nil
			response := doc.Paths[spec.Path(url)]["get"].Responses["200"].Content["application/json"].Schema
			check.check(response, any(c.get(url, query).body), url)
			for _, w := range check.wrong {
				t.Error(w)
			}
		}
	})
	t.Run("events", func(t *testing.T) {
		seen := map[string]bool{}
		for _, e := range c.get("/v1/events", "limit=100").body["data"].([]any) {
			object := e.(map[string]any)["data"].(map[string]any)["object"].(map[string]any)
			check.expect(t, object["object"].(string), any(object))
			seen[e.(map[string]any)["type"].(string)] = true
		}
		for _, typ := range []string{"payment_intent.created", "payment_intent.requires_action", "payment_intent.amount_capturable_updated", "payment_intent.succeeded",
			"payment_intent.canceled", "payment_intent.payment_failed", "charge.captured", "charge.expired", "charge.updated", "review.opened", "review.closed"} {
			if !seen[typ] {
				t.Errorf("no event %s was made", typ)
			}
		}
	})
}
