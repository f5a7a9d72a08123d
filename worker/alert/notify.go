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

// maxDigestAlerts is how many alerts one message holds.
const maxDigestAlerts = 20

// notification is one message to a chat, a mailbox or a pager: an alert, or the
// titles of several.
type notification struct {
	title, text string
	severity    Severity
	eventID     string

	// Of a single alert.
	kind     Kind
	resolved bool
	holdID   string
}

// sendNotificationFunc sends a notification.
type sendNotificationFunc func(ctx context.Context, n *notification) deliveryOutcome

// services are the known services, by the scheme of their addresses. The
// addresses have the form of shoutrrr's.
var services = map[string]struct {
	example string
	new     func(u *url.URL, c *http.Client) (sendNotificationFunc, error)
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
	"generic":    {"generic+https://host/path", newGenericJSONSender},
}

// CheckNotifyURL returns an error if an address cannot be used. The error does
// not repeat the address.
func CheckNotifyURL(address string) error {
	_, err := newNotifySink(&Options{}, address)
	return err
}

// newNotifySink returns the sink at an address.
func newNotifySink(o *Options, address string) (*sink, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, errors.New("invalid address in notify_urls: " +
			"want service://…, such as slack://… or smtp://…")
	}
	name, _, _ := strings.Cut(u.Scheme, "+")
	known, ok := services[name]
	if !ok {
		return nil, fmt.Errorf("unknown service %.20q in notify_urls: want one of %s; "+
			"generic+https:// reaches any other through a relay such as Apprise", name,
			strings.Join(notifyServiceNames(), ", "))
	}
	minSeverity, q := Warning, u.Query()
	if s := q.Get("severity"); s != "" {
		if minSeverity, ok = ParseSeverity(s); !ok {
			return nil, errors.New("invalid severity in notify_urls: want info, warning or critical")
		}
		q.Del("severity")
		u.RawQuery = q.Encode()
	}
	send, err := known.new(u, newHTTPClient(o.Transport))
	if err != nil {
		return nil, fmt.Errorf("invalid %s address in notify_urls: %w; want %s",
			name, err, known.example)
	}
	d := hashSinkAddress(u.String())
	return &sink{name: name + "-" + d, addressDigest: d, minSeverity: minSeverity,
		takesDigests: true, maxConcurrent: 1,
		tracksIncidents: name == "pagerduty" || name == "opsgenie",
		send: func(ctx context.Context, m []sinkMessage) deliveryOutcome {
			return send(ctx, newNotificationOfAlerts(m))
		}}, nil
}

func notifyServiceNames() []string {
	var names []string
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// newNotificationOfAlerts returns one notification of several alerts.
func newNotificationOfAlerts(m []sinkMessage) *notification {
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
	lines = append(lines, "", "Action: run holdd list and holdd plan.")
	n.title, n.text = fmt.Sprintf("[%s] holdd: %d alerts", n.severity, len(m)),
		strings.Join(lines, "\n")
	return n
}

// formatTitleAndText returns both as one text of at most limit characters.
func (n *notification) formatTitleAndText(limit int) string {
	return truncateRunes(n.title+"\n"+n.text, limit)
}

// truncateRunes cuts a text to at most limit characters.
func truncateRunes(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}
