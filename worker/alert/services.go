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

var errIncomplete = errors.New("a part of it is missing")

// client sends to where the operator said, and nowhere else.
func client(t http.RoundTripper) *http.Client {
	if t == nil {
		t = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: 2, MaxConnsPerHost: 2 * atOnce, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		}
	}
	// A redirect would take what is signed or secret to whoever answers there.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request and reads its answer.
func do(c *http.Client, req *http.Request) outcome {
	res, err := c.Do(req)
	if err != nil {
		return outcome{verdict: failed, reason: network(err)}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection can be used again; an answer that is longer costs it
	return answered(res, time.Now())
}

// posting makes a service of an address and of what is posted there.
func posting(c *http.Client, to string, header http.Header, body func(n *notice) any) service {
	return postingTo(c, header, func(n *notice) (string, any) { return to, body(n) })
}

// postingTo is posting where the address depends on what is posted.
func postingTo(c *http.Client, header http.Header, what func(n *notice) (to string, body any)) service {
	return func(ctx context.Context, n *notice) outcome {
		to, body := what(n)
		b, err := json.Marshal(body)
		if err != nil {
			return outcome{verdict: refused, reason: "it can't be written as JSON"}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(b))
		if err != nil {
			return outcome{verdict: failed, reason: "its address can't be used"}
		}
		for k, v := range header {
			req.Header[k] = v
		}
		req.Header.Set("Content-Type", "application/json")
		return do(c, req)
	}
}

type object = map[string]any

func slack(u *url.URL, c *http.Client) (service, error) {
	token, _ := u.User.Password()
	parts := strings.Split(token, "-")
	if u.User.Username() != "hook" || len(parts) != 3 {
		return nil, errIncomplete
	}
	return posting(c, "https://hooks.slack.com/services/"+strings.Join(parts, "/"), nil, func(n *notice) any { return object{"text": n.whole(3000)} }), nil
}

func mattermost(u *url.URL, c *http.Client) (service, error) {
	token := strings.Trim(u.Path, "/")
	if token == "" {
		return nil, errIncomplete
	}
	return posting(c, "https://"+u.Host+"/hooks/"+token, nil, func(n *notice) any { return object{"text": n.whole(4000)} }), nil
}

func discord(u *url.URL, c *http.Client) (service, error) {
	if u.User.Username() == "" {
		return nil, errIncomplete
	}
	return posting(c, "https://discord.com/api/webhooks/"+u.Hostname()+"/"+u.User.Username(), nil, func(n *notice) any {
		return object{"content": n.whole(1900), "allowed_mentions": object{"parse": []string{}}}
	}), nil
}

func telegram(u *url.URL, c *http.Client) (service, error) {
	// The token has a colon in it: bot id and secret.
	token, chat := u.User.Username(), u.Query().Get("chats")
	if p, ok := u.User.Password(); ok {
		token += ":" + p
	}
	if token == "" || chat == "" {
		return nil, errIncomplete
	}
	if strings.Contains(chat, ",") {
		return nil, errors.New("which names several chats (give each its own address, so that each is told once)")
	}
	return posting(c, "https://api.telegram.org/bot"+token+"/sendMessage", nil, func(n *notice) any { return object{"chat_id": chat, "text": n.whole(4000)} }), nil
}

func ntfy(u *url.URL, c *http.Client) (service, error) {
	topic := strings.Trim(u.Path, "/")
	if topic == "" {
		return nil, errIncomplete
	}
	header := http.Header{}
	if p, ok := u.User.Password(); ok {
		header.Set("Authorization", basic(u.User.Username(), p))
	}
	return posting(c, "https://"+u.Host, header, func(n *notice) any {
		return object{"topic": topic, "title": n.title, "message": n.text, "priority": int(n.worst) + 2}
	}), nil
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func gotify(u *url.URL, c *http.Client) (service, error) {
	token := strings.Trim(u.Path, "/")
	if token == "" {
		return nil, errIncomplete
	}
	return posting(c, "https://"+u.Host+"/message", http.Header{"X-Gotify-Key": {token}}, func(n *notice) any {
		return object{"title": n.title, "message": n.text, "priority": 3 * int(n.worst)}
	}), nil
}

// incident is the name under which a pager knows that an alert and its end are one.
func (n *notice) incident() string {
	if n.kind != "" && n.hold == "" {
		return "holdd-" + string(n.kind)
	}
	if n.hold != "" {
		return "holdd-" + n.hold
	}
	return n.id
}

func pagerduty(u *url.URL, c *http.Client) (service, error) {
	key := u.User.Username()
	if key == "" {
		return nil, errIncomplete
	}
	return posting(c, "https://events.pagerduty.com/v2/enqueue", nil, func(n *notice) any {
		action := "trigger"
		if n.over {
			action = "resolve"
		}
		return object{"routing_key": key, "event_action": action, "dedup_key": n.incident(),
			"payload": object{"summary": cut(n.title, 1000), "source": "holdd", "severity": n.worst.String(), "custom_details": object{"text": n.text}}}
	}), nil
}

func opsgenie(u *url.URL, c *http.Client) (service, error) {
	key := strings.Trim(u.Path, "/")
	if key == "" {
		return nil, errIncomplete
	}
	alerts := "https://" + u.Host + "/v2/alerts"
	return postingTo(c, http.Header{"Authorization": {"GenieKey " + key}}, func(n *notice) (string, any) {
		if n.over {
			return alerts + "/" + url.PathEscape(n.incident()) + "/close?identifierType=alias", object{"source": "holdd", "note": cut(n.title, 1000)}
		}
		return alerts, object{"message": cut(n.title, 130), "alias": n.incident(), "description": n.whole(15_000), "source": "holdd",
			"priority": map[Severity]string{Info: "P5", Warning: "P3", Critical: "P1"}[n.worst]}
	}), nil
}

// generic posts what any relay can be told to read.
func generic(u *url.URL, c *http.Client) (service, error) {
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
		header.Set("Authorization", basic(u.User.Username(), p))
	}
	return posting(c, to.String(), header, func(n *notice) any {
		return object{"title": n.title, "message": n.text, "body": n.text, "severity": n.worst.String(), "kind": string(n.kind), "over": n.over, "hold": n.hold, "id": n.id}
	}), nil
}

// mail sends through a mail server: with STARTTLS where it is offered, from the start with encryption=ImplicitTLS or on port 465.
func mail(u *url.URL, _ *http.Client) (service, error) {
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
	return func(ctx context.Context, n *notice) outcome {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return outcome{verdict: failed, reason: network(err)}
		}
		defer conn.Close()
		if end, ok := ctx.Deadline(); ok {
			_ = conn.SetDeadline(end) // a connection takes any
		}
		if implicit {
			conn = tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
		}
		err = submit(conn, host, from.Address, to, auth, u.User.Username(), password, letter(from, to, n))
		var said *textproto.Error
		switch {
		case err == nil:
			return outcome{verdict: taken}
		case errors.As(err, &said) && said.Code/100 == 5:
			return outcome{verdict: refused, reason: "the mail server refuses it (" + itoa(said.Code) + ")"}
		case errors.As(err, &said):
			return outcome{verdict: failed, reason: "the mail server does not take it now (" + itoa(said.Code) + ")"}
		}
		return outcome{verdict: failed, reason: network(err)}
	}, nil
}

func submit(conn net.Conn, host, from string, to []string, auth bool, user, password string, text []byte) error {
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}); err != nil {
			return err
		}
	}
	if auth {
		// net/smtp refuses to send a password in the clear to anybody but this machine.
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

func letter(from *netmail.Address, to []string, n *notice) []byte {
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()}, {"To", strings.Join(to, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", n.title)}, {"Date", time.Now().Format(time.RFC1123Z)},
		{"Message-ID", "<" + n.id + "@holdd>"}, {"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"}, {"Auto-Submitted", "auto-generated"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n" + strings.ReplaceAll(n.text, "\n", "\r\n") + "\r\n")
	return b.Bytes()
}
