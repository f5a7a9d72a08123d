package stripesim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ControlHelp describes the control endpoints.
const ControlHelp = `Control endpoints (JSON in, JSON out; durations as in Go: "90s", "24h"):

  GET    /_sim/ledger      every effect in order, and the totals; ?payment_intent=pi_… for one
  GET    /_sim/stats       calls by class and answer, most calls in any second, 429s, webhooks
  GET    /_sim/intents     all PaymentIntents in short; ?account=acct_…
  GET    /_sim/clock       {"now":…}
  POST   /_sim/advance     {"by":"24h"}   moves the clock forward, processes what falls due
  POST   /_sim/holds       places an authorization -> {"id":"pi_…"}
           {"amount":10000,"currency":"eur","payment_method":"pm_card_visa","account":"",
            "payment_method_type":"card|klarna|paypal|affirm|afterpay_clearpay|cashapp",
            "manual_by_type":false,
            "metadata":{},"kind":"online|off_session|terminal","multicapture":false,
            "incremental":false,"overcapture":false,"extended":false,
            "customer":"cus_…","setup_future_usage":"off_session"}
  POST   /_sim/customers   makes a customer with a saved card -> {"customer":…,"payment_method":…}
           {"payment_method":"pm_card_visa","account":""}
  POST   /_sim/cards/{id}  what the bank of a saved card (pm_…) answers: at most "credit" held
                           and captured at once (negative: no limit), and the first outcome
                           that applies; [] for the test card's own
           {"credit":150000,"outcomes":[{"from":"2030-01-01T00:00:00Z","until":…,"times":1,
            "code":"card_declined","decline_code":"insufficient_funds",
            "advice_code":"try_again_later","network_advice_code":"02",
            "network_decline_code":"51"}]}; code authentication_required asks for 3-D Secure
  POST   /_sim/checkout/{id}  enters a card on the page of a Checkout Session (cs_…)
           {"card":"pm_card_visa"} -> {"return_url":…}
  POST   /_sim/features    what later authorizations of an account can have; missing: available
           {"account":"","extended":true,"incremental":true,"multicapture":true,
            "overcapture":true}
  POST   /_sim/dashboard/{id}/{act}   acts as an operator at the Dashboard:
           capture          {"amount":700}   without amount: all;
                            "final":false keeps the rest (multicapture)
           cancel           {"reason":"duplicate"}
           increment        {"amount":12000}   the new total
           complete_action  the cardholder passes 3-D Secure
           fail_action      the cardholder fails it
           open_review
           close_review     {"reason":"approved"}
           capture_before   {"in":"2h"}   changes when this authorization ends
  GET    /_sim/faults      the rules
  POST   /_sim/faults      adds a rule -> {"id":1}; a missing field matches everything;
                           a rule that can have no effect is answered 400
           {"kind":"drop_reply","class":"payment_intents.capture","payment_intent":"",
            "account":"","nth":1,"times":1,"probability":0.1,"status":500,"code":"",
            "before":"1s","service":"1s","after":"1s","should_retry":"false"}
  DELETE /_sim/faults      all rules; /_sim/faults/{id} for one
  POST   /_sim/settings    a missing field changes nothing; a negative rate is no limit;
                           deadline "default" is the card networks' windows
           {"endpoint_rate":25,"overall_rate":100,"service_time":"0s","search_lag":"1m",
            "deadline":"2h","already_captured_code":"","expired_code":""}
  POST   /_sim/keys        {"key":"sk_test_…","do":"revoke|restrict|restore",
                            "allow":["payment_intents.retrieve"]}
  POST   /_sim/prune       {"key":""}   removes one idempotency key, or all

Kinds of fault: drop_request drop_reply broken_body cut_body error_before error_after
unavailable html html_after rate_limited lock_timeout conflict dependency unauthorized
forbidden not_found decline; none with delays or should_retry alone. status (400 to 599) is for
error_before error_after unavailable html html_after, code for error_before error_after
unavailable dependency decline.

Classes: payment_intents.{create confirm retrieve update capture cancel
increment_authorization list search} setup_intents.{create confirm retrieve update cancel list}
events.{list retrieve} charges.{retrieve list} refunds.{create update retrieve list}
reviews.retrieve account.retrieve balance.retrieve balance_transactions.retrieve
customers.{create update delete retrieve list} tokens.{create retrieve}
payment_methods.{create retrieve attach detach list} confirmation_tokens.{create retrieve}
webhook_endpoints.{create update delete retrieve list} checkout.sessions.{create retrieve}
`

// jsonDuration is a duration that JSON writes as "90s".
type jsonDuration time.Duration

