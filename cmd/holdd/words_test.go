package main

import "testing"

func TestInCommandWords(t *testing.T) {
	for message, want := range map[string]string{
		"capture_at: it must be before expires_at":                "--capture-at: it must be before --expires-at",
		`on_expiry: invalid on_expiry "foo": want cancel`:         `invalid --on-expiry "foo": want cancel`,
		`account: invalid account "x": want acct_`:                `invalid --account "x": want acct_`,
		`capture_at: invalid time "soon": want RFC 3339`:          `--capture-at: invalid time "soon": want RFC 3339`,
		"amount: want an amount":                                  "--amount: want an amount",
		"the amount is too large":                                 "the amount is too large",
		"renewal.until: want a time":                              "--renew-until: want a time",
		"it has other terms: change it with PATCH /v1/holds/pi_1": "it has other terms: change it with holdd reschedule pi_1",
		`no sink "x": GET /v1/deliveries lists all sinks`:         `no sink "x": holdd callbacks lists all sinks`,
		"a newer run replaced it: POST /v1/reconcile starts one":  "a newer run replaced it: holdd reconcile starts one",
		"captures: the captures take 420.01 EUR in all":           "--capture: the captures take 420.01 EUR in all",
		"captures.1.at: it must be after the capture before it":   "--capture: it must be after the capture before it",
		"renewal: cannot renew pi_1: no customer":                 "--renew-until: cannot renew pi_1: no customer",
		"renewal.max_amount: too little":                          "--renew-max-amount: too little",
		"final: hold pi_1 cannot be captured in parts":            "--not-final: hold pi_1 cannot be captured in parts",
		"payment_intent: hold pi_1 is scheduled already":          "hold pi_1 is scheduled already",
		"Idempotency-Key: the key was used":                       "--idempotency-key: the key was used",
		"payment_method is something else":                        "payment_method is something else",
	} {
		if got := replaceAPIWordsWithCommands(message); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
