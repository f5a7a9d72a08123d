package main

import (
	"regexp"
	"strings"
)

// flagOfField is the flag of a field of the API.
var flagOfField = map[string]string{
	"application_fee_amount": "--application-fee-amount", "cancel_at": "--cancel-at",
	"cancellation_reason": "--reason", "capture_amount": "--capture-amount",
	"capture_at": "--capture-at", "capture_metadata": "--capture-metadata",
	"expires_at": "--expires-at", "expiring_within": "--expiring-within",
	"max_amount": "--renew-max-amount", "max_renewals": "--renew-max",
	"on_expiry": "--on-expiry", "on_failure": "--renew-on-failure",
	"payment_intent": "PAYMENT_INTENT", "renewal.until": "--renew-until",
	"renewal.max_amount": "--renew-max-amount", "renewal.max_renewals": "--renew-max",
	"renewal.on_failure":          "--renew-on-failure",
	"statement_descriptor_suffix": "--statement-descriptor-suffix",
	"time_zone":                   "--time-zone", "transfer_data.amount": "--transfer-data-amount",
}

// flagOfLabel is the flag of a field whose name is a word of its own, which is
// replaced only where the message names the field it is about.
var flagOfLabel = map[string]string{"account": "--account", "amount": "--amount",
	"currency": "--currency", "metadata": "--metadata", "reference": "--reference",
	"reason": "--reason", "state": "--state"}

// commandOfRoute is the command of a route of the API.
var commandOfRoute = []struct {
	route   *regexp.Regexp
	command string
}{
	{regexp.MustCompile(`PATCH /v1/holds/(\S+)`), "holdd reschedule $1"},
	{regexp.MustCompile(`POST /v1/holds/(\S+)/(capture|cancel|increment|pause|resume|acknowledge)`),
		"holdd $2 $1"},
	{regexp.MustCompile(`GET /v1/holds/(\S+)`), "holdd show $1"},
	{regexp.MustCompile(`POST /v1/holds(:batch)?`), "holdd schedule"},
	{regexp.MustCompile(`GET /v1/deliveries(/\S+)?`), "holdd callbacks"},
	{regexp.MustCompile(`(GET|POST) /v1/reconcile`), "holdd reconcile"},
}

var (
	fieldPattern = regexp.MustCompile(`[a-z]+(?:[_.][a-z]+)+`)
	labelPattern = regexp.MustCompile(`^([a-z]+): `)
)

// replaceAPIWordsWithCommands rewrites a message of the API in the words of the
// command line: flags for fields, and commands for routes.
func replaceAPIWordsWithCommands(message string) string {
	if m := labelPattern.FindStringSubmatch(message); m != nil && flagOfLabel[m[1]] != "" {
		message = flagOfLabel[m[1]] + strings.TrimPrefix(message, m[1])
	}
	for _, r := range commandOfRoute {
		message = r.route.ReplaceAllString(message, r.command)
	}
	return fieldPattern.ReplaceAllStringFunc(message, func(name string) string {
		if flag, ok := flagOfField[name]; ok {
			return flag
		}
		return name
	})
}