func (d *jsonDuration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New(`invalid duration: want a string such as "90s"`)
	}
	v, err := time.ParseDuration(s)
	*d = jsonDuration(v)
	return err
}

func (d jsonDuration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// faultRuleJSON is a [FaultRule] as the control endpoints read and write it.
type faultRuleJSON struct {
	ID           int           `json:"id,omitempty"`
	Kind         FaultKind     `json:"kind,omitempty"`
	Class        EndpointClass `json:"class,omitempty"`
	Intent       string        `json:"payment_intent,omitempty"`
	Account      string        `json:"account,omitempty"`
	Nth          int           `json:"nth,omitempty"`
	Times        int           `json:"times,omitempty"`
	Probability  *float64      `json:"probability,omitempty"` // 0 is refused, not "always"
	Status       int           `json:"status,omitempty"`
	Code         string        `json:"code,omitempty"`
	RequestDelay jsonDuration  `json:"before,omitempty"`
	ServiceTime  jsonDuration  `json:"service,omitempty"`
	ReplyDelay   jsonDuration  `json:"after,omitempty"`
	ShouldRetry  string        `json:"should_retry,omitempty"`
	Hits         int           `json:"hits"`
}

// controlHandler serves the control endpoints.
type controlHandler struct{ sim *Sim }

// newControlHandler returns the control endpoints of sim.
func newControlHandler(sim *Sim) http.Handler {
	h := controlHandler{sim}
	m := http.NewServeMux()
	m.HandleFunc("GET /_sim/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, ControlHelp)
	})
	for pattern, f := range map[string]func(*http.Request) (any, error){
		"GET /_sim/ledger":                h.showLedger,
		"GET /_sim/stats":                 h.showStats,
		"GET /_sim/intents":               h.listIntents,
		"GET /_sim/clock":                 h.showClock,
		"POST /_sim/advance":              h.advanceClock,
		"POST /_sim/holds":                h.authorize,
		"POST /_sim/customers":            h.saveCard,
		"POST /_sim/cards/{id}":           h.changeCard,
		"POST /_sim/features":             h.changeFeatures,
		"POST /_sim/checkout/{id}":        h.completeCardSetup,
		"POST /_sim/dashboard/{id}/{act}": h.actAtDashboard,
		"GET /_sim/faults":                h.listFaultRules,
		"POST /_sim/faults":               h.addFaultRule,
		"DELETE /_sim/faults":             h.clearFaultRules,
		"DELETE /_sim/faults/{id}":        h.removeFaultRule,
		"POST /_sim/settings":             h.changeSettings,
		"POST /_sim/keys":                 h.changeKey,
		"POST /_sim/prune":                h.pruneIdempotencyKeys,
	} {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { serveJSON(w, r, f) })
	}
	return m
}

// serveJSON answers with the result of f, or with its error.
func serveJSON(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	v, err := f(r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusBadRequest
		var api *apiError
		if errors.As(err, &api) {
			status = api.status
		}
		w.WriteHeader(status)
		v = map[string]string{"error": err.Error()}
	}
	w.Write(encodeJSON(v))
}

func decodeJSON(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("invalid body (see GET /_sim/): %w", err)
	}
	return nil
}

// done is the answer of an endpoint that returns nothing else.
var done = map[string]bool{"ok": true}

// rejectUnknownQuery refuses query parameters other than the known one.
func rejectUnknownQuery(r *http.Request, known string) error {
	for name := range r.URL.Query() {
		if name != known {
			return fmt.Errorf("unknown query parameter %q: want %s", name, known)
		}
	}
	return nil
}

func (h controlHandler) showLedger(r *http.Request) (any, error) {
	if err := rejectUnknownQuery(r, "payment_intent"); err != nil {
		return nil, err
	}
	effects := h.sim.Ledger()
	if r.URL.Query().Has("payment_intent") {
		id := r.URL.Query().Get("payment_intent")
		if _, ok := h.sim.Intent(id); !ok {
			return nil, notFoundError("payment_intent", "payment_intent", id)
		}
		effects = slices.DeleteFunc(effects, func(e Effect) bool { return e.Intent != id })
	}
	if effects == nil {
		effects = []Effect{}
	}
	return map[string]any{"livemode": false, "effects": effects, "totals": h.sim.Totals()}, nil
}

func (h controlHandler) listIntents(r *http.Request) (any, error) {
	if err := rejectUnknownQuery(r, "account"); err != nil {
		return nil, err
	}
	account := r.URL.Query().Get("account")
	if account != "" && !h.sim.accounts.isKnown(account) {
		return nil, fmt.Errorf("unknown account %q: want a connected one", account)
	}
	return h.sim.Intents(account), nil
}

