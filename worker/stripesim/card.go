package stripesim

import "strings"

// testCard is one of Stripe's test cards, with what its bank answers.
type testCard struct {
	number, brand, funding string
	declineCode            string // decline_code when charged
	errorCode              string // error code, if not card_declined
	auth                   authRequirement
}

type authRequirement int

const (
	authNever       authRequirement = iota + 1
	authUnlessSetUp                 // unless the card was set up for off-session use
	authAlways
)

// testCards are by the name of their test PaymentMethod.
var testCards = map[string]testCard{
	"pm_card_visa": {number: "4242424242424242",
		brand: "visa", funding: "credit"},
	"pm_card_visa_debit": {number: "4000056655665556",
		brand: "visa", funding: "debit"},
	"pm_card_mastercard": {number: "5555555555554444",
		brand: "mastercard", funding: "credit"},
	"pm_card_mastercard_debit": {number: "5200828282828210",
		brand: "mastercard", funding: "debit"},
	"pm_card_amex": {number: "378282246310005",
		brand: "amex", funding: "credit"},
	"pm_card_discover": {number: "6011111111111117",
		brand: "discover", funding: "credit"},
	"pm_card_diners": {number: "3056930009020004",
		brand: "diners", funding: "credit"},
	"pm_card_jcb": {number: "3566002020360505",
		brand: "jcb", funding: "credit"},
	"pm_card_unionpay": {number: "6200000000000005",
		brand: "unionpay", funding: "credit"},
	"pm_card_authenticationRequired": {number: "4000002760003184",
		brand: "visa", auth: authAlways},
	"pm_card_threeDSecure2Required": {number: "4000000000003220",
		brand: "visa", auth: authAlways},
	"pm_card_threeDSecureRequired": {number: "4000000000003063",
		brand: "visa", auth: authAlways},
	"pm_card_authenticationRequiredOnSetup": {number: "4000002500003155",
		brand: "visa", auth: authUnlessSetUp},
	"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": {number: "4000008260003178",
		brand: "visa", auth: authAlways, declineCode: "insufficient_funds"},
	"pm_card_chargeCustomerFail": {number: "4000000000000341",
		brand: "visa", declineCode: "generic_decline"},
	"pm_card_visa_chargeDeclined": {number: "4000000000000002",
		brand: "visa", declineCode: "generic_decline"},
	"pm_card_visa_chargeDeclinedInsufficientFunds": {number: "4000000000009995",
		brand: "visa", declineCode: "insufficient_funds"},
	"pm_card_visa_chargeDeclinedLostCard": {number: "4000000000009987",
		brand: "visa", declineCode: "lost_card"},
	"pm_card_visa_chargeDeclinedStolenCard": {number: "4000000000009979",
		brand: "visa", declineCode: "stolen_card"},
	"pm_card_visa_chargeDeclinedVelocityLimitExceeded": {number: "4000000000006975",
		brand: "visa", declineCode: "card_velocity_exceeded"},
	"pm_card_visa_chargeDeclinedFraudulent": {number: "4100000000000019",
		brand: "visa", declineCode: "fraudulent"},
	"pm_card_visa_chargeDeclinedExpiredCard": {number: "4000000000000069",
		brand: "visa", errorCode: "expired_card", declineCode: "expired_card"},
	"pm_card_visa_chargeDeclinedIncorrectCvc": {number: "4000000000000127",
		brand: "visa", errorCode: "incorrect_cvc", declineCode: "incorrect_cvc"},
	"pm_card_visa_chargeDeclinedProcessingError": {number: "4000000000000119",
		brand: "visa", errorCode: "processing_error", declineCode: "processing_error"},
}

// testCardAliases are Stripe's other names of the same cards.
var testCardAliases = map[string]string{
	"pm_card_us":                              "pm_card_visa",
	"pm_card_chargeDeclined":                  "pm_card_visa_chargeDeclined",
	"pm_card_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
	"pm_card_chargeDeclinedFraudulent":        "pm_card_visa_chargeDeclinedFraudulent",
	"pm_card_chargeDeclinedExpiredCard":       "pm_card_visa_chargeDeclinedExpiredCard",
	"pm_card_chargeDeclinedIncorrectCvc":      "pm_card_visa_chargeDeclinedIncorrectCvc",
	"pm_card_chargeDeclinedProcessingError":   "pm_card_visa_chargeDeclinedProcessingError",
	"pm_card_radarBlock":                      "pm_card_visa_chargeDeclinedFraudulent",
}

