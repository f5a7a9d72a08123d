package stripesim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestListIntents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, unlimitedOptions(1))
		start := time.Now().Unix()
		var ids []string // newest first
		for range 25 {
			ids = append([]string{c.authorize(stripesim.Hold{})}, ids...)
			time.Sleep(time.Second)
		}
		const p = "/v1/payment_intents"
		for _, row := range []struct {
			query string
			want  []string
			more  bool
		}{
			{"", ids[:10], true},
			{"limit=25", ids, false},
			{"limit=100", ids, false},
			{"limit=3", ids[:3], true},
			{"limit=3&starting_after=" + ids[2], ids[3:6], true},
			{"limit=3&starting_after=" + ids[21], ids[22:], false},
			{"limit=3&starting_after=" + ids[24], nil, false},
			{"limit=3&ending_before=" + ids[6], ids[3:6], true},
			{"limit=3&ending_before=" + ids[2], ids[:2], false},
			{fmt.Sprintf("created[gte]=%d", start+20), ids[:5], false},
			{fmt.Sprintf("created[gt]=%d", start+20), ids[:4], false},
			{fmt.Sprintf("created[lt]=%d", start+3), ids[22:], false},
			{fmt.Sprintf("created[lte]=%d", start+3), ids[21:], false},
			{fmt.Sprintf("created=%d", start+3), ids[21:22], false},
			{fmt.Sprintf("created[gte]=%d&created[lt]=%d&limit=2", start+3, start+6), ids[19:21],
				true},
			{"customer=cus_none", nil, false},
		} {
			a := c.mustSucceed("GET", p, row.query)
			if !slices.Equal(a.ids(), row.want) {
				t.Errorf("%s: %v, want %v", row.query, a.ids(), row.want)
			}
			assertEqual(t, row.query, a.valueAt("has_more").(bool), row.more)
			assertEqual(t, "url", a.stringAt("url"), p)
		}
		var paged []string
		for after := ""; ; {
			a := c.mustSucceed("GET", p, "limit=4"+after)
			paged = append(paged, a.ids()...)
			if !a.valueAt("has_more").(bool) {
				break
			}
			after = "&starting_after=" + paged[len(paged)-1]
		}
		if !slices.Equal(paged, ids) {
			t.Errorf("pages gave %v, want %v", paged, ids)
		}
		for _, query := range []string{"limit=0", "limit=101", "limit=x"} {
			c.mustFail(400, "parameter_invalid_integer", "GET", p, query)
		}
		c.mustFail(400, "parameter_unknown", "GET", p, "status=requires_capture")
		c.mustFail(400, "", "GET", p, "expand[]=latest_charge")
		c.mustFail(404, "resource_missing", "GET", p, "starting_after=pi_none")
		c.mustFail(400, "", "GET", p, "starting_after="+ids[0]+"&ending_before="+ids[1])
		a := c.mustSucceed("GET", p, "limit=1")
		assertEqual(t, "id", strings.HasPrefix(a.stringAt("data.0.latest_charge"), "ch_"), true)
		a = c.mustSucceed("GET", p, "limit=1&expand[]=data.latest_charge")
		assertEqual(t, "expanded", a.stringAt("data.0.latest_charge.object"), "charge")
		assertEqual(t, "theirs",
			len(c.mustSucceed("GET", p, "", "Stripe-Account", "acct_other").ids()), 0)
	})
}