func (h controlHandler) showClock(*http.Request) (any, error) {
	return map[string]time.Time{"now": h.sim.Now()}, nil
}

func (h controlHandler) advanceClock(r *http.Request) (any, error) {
	var in struct{ By jsonDuration }
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if in.By < 0 {
		return nil, fmt.Errorf("invalid \"by\" %s: want a positive duration",
			time.Duration(in.By))
	}
	h.sim.Advance(time.Duration(in.By))
	return h.showClock(r)
}

func (h controlHandler) authorize(r *http.Request) (any, error) {
	var in struct {
		Account, Currency, Description, Kind             string
		PaymentMethod                                    string `json:"payment_method"`
		PaymentMethodType                                string `json:"payment_method_type"`
		ManualByType                                     bool   `json:"manual_by_type"`
		Amount                                           int64
		Metadata                                         map[string]string
		Customer                                         string
		FutureUsage                                      string `json:"setup_future_usage"`
		Multicapture, Incremental, Overcapture, Extended bool
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if in.Account != "" && !h.sim.accounts.isKnown(in.Account) {
		return nil, fmt.Errorf("unknown account %q: want a connected one", in.Account)
	}
	channel, ok := map[string]PaymentChannel{"": ChannelOnline, "online": ChannelOnline,
		"off_session": ChannelOffSession, "terminal": ChannelTerminal}[in.Kind]
	if !ok {
		return nil, fmt.Errorf("invalid \"kind\" %q: want online, off_session or terminal", in.Kind)
	}
	id, err := h.sim.Authorize(Hold{Account: in.Account, Amount: in.Amount, Currency: in.Currency,
		PaymentMethod: in.PaymentMethod, PaymentMethodType: in.PaymentMethodType,
		ManualByType: in.ManualByType, Metadata: in.Metadata,
		Customer: in.Customer, FutureUsage: in.FutureUsage,
		Description: in.Description, Channel: channel, Multicapture: in.Multicapture,
		Incremental: in.Incremental, Overcapture: in.Overcapture, Extended: in.Extended})
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": id}, nil
}

// dashboardParams are the parameters of all acts at the Dashboard.
type dashboardParams struct {
	Amount int64
	Reason string
	In     jsonDuration
	Final  *bool
}

func (h controlHandler) actAtDashboard(r *http.Request) (any, error) {
	var in dashboardParams
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if err := h.act(id, r.PathValue("act"), in); err != nil {
		return nil, err
	}
	if st, ok := h.sim.Intent(id); ok {
		return st, nil
	}
	return done, nil // a SetupIntent
}

func (h controlHandler) act(id, act string, in dashboardParams) error {
	d := h.sim.Dashboard()
	switch act {
	case "capture":
		if in.Final != nil && !*in.Final {
			return d.CapturePart(id, in.Amount)
		}
		return d.Capture(id, in.Amount)
	case "cancel":
		return d.Cancel(id, in.Reason)
	case "increment":
		return d.Increment(id, in.Amount)
	case "complete_action":
		return d.CompleteAction(id)
	case "fail_action":
		return d.FailAction(id)
	case "open_review":
		return d.OpenReview(id)
	case "close_review":
		return d.CloseReview(id, cmp.Or(in.Reason, "approved"))
	case "capture_before":
		return d.SetCaptureBefore(id, h.sim.Now().Add(time.Duration(in.In)))
	}
	return &apiError{status: 404, typ: typeInvalidRequest,
		message: "unknown act (see GET /_sim/)"}
}

func (h controlHandler) listFaultRules(*http.Request) (any, error) {
	out := []faultRuleJSON{}
	for _, r := range h.sim.Faults.list() {
		f := r.Fault
		var probability *float64
		if r.Probability != 0 {
			probability = &r.Probability
		}
		out = append(out, faultRuleJSON{r.id, f.Kind, r.Class, r.Intent, r.Account, r.Nth, r.Times,
			probability, f.Status, f.Code,
			jsonDuration(f.RequestDelay), jsonDuration(f.ServiceTime), jsonDuration(f.ReplyDelay),
			f.ShouldRetry, r.hits})
	}
	return out, nil
}

func (h controlHandler) addFaultRule(r *http.Request) (any, error) {
	var in faultRuleJSON
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	rule := FaultRule{Class: in.Class, Account: in.Account,
		Intent: in.Intent, Nth: in.Nth, Times: in.Times,
		Fault: Fault{Kind: in.Kind, Status: in.Status, Code: in.Code,
			RequestDelay: time.Duration(in.RequestDelay),
			ServiceTime:  time.Duration(in.ServiceTime),
			ReplyDelay:   time.Duration(in.ReplyDelay), ShouldRetry: in.ShouldRetry}}
	if in.Probability != nil {
		if rule.Probability = *in.Probability; rule.Probability == 0 {
			return nil, errors.New("invalid probability 0: want more than 0 and at most 1")
		}
	}
	id, err := h.sim.Faults.AddFaultRule(rule)
	return map[string]int{"id": id}, err
}

func (h controlHandler) clearFaultRules(*http.Request) (any, error) {
	h.sim.Faults.ClearFaultRules()
	return done, nil
}

func (h controlHandler) removeFaultRule(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	h.sim.Faults.RemoveFaultRule(id)
	return done, err
}

func (h controlHandler) changeSettings(r *http.Request) (any, error) {
	var in struct {
		EndpointRate        *float64      `json:"endpoint_rate"`
		OverallRate         *float64      `json:"overall_rate"`
		ServiceTime         *jsonDuration `json:"service_time"`
		SearchLag           *jsonDuration `json:"search_lag"`
		Deadline            string        `json:"deadline"`
		AlreadyCapturedCode string        `json:"already_captured_code"`
		ExpiredCode         string        `json:"expired_code"`
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	window, err := parseWindow(in.Deadline)
	if err != nil {
		return nil, err
	}
	h.sim.Settings.update(func(t *settings) {
		setIfGiven(&t.endpointRate, in.EndpointRate)
		setIfGiven(&t.overallRate, in.OverallRate)
		setIfGiven(&t.serviceTime, (*time.Duration)(in.ServiceTime))
		setIfGiven(&t.searchLag, (*time.Duration)(in.SearchLag))
		if window != nil {
			t.authorizationWindow = window
		}
	})
	h.sim.Settings.SetCaptureErrorCodes(in.AlreadyCapturedCode, in.ExpiredCode)
	return done, nil
}

func setIfGiven[T any](to, value *T) {
	if value != nil {
		*to = *value
	}
}

// parseWindow parses how long authorizations last: a duration, or "default".
// Empty returns nil.
func parseWindow(s string) (func(Card) time.Duration, error) {
	switch s {
	case "":
		return nil, nil
	case "default":
		return DefaultAuthorizationWindow, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return nil, fmt.Errorf(`invalid "deadline" %q: want a duration such as "2h", or "default"`,
			s)
	}
	return func(Card) time.Duration { return d }, nil
}

func (h controlHandler) changeKey(r *http.Request) (any, error) {
	var in struct {
		Key, Do string
		Allow   []EndpointClass
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	switch {
	case IsLiveKey(in.Key):
		return nil, errors.New("live key: roll it, and send no live key to a simulator")
	case in.Do == "revoke":
		h.sim.Keys.RevokeKey(in.Key)
	case in.Do == "restrict":
		h.sim.Keys.RestrictKey(in.Key, in.Allow...)
	case in.Do == "restore":
		h.sim.Keys.RestoreKey(in.Key)
	default:
		return nil, fmt.Errorf(`invalid "do" %q: want revoke, restrict or restore`, in.Do)
	}
	return done, nil
}

func (h controlHandler) pruneIdempotencyKeys(r *http.Request) (any, error) {
	var in struct{ Key string }
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	h.sim.PruneIdempotencyKeys(in.Key)
	return done, nil
}

func (h controlHandler) showStats(*http.Request) (any, error) {
	st := h.sim.Stats()
	type line struct {
		Class  EndpointClass `json:"class"`
		Status int           `json:"status"` // 0: the connection was dropped
		Code   string        `json:"code,omitempty"`
		Calls  int64         `json:"calls"`
	}
	lines := []line{}
	for a := range maps.Keys(st.Calls) {
		lines = append(lines, line{a.Class, a.Status, a.Code, st.Calls[a]})
	}
	slices.SortFunc(lines, func(a, b line) int {
		return strings.Compare(fmt.Sprintf("%s %03d %s", a.Class, a.Status, a.Code),
			fmt.Sprintf("%s %03d %s", b.Class, b.Status, b.Code))
	})
	return map[string]any{
		"livemode": false, "calls": lines, "replayed": st.Replayed, "rate_limited": st.RateLimited,
		"lock_timeouts":  st.LockTimeouts,
		"max_per_second": st.MaxPerSecond, "max_overall_per_second": st.MaxOverall,
		"webhooks_sent": st.WebhooksSent, "webhooks_failed": st.WebhooksFailed,
		"webhooks_dropped": st.WebhooksDropped,
	}, nil
}
