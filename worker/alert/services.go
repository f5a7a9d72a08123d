package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

var errIncompleteAddress = errors.New("a part is missing")

// newJSONSender returns a function that posts body to an address.
func newJSONSender(
	c *http.Client, to string, header http.Header, body func(n *notification) any,
) sendNotificationFunc {
	return newJSONSenderWithURLFunc(c, header,
		func(n *notification) (string, any) { return to, body(n) })
}

// newJSONSenderWithURLFunc is [newJSONSender] for an address that depends on the
// notification.
func newJSONSenderWithURLFunc(
	c *http.Client, header http.Header, request func(n *notification) (to string, body any),
) sendNotificationFunc {
	return func(ctx context.Context, n *notification) deliveryOutcome {
		to, body := request(n)
		b, err := json.Marshal(body)
		if err != nil {
			return deliveryOutcome{result: resultRejected,
				reason: "the message cannot be encoded as JSON"}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(b))
		if err != nil {
			return deliveryOutcome{result: resultFailed, reason: "the address cannot be used"}
		}
		for k, v := range header {
			req.Header[k] = v
		}
		req.Header.Set("Content-Type", "application/json")
		return sendHTTPRequest(c, req)
	}
}

type jsonObject = map[string]any

func newSlackSender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	token, _ := u.User.Password()
	parts := strings.Split(token, "-")
	if u.User.Username() != "hook" || len(parts) != 3 {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://hooks.slack.com/services/"+strings.Join(parts, "/"), nil,
		func(n *notification) any { return jsonObject{"text": n.formatTitleAndText(3000)} }), nil
}

func newMattermostSender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	token := strings.Trim(u.Path, "/")
	if token == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://"+u.Host+"/hooks/"+token, nil, func(n *notification) any {
		return jsonObject{"text": n.formatTitleAndText(4000)}
	}), nil
}

func newDiscordSender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	if u.User.Username() == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://discord.com/api/webhooks/"+u.Hostname()+"/"+u.User.Username(),
		nil, func(n *notification) any {
			return jsonObject{"content": n.formatTitleAndText(1900),
				"allowed_mentions": jsonObject{"parse": []string{}}}
		}), nil
}

func newTelegramSender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	// The token is the bot's id and its secret, with a colon between.
	token, chat := u.User.Username(), u.Query().Get("chats")
	if p, ok := u.User.Password(); ok {
		token += ":" + p
	}
	if token == "" || chat == "" {
		return nil, errIncompleteAddress
	}
	if strings.Contains(chat, ",") {
		return nil, errors.New("it names several chats; give each its own address")
	}
	return newJSONSender(c, "https://api.telegram.org/bot"+token+"/sendMessage", nil,
		func(n *notification) any {
			return jsonObject{"chat_id": chat,
				"text": n.formatTitleAndText(4000)}
		}), nil
}

func newNtfySender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	topic := strings.Trim(u.Path, "/")
	if topic == "" {
		return nil, errIncompleteAddress
	}
	header := http.Header{}
	if p, ok := u.User.Password(); ok {
		header.Set("Authorization", basicAuthHeader(u.User.Username(), p))
	}
	return newJSONSender(c, "https://"+u.Host, header, func(n *notification) any {
		return jsonObject{"topic": topic, "title": n.title, "message": n.text,
			"priority": int(n.severity) + 2}
	}), nil
}

func basicAuthHeader(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func newGotifySender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	token := strings.Trim(u.Path, "/")
	if token == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://"+u.Host+"/message", http.Header{"X-Gotify-Key": {token}},
		func(n *notification) any {
			return jsonObject{"title": n.title, "message": n.text, "priority": 3 * int(n.severity)}
		}), nil
}

// formatIncidentKey is the key of the incident that an alert opens in a pager,
// and its resolution closes.
func (n *notification) formatIncidentKey() string {
	if n.kind != "" && n.holdID == "" {
		return "holdd-" + string(n.kind)
	}
	if n.holdID != "" {
		return "holdd-" + n.holdID
	}
	return n.eventID
}

func newPagerDutySender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	key := u.User.Username()
	if key == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://events.pagerduty.com/v2/enqueue", nil,
		func(n *notification) any {
			action := "trigger"
			if n.resolved {
				action = "resolve"
			}
			return jsonObject{"routing_key": key, "event_action": action,
				"dedup_key": n.formatIncidentKey(),
				"payload": jsonObject{"summary": truncateRunes(n.title, 1000), "source": "holdd",
					"severity": n.severity.String(), "custom_details": jsonObject{"text": n.text}}}
		}), nil
}

func newOpsgenieSender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	key := strings.Trim(u.Path, "/")
	if key == "" {
		return nil, errIncompleteAddress
	}
	alerts := "https://" + u.Host + "/v2/alerts"
	return newJSONSenderWithURLFunc(c, http.Header{"Authorization": {"GenieKey " + key}},
		func(n *notification) (string, any) {
			if n.resolved {
				return alerts + "/" + url.PathEscape(n.formatIncidentKey()) +
						"/close?identifierType=alias",
					jsonObject{"source": "holdd", "note": truncateRunes(n.title, 1000)}
			}
			return alerts, jsonObject{"message": truncateRunes(n.title, 130),
				"alias":       n.formatIncidentKey(),
				"description": n.formatTitleAndText(15_000), "source": "holdd",
				"priority": map[Severity]string{Info: "P5", Warning: "P3",
					Critical: "P1"}[n.severity]}
		}), nil
}

// newGenericJSONSender posts JSON that a relay can forward to any other
// service.
func newGenericJSONSender(u *url.URL, c *http.Client) (sendNotificationFunc, error) {
	_, scheme, ok := strings.Cut(u.Scheme, "+")
	if !ok {
		scheme = "https"
	}
	if scheme != "http" && scheme != "https" {
		return nil, errors.New("the scheme is neither generic+https nor generic+http")
	}
	to := *u
	to.Scheme, to.User = scheme, nil
	header := http.Header{}
	if p, ok := u.User.Password(); ok {
		header.Set("Authorization", basicAuthHeader(u.User.Username(), p))
	}
	return newJSONSender(c, to.String(), header, func(n *notification) any {
		return jsonObject{"title": n.title, "message": n.text, "body": n.text,
			"severity": n.severity.String(), "kind": string(n.kind), "resolved": n.resolved,
			"hold": n.holdID, "id": n.eventID}
	}), nil
}
