package stripesim

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// searchClause is one condition of a search query.
type searchClause struct {
	field   string // status, customer, currency, amount, created, metadata
	key     string // of metadata
	op      string // : = > >= < <= ~
	value   string
	negated bool
}

// parseSearchQuery reads conditions joined by AND. OR is refused: it can't be
// mixed, and the worker needs none.
func parseSearchQuery(q string) ([]searchClause, *apiError) {
	parseError := func(reason string) *apiError {
		return validationError("", "query",
			"We were unable to parse your search query: %s. Try using the format `metadata[\"key\"]:\"value\"` to query for metadata or "+
				"key:\"value\" to query for other fields.", reason)
	}
	var out []searchClause
	rest := strings.TrimSpace(q)
	for {
		c := searchClause{op: ":"}
		if r, ok := strings.CutPrefix(rest, "-"); ok {
			c.negated, rest = true, r
		}
		n := strings.IndexAny(rest, ":<>~=[ ")
		if n <= 0 {
			return nil, parseError("a field is missing")
		}
		c.field, rest = rest[:n], rest[n:]
		if strings.HasPrefix(rest, "[") {
			var ok bool
			if c.key, rest, ok = cutQuoted(rest[1:]); !ok || !strings.HasPrefix(rest, "]") {
				return nil, parseError("a metadata key is quoted, in square brackets")
			}
			rest = rest[1:]
		}
		for _, op := range []string{">=", "<=", ">", "<", ":", "=", "~"} {
			if r, ok := strings.CutPrefix(rest, op); ok {
				c.op, rest = op, r
				break
			}
		}
		if v, r, ok := cutQuoted(rest); ok {
			c.value, rest = v, r
		} else if v, r, _ := strings.Cut(rest, " "); v != "" && !strings.ContainsAny(v, `"'`) {
			c.value, rest = v, " "+r
		} else {
			return nil, parseError("a value is missing")
		}
		switch c.field {
		case "status", "customer", "currency":
		case "metadata":
			if c.key == "" {
				return nil, parseError("metadata needs a key")
			}
		case "amount", "created":
			if _, err := strconv.ParseInt(c.value, 10, 64); err != nil {
				return nil, parseError("`" + c.field + "` takes a number")
			}
		default:
			return nil, validationError("", "query",
				"Field `%s` is an unsupported search field for resource `payment_intents`. See "+
					"https://stripe.com/docs/search#query-fields-for-payment-intents for a list of supported fields.", c.field)
		}
		out = append(out, c)
		if rest = strings.TrimSpace(rest); rest == "" {
			return out, nil
		}
		up := strings.ToUpper(rest)
		switch {
		case strings.HasPrefix(up, "AND "):
			rest = strings.TrimSpace(rest[4:])
		case strings.HasPrefix(up, "OR "):
			return nil, parseError("the simulator joins clauses by AND only")
		default:
			// A space alone joins by AND, too.
		}
		if len(out) >= 10 {
			return nil, parseError("there are more than 10 clauses")
		}
	}
}

func cutQuoted(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == s[0]:
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", s, false
}

// searchSnapshotAt is what search knows of an intent: as it was a while ago, or
// nothing yet.
func (in *intent) searchSnapshotAt(asOf time.Time) *searchSnapshot {
	i := len(in.searchHistory) - 1
	for i >= 0 && in.searchHistory[i].at.After(asOf) {
		i--
	}
	if i < 0 {
		return nil
	}
	if i > 0 {
		in.searchHistory = append(in.searchHistory[:0:0], in.searchHistory[i:]...)
	}
	return &in.searchHistory[0]
}

func (c searchClause) matches(in *intent, s *searchSnapshot) bool {
	number := func(n int64) bool {
		v, _ := strconv.ParseInt(c.value, 10, 64)
		switch c.op {
		case ">":
			return n > v
		case ">=":
			return n >= v
		case "<":
			return n < v
		case "<=":
			return n <= v
		}
		return n == v
	}
	text := func(t string) bool {
		if c.op == "~" {
			return strings.Contains(strings.ToLower(t), strings.ToLower(c.value))
		}
		return strings.EqualFold(t, c.value)
	}
	var ok bool
	switch c.field {
	case "status":
		ok = text(s.status)
	case "customer":
		ok = text(in.customer)
	case "currency":
		ok = text(in.currency)
	case "amount":
		ok = number(in.amount)
	case "created":
		ok = number(in.created)
	case "metadata":
		v, has := s.metadata[c.key]
		ok = has && text(v)
		if c.value == "null" { // -metadata["k"]:null: has the key
			ok = !has
		}
	}
	return ok != c.negated
}

type searchJSON struct {
	Object   string  `json:"object"`
	Data     []any   `json:"data"`
	HasMore  bool    `json:"has_more"`
	NextPage *string `json:"next_page"`
	URL      string  `json:"url"`
}

func searchIntents(op *operation, a *account, _ string, f *form) (any, *apiError) {
	clauses, err := parseSearchQuery(f.get("query"))
	if err != nil {
		return nil, err
	}
	limit, err := f.limit()
	if err != nil {
		return nil, err
	}
	top := len(a.intentOrder)
	if p := f.get("page"); p != "" {
		b, _ := base64.RawURLEncoding.DecodeString(p) // what cannot be decoded is no number either
		var e error
		if top, e = strconv.Atoi(string(b)); e != nil || top < 0 || top > len(a.intentOrder) {
			return nil, validationError("", "page", "Invalid page token: %s", p)
		}
	}
	asOf := op.now.Add(-a.sim.settings.Load().searchLag)
	out := searchJSON{Object: "search_result", Data: []any{}, URL: "/v1/payment_intents/search"}
	expand := f.expandPaths()
next:
	for i := top - 1; i >= 0; i-- {
		in := a.intentOrder[i]
		s := in.searchSnapshotAt(asOf)
		if s == nil {
			continue
		}
		for _, c := range clauses {
			if !c.matches(in, s) {
				continue next
			}
		}
		if len(out.Data) == limit {
			out.HasMore = true
			token := base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(i + 1)))
			out.NextPage = &token
			break
		}
		out.Data = append(out.Data, in.toJSON(expand))
	}
	return out, nil
}
