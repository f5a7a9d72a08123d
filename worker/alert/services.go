package alert

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	netmail "net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strings"
	"time"
)

// Each service takes one small request; what it takes is its documentation's.

var errIncompleteAddress = errors.New("a part of it is missing")

// newHTTPClient sends to where the operator said, and nowhere else.
func newHTTPClient(t http.RoundTripper) *http.Client {
	if t == nil {
		t = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: 2, MaxConnsPerHost: 2 * maxConcurrentSends,
			IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2: true,
		}
	}
	// A redirect would take what is signed or secret to whoever answers there.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// doRequest sends a request and reads its answer.
func doRequest(c *http.Client, req *http.Request) deliveryOutcome {
	res, err := c.Do(req)
	if err != nil {
		return deliveryOutcome{result: resultFailed, reason: describeNetworkError(err)}
	}
	defer res.Body.Close()
	// so that the connection can be used again; an answer that is longer costs
	// it
	_, _ = io.CopyN(io.Discard, res.Body, maxResponseBytes)
	return outcomeFromResponse(res, time.Now())
}

// newJSONSender makes a service of an address and of what is posted there.
func newJSONSender(
	c *http.Client, to string, header http.Header, body func(n *notification) any,
) sendFunc {
	return newJSONSenderTo(c, header, func(n *notification) (string, any) { return to, body(n) })
}

// newJSONSenderTo is posting where the address depends on what is posted.
func newJSONSenderTo(
	c *http.Client, header http.Header, what func(n *notification) (to string, body any),
) sendFunc {
	return func(ctx context.Context, n *notification) deliveryOutcome {
		to, body := what(n)
		b, err := json.Marshal(body)
		if err != nil {
			return deliveryOutcome{result: resultRejected, reason: "it can't be written as JSON"}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(b))
		if err != nil {
			return deliveryOutcome{result: resultFailed, reason: "its address can't be used"}
		}
		for k, v := range header {
			req.Header[k] = v
		}
		req.Header.Set("Content-Type", "application/json")
		return doRequest(c, req)
	}
}

type jsonObject = map[string]any

func newSlackSender(u *url.URL, c *http.Client) (sendFunc, error) {
	token, _ := u.User.Password()
	parts := strings.Split(token, "-")
	if u.User.Username() != "hook" || len(parts) != 3 {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://hooks.slack.com/services/"+strings.Join(parts, "/"), nil,
		func(n *notification) any { return jsonObject{"text": n.titleAndText(3000)} }), nil
}

func newMattermostSender(u *url.URL, c *http.Client) (sendFunc, error) {
	token := strings.Trim(u.Path, "/")
	if token == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://"+u.Host+"/hooks/"+token, nil, func(n *notification) any {
		return jsonObject{"text": n.titleAndText(4000)}
	}), nil
}

func newDiscordSender(u *url.URL, c *http.Client) (sendFunc, error) {
	if u.User.Username() == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://discord.com/api/webhooks/"+u.Hostname()+"/"+u.User.Username(),
		nil, func(n *notification) any {
			return jsonObject{"content": n.titleAndText(1900),
				"allowed_mentions": jsonObject{"parse": []string{}}}
		}), nil
}

func newTelegramSender(u *url.URL, c *http.Client) (sendFunc, error) {
	// The token has a colon in it: bot id and secret.
	token, chat := u.User.Username(), u.Query().Get("chats")
	if p, ok := u.User.Password(); ok {
		token += ":" + p
	}
	if token == "" || chat == "" {
		return nil, errIncompleteAddress
	}
	if strings.Contains(chat, ",") {
		return nil, errors.New("which names several chats (give each its own address, so that each is told once)")
	}
	return newJSONSender(c, "https://api.telegram.org/bot"+token+"/sendMessage", nil,
		func(n *notification) any {
			return jsonObject{"chat_id": chat,
				"text": n.titleAndText(4000)}
		}), nil
}

func newNtfySender(u *url.URL, c *http.Client) (sendFunc, error) {
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

func newGotifySender(u *url.URL, c *http.Client) (sendFunc, error) {
	token := strings.Trim(u.Path, "/")
	if token == "" {
		return nil, errIncompleteAddress
	}
	return newJSONSender(c, "https://"+u.Host+"/message", http.Header{"X-Gotify-Key": {token}},
		func(n *notification) any {
			return jsonObject{"title": n.title, "message": n.text, "priority": 3 * int(n.severity)}
		}), nil
}

// incidentKey is the name under which a pager knows that an alert and its end
// are one.
func (n *notification) incidentKey() string {
	if n.kind != "" && n.holdID == "" {
		return "holdd-" + string(n.kind)
	}
	if n.holdID != "" {
		return "holdd-" + n.holdID
	}
	return n.eventID
}

func newPagerDutySender(u *url.URL, c *http.Client) (sendFunc, error) {
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
				"dedup_key": n.incidentKey(),
				"payload": jsonObject{"summary": truncateRunes(n.title, 1000), "source": "holdd",
					"severity": n.severity.String(), "custom_details": jsonObject{"text": n.text}}}
		}), nil
}

