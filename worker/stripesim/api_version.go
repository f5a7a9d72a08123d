package stripesim

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// APIVersion is the version of answers and events unless another is asked for.
const APIVersion = "2023-10-16"

// NewestAPIVersion is the newest version that the simulator knows. An account
// that is created today has it.
const NewestAPIVersion = "2026-11-18.endive"

// Versions from which Stripe behaves differently. Versions sort as strings.
const (
	versionAutomaticAsync       = "2024-04-10"
	versionReleaseIsNoRefund    = "2025-03-31"
	versionNoPaymentMethodTypes = "2026-09-30"
)

// applyVersion applies what the call's version changes about its parameters.
func (c *apiCall) applyVersion(f *form) *apiError {
	if !IsAPIVersion(c.version) {
		return validationError("", "", "Invalid Stripe API version: %s", c.version)
	}
	switch c.class {
	case ClassCreate, ClassConfirm, ClassUpdate:
	default:
		return nil
	}
	if c.version >= versionNoPaymentMethodTypes && len(f.lists["payment_method_types"]) > 0 {
		return validationError("payment_method_types_no_longer_supported", "payment_method_types",
			"The parameter `payment_method_types` is no longer supported in API version %s. Use "+
				"dynamic payment methods, or `allowed_payment_method_types` or "+
				"`excluded_payment_method_types`.", c.version)
	}
	if c.class == ClassCreate && c.version >= versionAutomaticAsync && !f.has("capture_method") {
		f.scalars["capture_method"] = "automatic_async"
	}
	return checkAllowedTypes(f)
}

// checkAllowedTypes checks allowed_payment_method_types, which every version
// accepts.
func checkAllowedTypes(f *form) *apiError {
	allowed := f.lists["allowed_payment_method_types"]
	if len(allowed) > 0 && (len(f.lists["payment_method_types"]) > 0 ||
		f.isTrue("automatic_payment_methods[enabled]")) {
		return validationError("", "allowed_payment_method_types",
			"You may only specify one of these parameters: allowed_payment_method_types, "+
				"automatic_payment_methods, payment_method_types.")
	}
	return checkPaymentMethodTypes(allowed)
}

// addedFields are the fields that a version adds, each null. Stripe adds more;
// these are on the objects of a payment that is captured manually.
var addedFields = []struct{ since, object, path string }{
	{"2024-09-30", "charge", "payment_method_details.card.authorization_code"},
	{"2024-12-18", "charge", "outcome.network_advice_code"},
	{"2024-12-18", "charge", "outcome.network_decline_code"},
	{"2024-12-18", "charge", "payment_method_details.card.network_transaction_id"},
	{"2024-12-18", "charge", "payment_method_details.card.regulated_status"},
	{"2025-01-27", "charge", "outcome.advice_code"},
	{"2025-04-30", "charge", "billing_details.tax_id"},
	{"2025-08-27", "payment_intent", "excluded_payment_method_types"},
	{"2025-12-15", "payment_intent", "customer_account"},
	{"2026-04-22", "payment_intent", "managed_payments"},
	{"2026-06-24", "charge", "payment_method_details.card.transaction_link_id"},
	{"2026-07-29", "payment_intent", "allowed_payment_method_types"},
	{"2026-09-30", "payment_intent", "payment_record"},
}

// renderInVersion returns v, which is rendered as in [APIVersion], as another
// version renders it. Versions before APIVersion are rendered like it.
func renderInVersion(version string, v any) any {
	if version < addedFields[0].since {
		return v
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(encodeJSON(v)))
	d.UseNumber() // amounts stay integers
	if err := d.Decode(&tree); err != nil {
		panic(err) // only what encodeJSON made gets here
	}
	upgradeTree(version, tree)
	return tree
}

// upgradeTree changes each object of a rendering. An event inside an answer
// keeps the version in which it was made.
func upgradeTree(version string, v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			upgradeTree(version, x)
		}
	case map[string]any:
		object, _ := v["object"].(string)
		if object == "event" {
			return
		}
		for name, x := range v {
			if name != "metadata" { // its keys are the caller's
				upgradeTree(version, x)
			}
		}
		upgradeObject(version, object, v)
	}
}

// upgradeObject changes one object.
func upgradeObject(version, object string, o map[string]any) {
	if version >= versionReleaseIsNoRefund {
		renderReleaseWithoutRefund(object, o)
	}
	for _, a := range addedFields {
		if a.object != object || version < a.since {
			continue
		}
		parent, names := o, strings.Split(a.path, ".")
		for _, name := range names[:len(names)-1] {
			parent, _ = parent[name].(map[string]any)
		}
		last := names[len(names)-1]
		if _, exists := parent[last]; parent != nil && !exists {
			parent[last] = nil
		}
	}
}

// refundedOfCaptured returns how much of a charge's captured money was refunded.
// In the old rendering amount_refunded has the released rest as well.
func refundedOfCaptured(charge map[string]any) int64 {
	if charge["captured"] != true {
		return 0
	}
	captured := integerOf(charge["amount_captured"])
	released := max(0, integerOf(charge["amount"])-captured)
	return max(0, integerOf(charge["amount_refunded"])-released)
}

func integerOf(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// renderReleaseWithoutRefund shows a release as what it is: money that was
// never taken. Older versions show a refund.
func renderReleaseWithoutRefund(object string, o map[string]any) {
	switch object {
	case "payment_intent":
		delete(o, "invoice")
		delete(o, "source")
		if o["cancellation_reason"] == "automatic" {
			o["cancellation_reason"] = "expired"
		}
	case "charge":
		delete(o, "invoice")
		delete(o, "source")
		refunded := refundedOfCaptured(o)
		o["amount_refunded"] = json.Number(strconv.FormatInt(refunded, 10))
		o["refunded"] = refunded > 0 && refunded == integerOf(o["amount_captured"])
	case "list":
		if url, _ := o["url"].(string); strings.HasSuffix(url, "/refunds") {
			data, _ := o["data"].([]any)
			o["data"] = slices.DeleteFunc(data, func(v any) bool {
				r, _ := v.(map[string]any) // only captured money has a transaction
				return r["balance_transaction"] == nil
			})
		}
	case "review":
		for _, name := range []string{"reason", "closed_reason"} {
			if o[name] == "refunded" {
				o[name] = "canceled"
			}
		}
	}
}
