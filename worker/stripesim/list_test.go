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

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, free(1))
		start := time.Now().Unix()
		var ids []string // newest first
		for range 25 {
			ids = append([]string{c.hold(stripesim.Hold{})}, ids...)
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
			{fmt.Sprintf("created[gte]=%d&created[lt]=%d&limit=2", start+3, start+6), ids[19:21], true},
			{"customer=cus_none", nil, false},
		} {
			a := c.ok("GET", p, row.query)
			if !slices.Equal(a.ids(), row.want) {
				t.Errorf("%s: %v, want %v", row.query, a.ids(), row.want)
			}
			equal(t, row.query, a.at("has_more").(bool), row.more)
			equal(t, "url", a.str("url"), p)
		}
		var walked []string
		for after := ""; ; {
			a := c.ok("GET", p, "limit=4"+after)
			walked = append(walked, a.ids()...)
			if !a.at("has_more").(bool) {
				break
			}
			after = "&starting_after=" + walked[len(walked)-1]
		}
		if !slices.Equal(walked, ids) {
			t.Errorf("pages gave %v, want %v", walked, ids)
		}
		for _, query := range []string{"limit=0", "limit=101", "limit=x"} {
			c.refused(400, "parameter_invalid_integer", "GET", p, query)
		}
		c.refused(400, "parameter_unknown", "GET", p, "status=requires_capture")
		c.refused(400, "", "GET", p, "expand[]=latest_charge")
		c.refused(404, "resource_missing", "GET", p, "starting_after=pi_none")
		c.refused(400, "", "GET", p, "starting_after="+ids[0]+"&ending_before="+ids[1])
		a := c.ok("GET", p, "limit=1")
		equal(t, "id", strings.HasPrefix(a.str("data.0.latest_charge"), "ch_"), true)
		a = c.ok("GET", p, "limit=1&expand[]=data.latest_charge")
		equal(t, "expanded", a.str("data.0.latest_charge.object"), "charge")
		equal(t, "theirs", len(c.ok("GET", p, "", "Stripe-Account", "acct_other").ids()), 0)
	})
}

func TestExpand(t *testing.T) {
	c := newClient(t, free(1))
	guest := c.ok("POST", "/v1/customers", "name=Ada").id()
	a := c.ok("POST", "/v1/payment_intents", manual+"pm_card_mastercard&customer="+guest+
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
		equal(t, path, a.str(path), want)
	}
	equal(t, "maximum", a.num("latest_charge.payment_method_details.card.overcapture.maximum_amount_capturable"), 1150)
	ch := c.ok("GET", "/v1/charges/"+a.str("latest_charge.id"), "expand[]=payment_intent")
	equal(t, "charge", ch.str("payment_intent.id"), a.id())
	c.refused(404, "resource_missing", "GET", "/v1/charges/ch_none", "")
	plain := c.ok("GET", path(c.hold(stripesim.Hold{})), "expand[]=latest_charge")
	equal(t, "not asked for", plain.str("latest_charge.payment_method_details.card.multicapture.status"), "unavailable")
}

func TestSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := free(1)
		o.SearchLag = time.Minute
		c := newClient(t, o)
		var ids []string
		for i := range 5 {
			ids = append([]string{c.hold(stripesim.Hold{Amount: int64(100 * (i + 1)), Metadata: map[string]string{"booking": fmt.Sprintf(`B"%d`, i), "house": "north"}})}, ids...)
		}
		find := func(query string) []string {
			t.Helper()
			return c.ok("GET", "/v1/payment_intents/search", "limit=100&query="+q(query)).ids()
		}
		held := `status:"requires_capture" AND metadata["house"]:"north"`
		equal(t, "too early", len(find(held)), 0)
		time.Sleep(time.Minute)
		if got := find(held); !slices.Equal(got, ids) {
			t.Errorf("found %v, want %v", got, ids)
		}
		c.ok("POST", path(ids[0], "capture"), "")
		equal(t, "still there", len(find(held)), 5)
		time.Sleep(time.Minute)
		equal(t, "gone", len(find(held)), 4)
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
			equal(t, query, len(find(query)), want)
		}
		for _, query := range []string{`status:"a" OR status:"b"`, `colour:"red"`, `status`, `status:`, `metadata:"x"`, `metadata["x]:"y"`, `amount>x`, ``, `""`} {
			if a := c.do("GET", "/v1/payment_intents/search", "query="+q(query)); a.status != 400 {
				t.Errorf("%s: %d %s", query, a.status, a.raw)
			}
		}
		var walked []string
		for page := ""; ; {
			a := c.ok("GET", "/v1/payment_intents/search", "limit=2&query="+q(`metadata["house"]:"north"`)+page)
			equal(t, "object", a.str("object"), "search_result")
			walked = append(walked, a.ids()...)
			if !a.at("has_more").(bool) {
				break
			}
			page = "&page=" + a.str("next_page")
		}
		if !slices.Equal(walked, ids) {
			t.Errorf("pages gave %v, want %v", walked, ids)
		}
		c.refused(400, "", "GET", "/v1/payment_intents/search", "page=zzz&query="+q(held))
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := free(1)
		o.MaxEvents = 1000
		c := newClient(t, o)
		id := c.hold(stripesim.Hold{})
		c.ok("POST", path(id, "capture"), "", "Idempotency-Key", "k7")
		equal(t, "events", c.types(id), "payment_intent.created charge.succeeded payment_intent.amount_capturable_updated charge.captured charge.updated payment_intent.succeeded")
		a := c.ok("GET", "/v1/events", "limit=1")
		equal(t, "key", a.str("data.0.request.idempotency_key"), "k7")
		equal(t, "request", strings.HasPrefix(a.str("data.0.request.id"), "req_"), true)
		equal(t, "version", a.str("data.0.api_version"), "2023-10-16")
		one := c.ok("GET", "/v1/events/"+a.str("data.0.id"), "")
		equal(t, "one", one.str("type"), "payment_intent.succeeded")
		c.refused(404, "resource_missing", "GET", "/v1/events/evt_none", "")

		// What an event shows is what was, not what is.
		a = c.ok("GET", "/v1/events", "type=payment_intent.amount_capturable_updated")
		equal(t, "snapshot", a.str("data.0.data.object.status"), "requires_capture")
		equal(t, "types", len(c.ok("GET", "/v1/events", "types[]=charge.captured&types[]=charge.updated").ids()), 2)
		equal(t, "wildcard", len(c.ok("GET", "/v1/events", "type=payment_intent.*").ids()), 3)
		c.refused(400, "", "GET", "/v1/events", "type=charge.captured&types[]=charge.updated")

		person := c.sim.Dashboard()
		other := c.hold(stripesim.Hold{})
		if err := errorsOf(person.OpenReview(other)); err != "" {
			t.Error(err)
		}
		review := c.ok("GET", path(other), "").str("review")
		equal(t, "open", c.ok("GET", "/v1/reviews/"+review, "").at("open").(bool), true)
		equal(t, "expanded", c.ok("GET", path(other), "expand[]=review").str("review.object"), "review")
		if err := errorsOf(person.CloseReview(other, "approved")); err != "" {
			t.Error(err)
		}
		equal(t, "closed", c.ok("GET", "/v1/reviews/"+review, "").str("closed_reason"), "approved")
		if person.CloseReview(other, "approved") == nil || person.CloseReview(other, "boredom") == nil || person.OpenReview("pi_none") == nil {
			t.Error("a person did what can't be done")
		}
		if err := errorsOf(person.Increment(other, 1200)); err == "" {
			t.Error("incremented what can't be")
		}
		if err := errorsOf(person.Capture(other, 600)); err != "" {
			t.Error(err)
		}
		equal(t, "events", c.types(other), "payment_intent.created charge.succeeded payment_intent.amount_capturable_updated review.opened review.closed charge.captured charge.updated payment_intent.succeeded")
		a = c.ok("GET", "/v1/events", "limit=1")
		if a.at("data.0.request.id") != nil || a.at("data.0.request.idempotency_key") != nil {
			t.Error("what a person did names a request")
		}

		time.Sleep(30*day + time.Second)
		equal(t, "after 30 days", len(c.ok("GET", "/v1/events", "").ids()), 0)
		for range 400 { // three events each
			c.hold(stripesim.Hold{})
		}
		n := 0
		for after := ""; ; {
			a := c.ok("GET", "/v1/events", "limit=100"+after)
			n += len(a.ids())
			if !a.at("has_more").(bool) {
				break
			}
			after = "&starting_after=" + a.ids()[99]
		}
		equal(t, "bounded", n, 1000)
	})
}

func errorsOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