func newOpsgenieSender(u *url.URL, c *http.Client) (sendFunc, error) {
	key := strings.Trim(u.Path, "/")
	if key == "" {
		return nil, errIncompleteAddress
	}
	alerts := "https://" + u.Host + "/v2/alerts"
	return newJSONSenderTo(c, http.Header{"Authorization": {"GenieKey " + key}},
		func(n *notification) (string, any) {
			if n.resolved {
				return alerts + "/" + url.PathEscape(n.incidentKey()) +
						"/close?identifierType=alias",
					jsonObject{"source": "holdd", "note": truncateRunes(n.title, 1000)}
			}
			return alerts, jsonObject{"message": truncateRunes(n.title, 130),
				"alias":       n.incidentKey(),
				"description": n.titleAndText(15_000), "source": "holdd",
				"priority": map[Severity]string{Info: "P5", Warning: "P3",
					Critical: "P1"}[n.severity]}
		}), nil
}

// newGenericSender posts what any relay can be told to read.
func newGenericSender(u *url.URL, c *http.Client) (sendFunc, error) {
	_, scheme, ok := strings.Cut(u.Scheme, "+")
	if !ok {
		scheme = "https"
	}
	if scheme != "http" && scheme != "https" {
		return nil, errors.New("which is neither generic+https nor generic+http")
	}
	to := *u
	to.Scheme, to.User = scheme, nil
	header := http.Header{}
	if p, ok := u.User.Password(); ok {
		header.Set("Authorization", basicAuthHeader(u.User.Username(), p))
	}
	return newJSONSender(c, to.String(), header, func(n *notification) any {
		return jsonObject{"title": n.title, "message": n.text, "body": n.text,
			"severity": n.severity.String(), "kind": string(n.kind), "over": n.resolved,
			"hold": n.holdID, "id": n.eventID}
	}), nil
}

// newMailSender sends through a mail server: with STARTTLS where it is offered,
// from the start with encryption=ImplicitTLS or on port 465.
func newMailSender(u *url.URL, _ *http.Client) (sendFunc, error) {
	from, err := netmail.ParseAddress(u.Query().Get("from"))
	if err != nil {
		return nil, errors.New("whose from is no mail address")
	}
	var to []string
	list, err := netmail.ParseAddressList(u.Query().Get("to"))
	if err != nil {
		return nil, errors.New("whose to is no list of mail addresses")
	}
	for _, a := range list {
		to = append(to, a.Address)
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "587"
	}
	implicit := port == "465" || strings.EqualFold(u.Query().Get("encryption"), "ImplicitTLS")
	password, auth := u.User.Password()
	return func(ctx context.Context, n *notification) deliveryOutcome {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp",
			net.JoinHostPort(host, port))
		if err != nil {
			return deliveryOutcome{result: resultFailed, reason: describeNetworkError(err)}
		}
		defer conn.Close()
		if end, ok := ctx.Deadline(); ok {
			_ = conn.SetDeadline(end) // a connection takes any
		}
		if implicit {
			conn = tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
		}
		err = submitMail(conn, host, from.Address, to, auth, u.User.Username(), password,
			formatMail(from, to, n))
		var smtpErr *textproto.Error
		switch {
		case err == nil:
			return deliveryOutcome{result: resultDelivered}
		case errors.As(err, &smtpErr) && smtpErr.Code/100 == 5:
			return deliveryOutcome{result: resultRejected, reason: "the mail server refuses it (" +
				itoa(smtpErr.Code) + ")"}
		case errors.As(err, &smtpErr):
			return deliveryOutcome{result: resultFailed,
				reason: "the mail server does not take it now (" + itoa(smtpErr.Code) + ")"}
		}
		return deliveryOutcome{result: resultFailed, reason: describeNetworkError(err)}
	}, nil
}

func submitMail(
	conn net.Conn, host, from string, to []string, auth bool, user, password string, text []byte,
) error {
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(
			&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}); err != nil {
			return err
		}
	}
	if auth {
		// net/smtp refuses to send a password in the clear to anybody but this
		// machine.
		if err := c.Auth(smtp.PlainAuth("", user, password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // it has taken the letter
	return nil
}

func formatMail(from *netmail.Address, to []string, n *notification) []byte {
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()}, {"To", strings.Join(to, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", n.title)},
		{"Date", time.Now().Format(time.RFC1123Z)},
		{"Message-ID", "<" + n.eventID + "@holdd>"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"},
		{"Auto-Submitted", "auto-generated"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n" + strings.ReplaceAll(n.text, "\n", "\r\n") + "\r\n")
	return b.Bytes()
}
