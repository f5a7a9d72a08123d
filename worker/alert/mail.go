package alert

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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

// mailSender sends notifications through a mail server.
type mailSender struct {
	host, port string
	// implicitTLS encrypts from the start. Otherwise STARTTLS is required, unless
	// plaintext allows a server that does not offer it.
	implicitTLS, plaintext bool
	auth                   smtp.Auth // nil if the address has no password
	from                   *netmail.Address
	to                     []string
}

// newMailSender returns a sender to the mail server at u. Port 465 or
// encryption=ImplicitTLS means implicit TLS. With encryption=None the server
// may receive mail without encryption.
func newMailSender(u *url.URL, _ *http.Client) (sendNotificationFunc, error) {
	s := &mailSender{host: u.Hostname(), port: u.Port()}
	var err error
	if s.from, err = netmail.ParseAddress(u.Query().Get("from")); err != nil {
		return nil, errors.New("from is not a mail address")
	}
	list, err := netmail.ParseAddressList(u.Query().Get("to"))
	if err != nil {
		return nil, errors.New("to is not a list of mail addresses")
	}
	for _, a := range list {
		s.to = append(s.to, a.Address)
	}
	if s.port == "" {
		s.port = "587"
	}
	s.implicitTLS = s.port == "465" ||
		strings.EqualFold(u.Query().Get("encryption"), "ImplicitTLS")
	s.plaintext = strings.EqualFold(u.Query().Get("encryption"), "None")
	if password, ok := u.User.Password(); ok {
		// PlainAuth sends a password only encrypted or to this machine.
		s.auth = smtp.PlainAuth("", u.User.Username(), password, s.host)
	}
	return s.send, nil
}

// errNoStartTLS says that the mail would travel unencrypted.
var errNoStartTLS = errors.New("the mail server offers no STARTTLS: " +
	"set encryption=None to send alerts unencrypted")

func (s *mailSender) send(ctx context.Context, n *notification) deliveryOutcome {
	err := s.dialAndSubmitMail(ctx, formatMail(s.from, s.to, n))
	var smtpErr *textproto.Error
	switch {
	case err == nil:
		return deliveryOutcome{result: resultDelivered}
	case errors.Is(err, errNoStartTLS):
		return deliveryOutcome{result: resultFailed, reason: errNoStartTLS.Error()}
	case errors.As(err, &smtpErr) && smtpErr.Code/100 == 5:
		return deliveryOutcome{result: resultRejected,
			reason: fmt.Sprintf("rejected by the mail server (%d)", smtpErr.Code)}
	case errors.As(err, &smtpErr):
		return deliveryOutcome{result: resultFailed,
			reason: fmt.Sprintf("deferred by the mail server (%d)", smtpErr.Code)}
	}
	return deliveryOutcome{result: resultFailed, reason: describeNetworkError(err)}
}

func (s *mailSender) dialAndSubmitMail(ctx context.Context, text []byte) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp",
		net.JoinHostPort(s.host, s.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end) // a TCP connection accepts any
	}
	if s.implicitTLS {
		conn = tls.Client(conn, s.tlsConfig())
	}
	return s.submitMail(conn, text)
}

func (s *mailSender) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
}

// submitMail sends one mail on a connection.
func (s *mailSender) submitMail(conn net.Conn, text []byte) error {
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(s.tlsConfig()); err != nil {
			return err
		}
	} else if !s.implicitTLS && !s.plaintext {
		return errNoStartTLS
	}
	if s.auth != nil {
		if err := c.Auth(s.auth); err != nil {
			return err
		}
	}
	if err := c.Mail(s.from.Address); err != nil {
		return err
	}
	for _, a := range s.to {
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
	_ = c.Quit() // the server has accepted the mail
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
