package alert

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// digestMax is how many alerts one message to people holds.
const digestMax = 20

// notice is what people are sent: one alert, or several in short.
type notice struct {
	title, text string
	worst       Severity
	kind        Kind   // of a single alert
	over        bool   // likewise
	id, hold    string // likewise
}

// service sends a notice.
type service func(ctx context.Context, n *notice) outcome

// services are the forms of addresses that are known, in the form that shoutrrr made common.
var services = map[string]struct {
	form string
	make func(u *url.URL, c *http.Client) (service, error)
}{
	"slack":      {"slack://hook:T000-B000-XXXX@webhook", slack},
	"mattermost": {"mattermost://host/token", mattermost},
	"discord":    {"discord://token@webhook-id", discord},
	"telegram":   {"telegram://token@telegram?chats=one-chat", telegram},
	"ntfy":       {"ntfy://host/topic", ntfy},
	"gotify":     {"gotify://host/token", gotify},
	"pagerduty":  {"pagerduty://integration-key@events", pagerduty},
	"opsgenie":   {"opsgenie://host/api-key", opsgenie},
	"smtp":       {"smtp://user:password@host:587/?from=a@b&to=c@d", mail},
	"generic":    {"generic+https://host/path", generic},
}

// CheckAddress says whether a notification address can be used. Its error never repeats the address.
func CheckAddress(address string) error {
	_, err := newNotify(&Options{}, address)
	return err
}

// newNotify makes a sink of a notification address.
func newNotify(o *Options, address string) (*sink, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, errors.New("notify_urls has an entry that is no address: write service://…, such as slack://… or smtp://…")
	}
	name, _, _ := strings.Cut(u.Scheme, "+")
	known, ok := services[name]
	if !ok {
		return nil, fmt.Errorf("notify_urls: %.20q is no service that is known: there are %s; generic+https:// reaches any other through a relay such as Apprise", name, strings.Join(serviceNames(), ", "))
	}
	least, q := Warning, u.Query()
	if s := q.Get("severity"); s != "" {
		if least, ok = ParseSeverity(s); !ok {
			return nil, errors.New("notify_urls: severity is info, warning or critical")
		}
		q.Del("severity")
		u.RawQuery = q.Encode()
	}
	send, err := known.make(u, client(o.Transport))
	if err != nil {
		return nil, fmt.Errorf("notify_urls: an address of %s can't be used, %w: write it as %s", name, err, known.form)
	}
	d := digest(u.String())
	return &sink{name: name + "-" + d, address: d, least: least, batch: true, pager: name == "pagerduty" || name == "opsgenie", atOnce: 1,
		send: func(ctx context.Context, m []message) outcome { return send(ctx, join(m)) }}, nil
}

func serviceNames() []string {
	var names []string
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// join makes one notice of several alerts.
func join(m []message) *notice {
	if len(m) == 1 {
		a := m[0].alert
		return &notice{title: a.Title, text: a.Text, worst: a.Severity, kind: a.Kind, over: a.Over, id: m[0].id, hold: a.Hold}
	}
	n := &notice{id: m[0].id}
	lines := make([]string, 0, len(m)+2)
	for i := range m {
		n.worst = max(n.worst, m[i].alert.Severity)
		lines = append(lines, m[i].alert.Title)
	}
	lines = append(lines, "", "holdd list and holdd plan tell more.")
	n.title, n.text = fmt.Sprintf("[%s] holdd: %d alerts", n.worst, len(m)), strings.Join(lines, "\n")
	return n
}

// whole is title and text as one.
func (n *notice) whole(most int) string {
	return cut(n.title+"\n"+n.text, most)
}

// cut bounds a text to so many characters.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}
