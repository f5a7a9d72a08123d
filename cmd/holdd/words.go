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
// replaced only where the message names the field it is about. The message about
// a payment_intent names the one that was given, so it needs no label.
var flagOfLabel = map[string]string{"account": "--account: ", "amount": "--amount: ",
	"captures": "--capture: ", "confirm": "--yes: ", "currency": "--currency: ",
	"final": "--not-final: ", "metadata": "--metadata: ", "payment_intent": "",
	"reference": "--reference: ", "renewal": "--renew-until: ",
	"reason": "--reason: ", "state": "--state: ", "Idempotency-Key": "--idempotency-key: "}

// commandPhrases are what the API says of its fields, and how the command line says it.
var commandPhrases = strings.NewReplacer(
	"change captures, or send an empty list first", `give --capture, or --capture "" to end them`,
	"send captures or renewal", "give --capture or --renew-until",
	`send "confirm": true to do that`, "add --yes to do that")

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
	labelPattern = regexp.MustCompile(`^([A-Za-z_-]+)(?:\.\d+\.[a-z]+)?: `) // captures.0.at too
)

// replaceAPIWordsWithCommands rewrites a message of the API in the words of the
// command line: flags for fields, and commands for routes.
func replaceAPIWordsWithCommands(message string) string {
	if m := labelPattern.FindStringSubmatch(message); m != nil {
		if flag, ok := flagOfLabel[m[1]]; ok {
			message = flag + strings.TrimPrefix(message, m[0])
		}
	}
	message = commandPhrases.Replace(message)
	message = replaceRoutesWithCommands(message)
	message = fieldPattern.ReplaceAllStringFunc(message, func(name string) string {
		if flag, ok := flagOfField[name]; ok {
			return flag
		}
		return name
	})
	return nameFlagOnce(message)
}

// replaceRoutesWithCommands rewrites the routes in a message of the API.
func replaceRoutesWithCommands(message string) string {
	for _, r := range commandOfRoute {
		message = r.route.ReplaceAllString(message, r.command)
	}
	return message
}

// nameFlagOnce returns "invalid --flag …" for "--flag: invalid --flag …" and for
// "--flag: invalid flag …".
func nameFlagOnce(message string) string {
	flag, rest, _ := strings.Cut(message, ": invalid ")
	name, value, ok := strings.Cut(rest, " ")
	if !ok || !strings.HasPrefix(flag, "--") || name != flag && "--"+name != flag {
		return message
	}
	return "invalid " + flag + " " + value
}
