package stripesim

import (
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

  GET    /_sim/ledger                   every effect in order, and the totals; ?payment_intent=pi_… for one
  GET    /_sim/stats                    calls by class and answer, most calls in any second, 429s, webhooks
  GET    /_sim/intents                  all PaymentIntents in short; ?account=acct_…
  GET    /_sim/clock                    {"now":…}
  POST   /_sim/advance                  {"by":"24h"}   moves the clock, lets happen what falls due
  POST   /_sim/holds                    {"amount":10000,"currency":"eur","payment_method":"pm_card_visa","account":"","metadata":{},
                                         "kind":"online|off_session|terminal","multicapture":false,"incremental":false,
                                         "overcapture":false,"extended":false}   places an authorization -> {"id":"pi_…"}
  POST   /_sim/dashboard/{id}/capture          {"amount":700}   as a person would; without amount: all;
                                               "final":false keeps the rest (multicapture)
  POST   /_sim/dashboard/{id}/cancel           {"reason":"duplicate"}
  POST   /_sim/dashboard/{id}/increment        {"amount":12000}   the new total
  POST   /_sim/dashboard/{id}/complete_action  the guest passes 3-D Secure
  POST   /_sim/dashboard/{id}/fail_action      the guest fails it
  POST   /_sim/dashboard/{id}/open_review
  POST   /_sim/dashboard/{id}/close_review     {"reason":"approved"}
  POST   /_sim/dashboard/{id}/capture_before   {"in":"2h"}   moves this authorization's deadline
  GET    /_sim/faults                   the rules
  POST   /_sim/faults                   {"kind":"drop_reply","class":"payment_intents.capture","payment_intent":"","account":"",
                                         "nth":1,"times":1,"probability":0.1,"status":500,"code":"","before":"1s","service":"1s",
                                         "after":"1s","should_retry":""}   -> {"id":1}; what is left out matches everything
  DELETE /_sim/faults                   all rules; /_sim/faults/{id} for one
  POST   /_sim/settings                 {"endpoint_rate":25,"overall_rate":100,"service_time":"0s","search_lag":"1m","deadline":"2h",
                                         "already_captured_code":"","expired_code":""}   only what is given; a negative rate is
                                         no limit; deadline "default" is the card networks' own
  POST   /_sim/keys                     {"key":"sk_test_…","do":"revoke|restrict|restore","allow":["payment_intents.retrieve"]}
  POST   /_sim/prune                    {"key":""}   forgets one idempotency key, or all

Kinds of fault: drop_request drop_reply broken_body cut_body error_before error_after unavailable html html_after rate_limited
lock_timeout conflict dependency unauthorized forbidden not_found decline; none with delays alone.
Classes: payment_intents.{create confirm retrieve update capture cancel increment_authorization list search} events.{list retrieve}
charges.retrieve reviews.retrieve account.retrieve balance.retrieve customers.{create retrieve list} payment_methods.{create retrieve attach}
webhook_endpoints.list
`

type jsonDuration time.Duration

func (d *jsonDuration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New(`a duration is a string such as "90s"`)
	}
	v, err := time.ParseDuration(s)
	*d = jsonDuration(v)
	return err
}

func (d jsonDuration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

type faultRuleJSON struct {
	ID           int           `json:"id,omitempty"`
	Kind         FaultKind     `json:"kind,omitempty"`
	Class        EndpointClass `json:"class,omitempty"`
	Intent       string        `json:"payment_intent,omitempty"`
	Account      string        `json:"account,omitempty"`
	Nth          int           `json:"nth,omitempty"`
	Times        int           `json:"times,omitempty"`
	Probability  float64       `json:"probability,omitempty"`
	Status       int           `json:"status,omitempty"`
	Code         string        `json:"code,omitempty"`
	RequestDelay jsonDuration  `json:"before,omitempty"`
	ServiceTime  jsonDuration  `json:"service,omitempty"`
	ReplyDelay   jsonDuration  `json:"after,omitempty"`
	ShouldRetry  string        `json:"should_retry,omitempty"`
	Hits         int           `json:"hits"`
}

// ControlHandler serves the control endpoints under /_sim/. They are for the
// tests beside the simulator: keep them on loopback.
func (s *Sim) ControlHandler() http.Handler {
	m := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
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
		})
	}
	m.HandleFunc("GET /_sim/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, ControlHelp)
	})
	done := map[string]bool{"ok": true}

	handle("GET /_sim/ledger", func(r *http.Request) (any, error) {
		effects := s.Ledger()
		if id := r.URL.Query().Get("payment_intent"); id != "" {
			effects = slices.DeleteFunc(effects, func(e Effect) bool { return e.Intent != id })
		}
		if effects == nil {
			effects = []Effect{}
		}
		return map[string]any{"livemode": false, "effects": effects, "totals": s.Totals()}, nil
	})
	handle("GET /_sim/stats", func(*http.Request) (any, error) { return s.statsJSON(), nil })
	handle("GET /_sim/intents", func(r *http.Request) (any, error) {
		account := r.URL.Query().Get("account")
		if account != "" && !s.isKnownAccount(account) {
			return nil, fmt.Errorf("account %q is not connected", account)
		}
		return s.Intents(account), nil
	})
	handle("GET /_sim/clock", func(*http.Request) (any, error) {
		return map[string]time.Time{"now": s.Now()}, nil
	})
	handle("POST /_sim/advance", func(r *http.Request) (any, error) {
		var in struct{ By jsonDuration }
		if err := decodeJSON(r, &in); err != nil {
			return nil, err
		}
		if in.By < 0 {
			return nil, errors.New("the clock only goes forward")
		}
		s.Advance(time.Duration(in.By))
		return map[string]time.Time{"now": s.Now()}, nil
	})
	handle("POST /_sim/holds", s.controlAuthorize)
	handle("POST /_sim/dashboard/{id}/{act}", func(r *http.Request) (any, error) {
		if err := s.controlDashboardAction(r); err != nil {
			return nil, err
		}
		st, _ := s.Intent(r.PathValue("id"))
		return st, nil
	})
	handle("GET /_sim/faults", func(*http.Request) (any, error) { return s.listFaultRules(), nil })
	handle("POST /_sim/faults", func(r *http.Request) (any, error) {
		var in faultRuleJSON
		if err := decodeJSON(r, &in); err != nil {
			return nil, err
		}
		id, err := s.AddFaultRule(FaultRule{Class: in.Class, Account: in.Account, Intent: in.Intent,
			Nth: in.Nth, Times: in.Times, Probability: in.Probability,
			Fault: Fault{Kind: in.Kind, Status: in.Status, Code: in.Code,
				RequestDelay: time.Duration(in.RequestDelay),
				ServiceTime:  time.Duration(in.ServiceTime),
				ReplyDelay:   time.Duration(in.ReplyDelay), ShouldRetry: in.ShouldRetry}})
		return map[string]int{"id": id}, err
	})
	handle("DELETE /_sim/faults", func(*http.Request) (any, error) {
		s.ClearFaultRules()
		return done, nil
	})
	handle("DELETE /_sim/faults/{id}", func(r *http.Request) (any, error) {
		id, err := strconv.Atoi(r.PathValue("id"))
		s.RemoveFaultRule(id)
		return done, err
	})
	handle("POST /_sim/settings", func(r *http.Request) (any, error) {
		return done,
			s.controlUpdateSettings(r)
	})
	handle("POST /_sim/keys", func(r *http.Request) (any, error) {
		var in struct {
			Key, Do string
			Allow   []EndpointClass
		}
		if err := decodeJSON(r, &in); err != nil {
			return nil, err
		}
		switch {
		case IsLiveKey(in.Key):
			return nil, errors.New("this is a live key: roll it, and keep such keys away from simulators")
		case in.Do == "revoke":
			s.RevokeKey(in.Key)
		case in.Do == "restrict":
			s.RestrictKey(in.Key, in.Allow...)
		case in.Do == "restore":
			s.RestoreKey(in.Key)
		default:
			return nil, errors.New(`"do" is revoke, restrict or restore`)
		}
		return done, nil
	})
	handle("POST /_sim/prune", func(r *http.Request) (any, error) {
		var in struct{ Key string }
		if err := decodeJSON(r, &in); err != nil {
			return nil, err
		}
		s.PruneIdempotencyKeys(in.Key)
		return done, nil
	})
	return m
}

func decodeJSON(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("the body is not the JSON that is wanted here (see GET /_sim/): %w", err)
	}
	return nil
}

func (s *Sim) controlAuthorize(r *http.Request) (any, error) {
	var in struct {
		Account, Currency, Description, Kind             string
		PaymentMethod                                    string `json:"payment_method"`
		Amount                                           int64
		Metadata                                         map[string]string
		Multicapture, Incremental, Overcapture, Extended bool
	}
	if err := decodeJSON(r, &in); err != nil {
		return nil, err
	}
	if in.Account != "" && !s.isKnownAccount(in.Account) {
		return nil, fmt.Errorf("account %q is not connected", in.Account)
	}
	kind, ok := map[string]PaymentChannel{"": ChannelOnline, "online": ChannelOnline,
		"off_session": ChannelOffSession, "terminal": ChannelTerminal}[in.Kind]
	if !ok {
		return nil, errors.New(`"kind" is online, off_session or terminal`)
	}
	id, err := s.Authorize(Hold{Account: in.Account, Amount: in.Amount, Currency: in.Currency,
		PaymentMethod: in.PaymentMethod, Metadata: in.Metadata,
		Description: in.Description, Channel: kind, Multicapture: in.Multicapture,
		Incremental: in.Incremental, Overcapture: in.Overcapture, Extended: in.Extended})
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": id}, nil
}

func (s *Sim) controlDashboardAction(r *http.Request) error {
	var in struct {
		Amount int64
		Reason string
		In     jsonDuration
		Final  *bool
	}
	if err := decodeJSON(r, &in); err != nil {
		return err
	}
	id, d := r.PathValue("id"), s.Dashboard()
	switch r.PathValue("act") {
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
		return d.CloseReview(id, firstNonZero(in.Reason, "approved"))
	case "capture_before":
		return s.SetCaptureBefore(id, s.Now().Add(time.Duration(in.In)))
	}
	return &apiError{status: 404, typ: typeInvalidRequest,
		message: "there is no such act; see GET /_sim/"}
}

func (s *Sim) controlUpdateSettings(r *http.Request) error {
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
		return err
	}
	if in.Deadline != "" && in.Deadline != "default" {
		d, err := time.ParseDuration(in.Deadline)
		if err != nil || d <= 0 {
			return errors.New(`"deadline" is a duration such as "2h", or "default"`)
		}
		s.SetAuthorizationWindow(func(Card) time.Duration { return d })
	} else if in.Deadline == "default" {
		s.SetAuthorizationWindow(nil)
	}
	s.updateSettings(func(t *liveSettings) {
		if in.EndpointRate != nil {
			t.endpointRate = *in.EndpointRate
		}
		if in.OverallRate != nil {
			t.overallRate = *in.OverallRate
		}
		if in.ServiceTime != nil {
			t.serviceTime = time.Duration(*in.ServiceTime)
		}
		if in.SearchLag != nil {
			t.searchLag = time.Duration(*in.SearchLag)
		}
	})
	s.SetCaptureErrorCodes(in.AlreadyCapturedCode, in.ExpiredCode)
	return nil
}

func (s *Sim) listFaultRules() []faultRuleJSON {
	s.faultRules.mu.Lock()
	defer s.faultRules.mu.Unlock()
	out := []faultRuleJSON{}
	for _, r := range s.faultRules.rules {
		f := r.Fault
		out = append(out, faultRuleJSON{r.id, f.Kind, r.Class, r.Intent, r.Account, r.Nth, r.Times,
			r.Probability, f.Status, f.Code,
			jsonDuration(f.RequestDelay), jsonDuration(f.ServiceTime), jsonDuration(f.ReplyDelay),
			f.ShouldRetry, r.hits})
	}
	return out
}

func (s *Sim) statsJSON() any {
	st := s.Stats()
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
	}
}
