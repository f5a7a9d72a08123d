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

// maxDigestAlerts is how many alerts one message to people holds.
const maxDigestAlerts = 20

// notification is what people are sent: one alert, or several in short.
type notification struct {
	title, text     string
	severity        Severity
	kind            Kind   // of a single alert
	resolved        bool   // likewise
	eventID, holdID string // likewise
}

// sendFunc sends a notice.
type sendFunc func(ctx context.Context, n *notification) deliveryOutcome

// services are the forms of addresses that are known, in the form that shoutrrr
// made common.
var services = map[string]struct {
	form string
	make func(u *url.URL, c *http.Client) (sendFunc, error)
}{
	"slack":      {"slack://hook:T000-B000-XXXX@webhook", newSlackSender},
	"mattermost": {"mattermost://host/token", newMattermostSender},
	"discord":    {"discord://token@webhook-id", newDiscordSender},
	"telegram":   {"telegram://token@telegram?chats=one-chat", newTelegramSender},
	"ntfy":       {"ntfy://host/topic", newNtfySender},
	"gotify":     {"gotify://host/token", newGotifySender},
	"pagerduty":  {"pagerduty://integration-key@events", newPagerDutySender},
	"opsgenie":   {"opsgenie://host/api-key", newOpsgenieSender},
	"smtp":       {"smtp://user:password@host:587/?from=a@b&to=c@d", newMailSender},
	"generic":    {"generic+https://host/path", newGenericSender},
}

// CheckNotifyURL says whether a notification address can be used. Its error
// never repeats the address.
func CheckNotifyURL(address string) error {
	_, err := newNotifySink(&Options{}, address)
	return err
}

// newNotifySink makes a sink of a notification address.
func newNotifySink(o *Options, address string) (*sink, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, errors.New("notify_urls has an entry that is no address: write service://…, such as slack://… or smtp://…")
	}
	name, _, _ := strings.Cut(u.Scheme, "+")
	known, ok := services[name]
	if !ok {
		return nil, fmt.Errorf("notify_urls: %.20q is no service that is known: there are %s; generic+https:// reaches any other through a relay such as Apprise", name, strings.Join(serviceNames(), ", "))
	}
	minSeverity, q := Warning, u.Query()
	if s := q.Get("severity"); s != "" {
		if minSeverity, ok = ParseSeverity(s); !ok {
			return nil, errors.New("notify_urls: severity is info, warning or critical")
		}
		q.Del("severity")
		u.RawQuery = q.Encode()
	}
	send, err := known.make(u, newHTTPClient(o.Transport))
	if err != nil {
		return nil, fmt.Errorf("notify_urls: an address of %s can't be used, %w: write it as %s",
			name, err, known.form)
	}
	d := addressDigest(u.String())
	return &sink{name: name + "-" + d, addressDigest: d, minSeverity: minSeverity,
		takesDigests: true, tracksIncidents: name == "pagerduty" ||
			name == "opsgenie", maxConcurrent: 1,
		send: func(ctx context.Context, m []message) deliveryOutcome {
			return send(ctx, newNotification(m))
		}}, nil
}

func serviceNames() []string {
	var names []string
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// newNotification makes one notice of several alerts.
func newNotification(m []message) *notification {
	if len(m) == 1 {
		a := m[0].alert
		return &notification{title: a.Title, text: a.Text, severity: a.Severity, kind: a.Kind,
			resolved: a.Resolved, eventID: m[0].eventID, holdID: a.HoldID}
	}
	n := &notification{eventID: m[0].eventID}
	lines := make([]string, 0, len(m)+2)
	for i := range m {
		n.severity = max(n.severity, m[i].alert.Severity)
		lines = append(lines, m[i].alert.Title)
	}
	lines = append(lines, "", "holdd list and holdd plan tell more.")
	n.title, n.text = fmt.Sprintf("[%s] holdd: %d alerts", n.severity, len(m)),
		strings.Join(lines, "\n")
	return n
}

// titleAndText is title and text as one.
func (n *notification) titleAndText(limit int) string {
	return truncateRunes(n.title+"\n"+n.text, limit)
}

// truncateRunes bounds a text to so many characters.
func truncateRunes(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}
