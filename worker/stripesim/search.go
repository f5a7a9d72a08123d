package stripesim

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// searchClause is one condition of a search query.
type searchClause struct {
	field   string // status, customer, currency, amount, created, metadata
	key     string // of metadata
	op      string // : = > >= < <= ~
	value   string
	negated bool
}

func searchParseError(reason string) *apiError {
	return validationError("", "query",
		"We were unable to parse your search query: %s. Try using the format "+
			"`metadata[\"key\"]:\"value\"` to query for metadata or "+
			"key:\"value\" to query for other fields.", reason)
}

// parseSearchQuery parses clauses that are joined by AND or by a space. It
// rejects OR: Stripe does not mix the two, and the worker uses AND only.
func parseSearchQuery(q string) ([]searchClause, *apiError) {
	var out []searchClause
	rest := strings.TrimSpace(q)
	for {
		c, after, err := cutSearchClause(rest)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		if rest = strings.TrimSpace(after); rest == "" {
			return out, nil
		}
		switch up := strings.ToUpper(rest); {
		case strings.HasPrefix(up, "AND "):
			rest = strings.TrimSpace(rest[4:])
		case strings.HasPrefix(up, "OR "):
			return nil, searchParseError("the simulator joins clauses by AND only")
		}
		if len(out) >= 10 {
			return nil, searchParseError("there are more than 10 clauses")
		}
	}
}

// cutSearchClause parses the clause at the start of a query, and returns what
// follows it.
func cutSearchClause(rest string) (c searchClause, after string, err *apiError) {
	c.op = ":"
	rest, c.negated = strings.CutPrefix(rest, "-")
	n := strings.IndexAny(rest, ":<>~=[ ")
	if n <= 0 {
		return c, "", searchParseError("a field is missing")
	}
	c.field, rest = rest[:n], rest[n:]
	if strings.HasPrefix(rest, "[") {
		var ok bool
		if c.key, rest, ok = cutQuoted(rest[1:]); !ok || !strings.HasPrefix(rest, "]") {
			return c, "", searchParseError("a metadata key is quoted, in square brackets")
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
		return c, "", searchParseError("a value is missing")
	}
	return c, rest, c.validate()
}

func (c searchClause) validate() *apiError {
	switch c.field {
	case "status", "customer", "currency":
	case "metadata":
		if c.key == "" {
			return searchParseError("metadata needs a key")
		}
	case "amount", "created":
		if _, err := strconv.ParseInt(c.value, 10, 64); err != nil {
			return searchParseError("`" + c.field + "` takes a number")
		}
	default:
		return validationError("", "query",
			"Field `%s` is an unsupported search field for resource `payment_intents`. See "+
				"https://stripe.com/docs/search#query-fields-for-payment-intents for a list of "+
				"supported fields.", c.field)
	}
	return nil
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

// matches reports whether an intent matches. s is the intent as search knows
// it.
func (c searchClause) matches(in *intent, s *searchSnapshot) bool {
	var ok bool
	switch c.field {
	case "status":
		ok = c.matchesText(s.status)
	case "customer":
		ok = c.matchesText(in.customer)
	case "currency":
		ok = c.matchesText(in.currency)
	case "amount":
		ok = c.matchesNumber(in.amount)
	case "created":
		ok = c.matchesNumber(in.created)
	case "metadata":
		v, has := s.metadata[c.key]
		ok = has && c.matchesText(v)
		if c.value == "null" { // -metadata["k"]:null: has the key
			ok = !has
		}
	}
	return ok != c.negated
}

func (c searchClause) matchesNumber(n int64) bool {
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

func (c searchClause) matchesText(t string) bool {
	if c.op == "~" {
		return strings.Contains(strings.ToLower(t), strings.ToLower(c.value))
	}
	return strings.EqualFold(t, c.value)
}

// matchesAll reports whether an intent matches every clause.
func matchesAll(clauses []searchClause, in *intent, s *searchSnapshot) bool {
	for _, c := range clauses {
		if !c.matches(in, s) {
			return false
		}
	}
	return true
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
	top, err := decodeSearchPage(f.get("page"), len(a.intentOrder))
	if err != nil {
		return nil, err
	}
	asOf := op.now.Add(-a.env.settings.load().searchLag)
	out := searchJSON{Object: "search_result", Data: []any{}, URL: "/v1/payment_intents/search"}
	expand := f.expandPaths()
	for i := top - 1; i >= 0; i-- {
		in := a.intentOrder[i]
		s := in.history.at(asOf)
		if s == nil || in.unlisted || !matchesAll(clauses, in, s) {
			continue
		}
		if len(out.Data) == limit {
			out.HasMore = true
			token := base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(i + 1)))
			out.NextPage = &token
			break
		}
		out.Data = append(out.Data, newIntentJSON(in, expand))
	}
	return out, nil
}

// decodeSearchPage returns the index below which a page begins. An empty token
// is the first page.
func decodeSearchPage(token string, intents int) (top int, err *apiError) {
	if token == "" {
		return intents, nil
	}
	b, _ := base64.RawURLEncoding.DecodeString(token) // a wrong token is not a number either
	top, e := strconv.Atoi(string(b))
	if e != nil || top < 0 || top > intents {
		return 0, validationError("", "page", "Invalid page token: %s", token)
	}
	return top, nil
}
