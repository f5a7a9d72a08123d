package stripesim

import (
	"slices"
	"sort"
	"strings"
)

type listJSON struct {
	Object  string `json:"object"`
	Data    []any  `json:"data"`
	HasMore bool   `json:"has_more"`
	URL     string `json:"url"`
}

// checkExpand rejects what an endpoint class cannot expand. Lists have it below
// data.
func checkExpand(class EndpointClass, f *form) *apiError {
	for _, e := range f.lists["expand"] {
		name := e
		switch class {
		case ClassList, ClassSearch, ClassCustomerList, ClassEventList, ClassChargeList,
			ClassRefundList, ClassSetupList, ClassPaymentMethodList:
			var ok bool
			if name, ok = strings.CutPrefix(e, "data."); !ok {
				return validationError("", "expand", "This property cannot be expanded (%s).", e)
			}
		}
		ok := false
		switch class {
		case ClassCreate, ClassConfirm, ClassRetrieve, ClassUpdate, ClassCapture, ClassCancel,
			ClassIncrement, ClassList, ClassSearch:
			ok = slices.Contains([]string{"latest_charge", "payment_method", "customer", "review",
				"latest_charge.payment_intent", "latest_charge.balance_transaction",
				"latest_charge.refunds"}, name)
		case ClassChargeRetrieve, ClassChargeList:
			ok = name == "payment_intent" || name == "balance_transaction" || name == "refunds"
		case ClassCustomerCreate, ClassCustomerRetrieve, ClassCustomerList:
			ok = name == "default_source"
		case ClassPaymentMethodRetrieve, ClassPaymentMethodCreate, ClassPaymentMethodAttach:
			ok = name == "customer"
		case ClassRefundCreate, ClassRefundRetrieve, ClassRefundList, ClassRefundUpdate:
			ok = name == "charge" || name == "payment_intent" || name == "balance_transaction"
		case ClassSetupCreate, ClassSetupConfirm, ClassSetupRetrieve, ClassSetupUpdate,
			ClassSetupCancel, ClassSetupList:
			ok = name == "payment_method" || name == "customer" || name == "latest_attempt"
		case ClassCheckoutCreate, ClassCheckoutRetrieve:
			ok = name == "setup_intent"
		}
		if !ok {
			return validationError("", "expand", "This property cannot be expanded (%s).", name)
		}
	}
	return nil
}

func (f *form) expandPaths() []string {
	var out []string
	for _, e := range f.lists["expand"] {
		out = append(out, strings.TrimPrefix(e, "data."))
	}
	return out
}

// createdBounds returns created[gt], [gte], [lt] and [lte] as an inclusive
// range of seconds.
func (f *form) createdBounds() (from, to int64) {
	from, to = 0, 1<<62
	if f.has("created") {
		return f.int("created"), f.int("created")
	}
	if f.has("created[gt]") {
		from = max(from, f.int("created[gt]")+1)
	}
	if f.has("created[gte]") {
		from = max(from, f.int("created[gte]"))
	}
	if f.has("created[lt]") {
		to = min(to, f.int("created[lt]")-1)
	}
	if f.has("created[lte]") {
		to = min(to, f.int("created[lte]"))
	}
	return from, to
}

func (f *form) limit() (int, *apiError) {
	if !f.has("limit") {
		return 10, nil
	}
	n := f.int("limit")
	if n < 1 {
		return 0, validationError("parameter_invalid_integer", "limit",
			"This value must be greater than or equal to 1.")
	}
	if n > 100 {
		return 0, validationError("parameter_invalid_integer", "limit",
			"This value must be less than or equal to 100.")
	}
	return int(n), nil
}

// pageSource is what a list is made of: objects by index, oldest first.
type pageSource struct {
	kind    string // in the answer about an unknown cursor
	length  int
	created func(i int) int64
	find    func(id string) int // the index of a cursor's id, or -1
	keep    func(i int) bool    // nil keeps every object
}

// collect returns the first limit objects that keep accepts, from index first
// in steps of step until end, and whether there are more.
func (p pageSource) collect(limit, first, end, step int) (out []int, more bool) {
	for i := first; (end-i)*step > 0; i += step {
		if p.keep != nil && !p.keep(i) {
			continue
		}
		if len(out) == limit {
			return out, true
		}
		out = append(out, i)
	}
	return out, false
}

// cursor returns the index of the object that a parameter names.
func (p pageSource) cursor(f *form, name string) (int, *apiError) {
	i := p.find(f.get(name))
	if i < 0 {
		return 0, notFoundError(p.kind, name, f.get(name))
	}
	return i, nil
}