var declineMessages = map[string]string{
	"insufficient_funds": "Your card has insufficient funds.",
	"expired_card":       "Your card has expired.",
	"incorrect_cvc":      "Your card's security code is incorrect.",
	"processing_error": "An error occurred while processing your card. Try again in a " +
		"little bit.",
	"card_velocity_exceeded": "Your card was declined for making repeated attempts too " +
		"frequently or exceeding its amount limit.",
}

func declineMessage(code string) string {
	if m, ok := declineMessages[code]; ok {
		return m
	}
	return "Your card was declined."
}

func cardByName(name string) (testCard, bool) {
	if a, ok := testCardAliases[name]; ok {
		name = a
	}
	c, ok := testCards[name]
	return c, ok
}

func cardByNumber(number string) (testCard, bool) {
	number = strings.ReplaceAll(number, " ", "")
	for _, c := range testCards {
		if c.number == number {
			return c, true
		}
	}
	return testCard{}, false
}

// paymentMethod is a PaymentMethod.
type paymentMethod struct {
	id              string
	created         int64
	customer        string
	brand           string
	funding         string
	last4           string
	fingerprint     string
	expMonth        int
	expYear         int
	methodType      string
	card            testCard
	issuer          issuer
	seq             int
	usedOnce        bool // without a customer: it may not be used again
	setUpOffSession bool // authenticated for off-session use
	metadata        map[string]string
}

type paymentMethodJSON struct {
	ID             string                 `json:"id"`
	Object         string                 `json:"object"`
	BillingDetails billingDetailsJSON     `json:"billing_details"`
	Card           *paymentMethodCardJSON `json:"card,omitempty"`
	CardPresent    *paymentMethodCardJSON `json:"card_present,omitempty"`
	Created        int64                  `json:"created"`
	Customer       *string                `json:"customer"`
	Livemode       bool                   `json:"livemode"`
	Metadata       map[string]string      `json:"metadata"`
	Type           string                 `json:"type"`
	methodDataJSON
}

type paymentMethodCardJSON struct {
	Brand       string      `json:"brand"`
	Checks      *checksJSON `json:"checks,omitempty"`
	Country     string      `json:"country"`
	ExpMonth    int         `json:"exp_month"`
	ExpYear     int         `json:"exp_year"`
	Fingerprint string      `json:"fingerprint"`
	Funding     string      `json:"funding"`
	Last4       string      `json:"last4"`
	Wallet      *string     `json:"wallet,omitempty"`
}

// isCard reports whether it is a card, be it on a page or at a terminal.
func (m *paymentMethod) isCard() bool {
	return m.methodType == typeOfCard || m.methodType == typeOfCardPresent
}

func (m *paymentMethod) toJSON() *paymentMethodJSON {
	j := &paymentMethodJSON{ID: m.id, Object: "payment_method", Created: m.created,
		Customer: stringOrNil(m.customer), Metadata: m.metadata, Type: m.methodType}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	if !m.isCard() {
		j.set(m.methodType, redirectTypes[m.methodType].method)
		return j
	}
	c := &paymentMethodCardJSON{Brand: m.brand, Country: "US", ExpMonth: m.expMonth,
		ExpYear: m.expYear, Fingerprint: m.fingerprint,
		Funding: m.funding, Last4: m.last4}
	if m.methodType == typeOfCardPresent {
		j.CardPresent = c
		return j
	}
	c.Checks = &checksJSON{CVCCheck: "pass"}
	j.Card = c
	return j
}

// currencyList are the currencies that Stripe accepts.
const currencyList = " usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd " +
	"bnd bob brl bsd btn bwp byn bzd cad cdf chf clp cny cop crc " +
	"cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr " +
	"ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt " +
	"lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr " +
	"nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf " +
	"sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs " +
	"vnd vuv wst xaf xcd xcg xof xpf yer zar zmw "

func isKnownCurrency(c string) bool {
	return len(c) == 3 && strings.Contains(currencyList, " "+c+" ")
}
