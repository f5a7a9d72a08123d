package stripesim

import (
	"slices"
	"strings"
)

type listJSON struct {
	Object  string `json:"object"`
	Data    []any  `json:"data"`
	HasMore bool   `json:"has_more"`
	URL     string `json:"url"`
}

// expandable says what may be shown whole, by class; lists have it below data.
func checkExpand(class EndpointClass, f *form) *apiError {
	for _, e := range f.lists["expand"] {
		name := e
		switch class {
		case ClassList, ClassSearch, ClassCustomerList, ClassEventList:
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
				"latest_charge.payment_intent", "latest_charge.balance_transaction"}, name)
		case ClassChargeRetrieve:
			ok = name == "payment_intent" || name == "balance_transaction"
		case ClassCustomerCreate, ClassCustomerRetrieve, ClassCustomerList:
			ok = name == "default_source"
		case ClassPaymentMethodRetrieve, ClassPaymentMethodCreate, ClassPaymentMethodAttach:
			ok = name == "customer"
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

// createdBounds is created[gt], [gte], [lt], [lte] as an inclusive range of
// seconds.
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

// paginate walks n things, oldest first by index, newest first to the caller.
// find gives the index of a cursor's id, or -1; keep decides whether a thing is
// shown and whether the walk may end there.
func paginate(
	f *form, n int, created func(int) int64, find func(string) int,
	kind string, keep func(int) bool,
) ([]int, bool, *apiError) {
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
	// Index bounds from the time bounds: creation times never fall.
	lo := lowerBound(n, func(i int) bool { return created(i) >= from })
	hi := lowerBound(n, func(i int) bool { return created(i) > to })
	var out []int
	if before != "" {
		i := find(before)
		if i < 0 {
			return nil, false, notFoundError(kind, "ending_before", before)
		}
		more := false
		for i = max(i+1, lo); i < hi; i++ {
			if !keep(i) {
				continue
			}
			if len(out) == limit {
				more = true
				break
			}
			out = append(out, i)
		}
		slices.Reverse(out)
		return out, more, nil
	}
	top := hi
	if after != "" {
		i := find(after)
		if i < 0 {
			return nil, false, notFoundError(kind, "starting_after", after)
		}
		top = min(top, i)
	}
	for i := top - 1; i >= lo; i-- {
		if !keep(i) {
			continue
		}
		if len(out) == limit {
			return out, true, nil
		}
		out = append(out, i)
	}
	return out, false, nil
}

func lowerBound(n int, ok func(int) bool) int {
	lo, hi := 0, n
	for lo < hi {
		if m := (lo + hi) / 2; ok(m) {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}

func listIntents(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	customer := f.get("customer")
	at, more, err := paginate(f, len(a.intentOrder),
		func(i int) int64 { return a.intentOrder[i].created },
		func(id string) int {
			if in := a.intents[id]; in != nil {
				return in.seq
			}
			return -1
		}, "payment_intent", func(i int) bool {
			return customer == "" ||
				a.intentOrder[i].customer == customer
		})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more,
		URL: "/v1/payment_intents"}
	expand := f.expandPaths()
	for _, i := range at {
		l.Data = append(l.Data, a.intentOrder[i].toJSON(expand))
	}
	return l, nil
}

func listEvents(op *operation, a *account, _ string, f *form) (any, *apiError) {
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
	wanted := func(typ string) bool {
		if len(types) == 0 {
			return true
		}
		for _, t := range types {
			if t == typ {
				return true
			}
			if p, ok := strings.CutSuffix(t, "*"); ok && strings.HasPrefix(typ, p) {
				return true
			}
		}
		return false
	}
	l := &a.events
	first := l.firstSince(op.now.Add(-eventRetention))
	all := l.all[first:]
	at, more, err := paginate(f, len(all), func(i int) int64 { return all[i].created.Unix() },
		func(id string) int {
			e := l.byID[id]
			if e == nil || len(all) == 0 || e.seq < all[0].seq {
				return -1
			}
			return e.seq - all[0].seq
		}, "event", func(i int) bool {
			return wanted(all[i].eventType) && (!f.has("delivery_success") ||
				f.isTrue("delivery_success") != all[i].webhookPending)
		})
	if err != nil {
		return nil, err
	}
	out := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more, URL: "/v1/events"}
	for _, i := range at {
		out.Data = append(out.Data, all[i].toJSON(a, a.sim.options.Webhook.APIVersion, false))
	}
	return out, nil
}

func retrieveEvent(op *operation, a *account, id string, _ *form) (any, *apiError) {
	e := a.events.byID[id]
	if e == nil || e.created.Before(op.now.Add(-eventRetention)) {
		return nil, notFoundError("event", "id", id)
	}
	return e.toJSON(a, a.sim.options.Webhook.APIVersion, false), nil
}

func retrieveCharge(_ *operation, a *account, id string, f *form) (any, *apiError) {
	c := a.charges[id]
	if c == nil {
		return nil, notFoundError("charge", "charge", id)
	}
	expand := ""
	if slices.Contains(f.lists["expand"], "payment_intent") {
		expand = "payment_intent"
	}
	return c.toJSON(expand), nil
}