// paginate returns one page, newest object first.
func paginate(f *form, p pageSource) (page []int, more bool, err *apiError) {
	limit, err := f.limit()
	if err != nil {
		return nil, false, err
	}
	from, to := f.createdBounds()
	after, before := f.get("starting_after"), f.get("ending_before")
	if after != "" && before != "" {
		return nil, false, validationError("", "ending_before",
			"You may only specify one of these parameters: ending_before, starting_after.")
	}
	// Creation times never fall, so bounds in time are bounds of the index.
	low := sort.Search(p.length, func(i int) bool { return p.created(i) >= from })
	high := sort.Search(p.length, func(i int) bool { return p.created(i) > to })
	if before != "" {
		i, err := p.cursor(f, "ending_before")
		if err != nil {
			return nil, false, err
		}
		page, more = p.collect(limit, max(i+1, low), high, 1)
		slices.Reverse(page)
		return page, more, nil
	}
	if after != "" {
		i, err := p.cursor(f, "starting_after")
		if err != nil {
			return nil, false, err
		}
		high = min(high, i)
	}
	page, more = p.collect(limit, high-1, low-1, -1)
	return page, more, nil
}

func listIntents(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	customer := f.get("customer")
	at, more, err := paginate(f, pageSource{kind: "payment_intent", length: len(a.intentOrder),
		created: func(i int) int64 { return a.intentOrder[i].created },
		find: func(id string) int {
			if in := a.intents[id]; in != nil {
				return in.seq
			}
			return -1
		},
		keep: func(i int) bool {
			in := a.intentOrder[i]
			return !in.unlisted && (customer == "" || in.customer == customer)
		},
	})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more,
		URL: "/v1/payment_intents"}
	expand := f.expandPaths()
	for _, i := range at {
		l.Data = append(l.Data, newIntentJSON(a.intentOrder[i], expand))
	}
	return l, nil
}

// eventTypeFilter returns the types that a list of events asks for.
func eventTypeFilter(f *form) ([]string, *apiError) {
	types := f.lists["types"]
	if t := f.get("type"); t != "" {
		if len(types) > 0 {
			return nil, validationError("", "types",
				"You may only specify one of these parameters: type, types.")
		}
		types = []string{t}
	}
	if len(types) > 20 {
		return nil, validationError("", "types", "You may pass up to 20 event types.")
	}
	return types, nil
}

// matchesEventType reports whether one of patterns is typ, or a prefix of it
// followed by an asterisk. No pattern matches everything.
func matchesEventType(patterns []string, typ string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(t string) bool {
		prefix, ok := strings.CutSuffix(t, "*")
		return t == typ || ok && strings.HasPrefix(typ, prefix)
	})
}

func listEvents(op *operation, a *account, _ string, f *form) (any, *apiError) {
	types, err := eventTypeFilter(f)
	if err != nil {
		return nil, err
	}
	all := a.events.since(op.now.Add(-eventRetention))
	at, more, err := paginate(f, pageSource{kind: "event", length: len(all),
		created: func(i int) int64 { return all[i].created.Unix() },
		find: func(id string) int {
			e := a.events.byID[id]
			if e == nil || len(all) == 0 || e.seq < all[0].seq {
				return -1
			}
			return e.seq - all[0].seq
		},
		keep: func(i int) bool {
			return matchesEventType(types, all[i].eventType) && (!f.has("delivery_success") ||
				f.isTrue("delivery_success") == (all[i].pendingWebhooks == 0))
		},
	})
	if err != nil {
		return nil, err
	}
	out := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more, URL: "/v1/events"}
	for _, i := range at {
		out.Data = append(out.Data, all[i].toJSON(a, a.env.options.Webhook.APIVersion, false))
	}
	return out, nil
}

func retrieveEvent(op *operation, a *account, id string, _ *form) (any, *apiError) {
	e := a.events.byID[id]
	if e == nil || e.created.Before(op.now.Add(-eventRetention)) {
		return nil, notFoundError("event", "id", id)
	}
	return e.toJSON(a, a.env.options.Webhook.APIVersion, false), nil
}

func listCharges(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	customer, intent, group := f.get("customer"), f.get("payment_intent"), f.get("transfer_group")
	at, more, err := paginate(f, pageSource{kind: "charge", length: len(a.chargeOrder),
		created: func(i int) int64 { return a.chargeOrder[i].created },
		find: func(id string) int {
			if c := a.charges[id]; c != nil {
				return c.seq
			}
			return -1
		},
		keep: func(i int) bool {
			c := a.chargeOrder[i]
			return (customer == "" || c.customer == customer) &&
				(intent == "" || c.intent.id == intent) &&
				(group == "" || c.intent.transferGroup == group)
		},
	})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more, URL: "/v1/charges"}
	for _, i := range at {
		j := a.chargeOrder[i].toJSON()
		for _, path := range f.expandPaths() {
			j.expand(a.chargeOrder[i], path)
		}
		l.Data = append(l.Data, j)
	}
	return l, nil
}

func retrieveCharge(_ *operation, a *account, id string, f *form) (any, *apiError) {
	c := a.charges[id]
	if c == nil {
		return nil, notFoundError("charge", "charge", id)
	}
	j := c.toJSON()
	for _, path := range f.lists["expand"] {
		j.expand(c, path)
	}
	return j, nil
}