func TestExpand_Charge(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer := c.mustSucceed("POST", "/v1/customers", "name=Ada").id()
	a := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+
		"pm_card_mastercard&customer="+customer+
		"&payment_method_options[card][request_multicapture]=if_available&payment_method_options[card][request_overcapture]=if_available"+
		"&payment_method_options[card][request_incremental_authorization]=if_available&payment_method_options[card][request_extended_authorization]=if_available"+
		"&expand[0]=latest_charge&expand[1]=payment_method&expand[2]=customer")
	for path, want := range map[string]string{
		"latest_charge.payment_intent":                                               a.id(),
		"latest_charge.payment_method_details.card.brand":                            "mastercard",
		"latest_charge.payment_method_details.card.multicapture.status":              "available",
		"latest_charge.payment_method_details.card.overcapture.status":               "available",
		"latest_charge.payment_method_details.card.incremental_authorization.status": "available",
		"latest_charge.payment_method_details.card.extended_authorization.status":    "enabled",
		"payment_method.object":                                                      "payment_method",
		"customer.name":                                                              "Ada",
	} {
		assertEqual(t, path, a.stringAt(path), want)
	}
	assertEqual(t, "maximum",
		a.numberAt("latest_charge.payment_method_details.card.overcapture.maximum_amount_capturable"), 1150)
	ch := c.mustSucceed("GET", "/v1/charges/"+a.stringAt("latest_charge.id"),
		"expand[]=payment_intent")
	assertEqual(t, "charge", ch.stringAt("payment_intent.id"), a.id())
	c.mustFail(404, "resource_missing", "GET", "/v1/charges/ch_none", "")
	plain := c.mustSucceed("GET", intentPath(c.authorize(stripesim.Hold{})),
		"expand[]=latest_charge")
	assertEqual(t, "not asked for",
		plain.stringAt("latest_charge.payment_method_details.card.multicapture.status"),
		"unavailable")
}

func TestSearchIntents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unlimitedOptions(1)
		o.SearchLag = time.Minute
		c := newTestClient(t, o)
		var ids []string
		for i := range 5 {
			ids = append(
				[]string{c.authorize(stripesim.Hold{Amount: int64(100 * (i + 1)), Metadata: map[string]string{"booking": fmt.Sprintf(`B"%d`, i), "house": "north"}})}, ids...)
		}
		find := func(query string) []string {
			t.Helper()
			return c.mustSucceed("GET", "/v1/payment_intents/search", "limit=100&query="+
				queryEscape(query)).ids()
		}
		held := `status:"requires_capture" AND metadata["house"]:"north"`
		assertEqual(t, "too early", len(find(held)), 0)
		time.Sleep(time.Minute)
		if got := find(held); !slices.Equal(got, ids) {
			t.Errorf("found %v, want %v", got, ids)
		}
		c.mustSucceed("POST", intentPath(ids[0], "capture"), "")
		assertEqual(t, "still there", len(find(held)), 5)
		time.Sleep(time.Minute)
		assertEqual(t, "gone", len(find(held)), 4)
		for query, want := range map[string]int{
			`status:'succeeded'`:                                   1,
			`-status:"succeeded"`:                                  4,
			`metadata["booking"]:"B\"2"`:                           1,
			`metadata["house"]:"north" metadata["booking"]:"B\"2"`: 1,
			`metadata["house"]:"south"`:                            0,
			`-metadata["house"]:null`:                              5,
			`amount>200 AND amount<=400 AND currency:"eur"`:        2,
			`customer:"cus_none"`:                                  0,
			`created>0`:                                            5,
		} {
			assertEqual(t, query, len(find(query)), want)
		}
		for _, query := range []string{`status:"a" OR status:"b"`, `colour:"red"`, `status`,
			`status:`, `metadata:"x"`, `metadata["x]:"y"`, `amount>x`, ``, `""`} {
			if a := c.call("GET", "/v1/payment_intents/search", "query="+
				queryEscape(query)); a.status != 400 {
				t.Errorf("%s: %d %s", query, a.status, a.raw)
			}
		}
		var paged []string
		for page := ""; ; {
			a := c.mustSucceed("GET", "/v1/payment_intents/search", "limit=2&query="+
				queryEscape(`metadata["house"]:"north"`)+page)
			assertEqual(t, "object", a.stringAt("object"), "search_result")
			paged = append(paged, a.ids()...)
			if !a.valueAt("has_more").(bool) {
				break
			}
			page = "&page=" + a.stringAt("next_page")
		}
		if !slices.Equal(paged, ids) {
			t.Errorf("pages gave %v, want %v", paged, ids)
		}
		c.mustFail(400, "", "GET", "/v1/payment_intents/search",
			"page=zzz&query="+queryEscape(held))
	})
}

func TestListEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unlimitedOptions(1)
		o.MaxEvents = 1000
		c := newTestClient(t, o)
		id := c.authorize(stripesim.Hold{})
		c.mustSucceed("POST", intentPath(id, "capture"), "", "Idempotency-Key", "k7")
		assertEqual(t, "events", c.eventTypes(id),
			"payment_intent.created charge.succeeded payment_intent.amount_capturable_updated charge.captured charge.updated payment_intent.succeeded")
		a := c.mustSucceed("GET", "/v1/events", "limit=1")
		assertEqual(t, "key", a.stringAt("data.0.request.idempotency_key"), "k7")
		assertEqual(t, "request", strings.HasPrefix(a.stringAt("data.0.request.id"), "req_"), true)
		assertEqual(t, "version", a.stringAt("data.0.api_version"), "2023-10-16")
		one := c.mustSucceed("GET", "/v1/events/"+a.stringAt("data.0.id"), "")
		assertEqual(t, "one", one.stringAt("type"), "payment_intent.succeeded")
		c.mustFail(404, "resource_missing", "GET", "/v1/events/evt_none", "")

		// An event shows the object as it was.
		a = c.mustSucceed("GET", "/v1/events", "type=payment_intent.amount_capturable_updated")
		assertEqual(t, "snapshot", a.stringAt("data.0.data.object.status"), "requires_capture")
		assertEqual(t, "types",
			len(c.mustSucceed("GET", "/v1/events",
				"types[]=charge.captured&types[]=charge.updated").ids()), 2)
		assertEqual(t, "wildcard",
			len(c.mustSucceed("GET", "/v1/events", "type=payment_intent.*").ids()), 3)
		c.mustFail(400, "", "GET", "/v1/events", "type=charge.captured&types[]=charge.updated")

		dashboard := c.sim.Dashboard()
		other := c.authorize(stripesim.Hold{})
		if err := errorText(dashboard.OpenReview(other)); err != "" {
			t.Error(err)
		}
		review := c.mustSucceed("GET", intentPath(other), "").stringAt("review")
		assertEqual(t, "open", c.mustSucceed("GET", "/v1/reviews/"+review, "").valueAt("open").(bool), true)
		assertEqual(t, "expanded", c.mustSucceed("GET", intentPath(other),
			"expand[]=review").stringAt("review.object"), "review")
		if err := errorText(dashboard.CloseReview(other, "approved")); err != "" {
			t.Error(err)
		}
		assertEqual(t, "closed", c.mustSucceed("GET", "/v1/reviews/"+review, "").stringAt(
			"closed_reason"), "approved")
		if dashboard.CloseReview(other, "approved") == nil || dashboard.CloseReview(other,
			"boredom") == nil || dashboard.OpenReview("pi_none") == nil {
			t.Error("the Dashboard did what Stripe does not allow")
		}
		if err := errorText(dashboard.Increment(other, 1200)); err == "" {
			t.Error("incremented what can't be")
		}
		if err := errorText(dashboard.Capture(other, 600)); err != "" {
			t.Error(err)
		}
		assertEqual(t, "events", c.eventTypes(other),
			"payment_intent.created charge.succeeded payment_intent.amount_capturable_updated review.opened review.closed charge.captured charge.updated charge.refunded payment_intent.succeeded")
		a = c.mustSucceed("GET", "/v1/events", "limit=1")
		if a.valueAt("data.0.request.id") != nil ||
			a.valueAt("data.0.request.idempotency_key") != nil {
			t.Error("an act at the Dashboard names a request")
		}

		time.Sleep(30*day + time.Second)
		assertEqual(t, "after 30 days", len(c.mustSucceed("GET", "/v1/events", "").ids()), 0)
		for range 400 { // three events each
			c.authorize(stripesim.Hold{})
		}
		n := 0
		for after := ""; ; {
			a := c.mustSucceed("GET", "/v1/events", "limit=100"+after)
			n += len(a.ids())
			if !a.valueAt("has_more").(bool) {
				break
			}
			after = "&starting_after=" + a.ids()[99]
		}
		assertEqual(t, "bounded", n, 1000)
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
