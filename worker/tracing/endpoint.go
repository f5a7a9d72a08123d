package tracing

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// endpoint is where spans are sent, as the variables of OTLP say. Its address
// and its headers may have secrets.
type endpoint struct {
	url     *url.URL
	headers http.Header
	timeout time.Duration // of one request
	gzip    bool
	tls     *tls.Config // nil: the system's
}

// otlpVariable returns the value of OTEL_EXPORTER_OTLP_TRACES_NAME, or else of
// OTEL_EXPORTER_OTLP_NAME.
func otlpVariable(name string) string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name),
		os.Getenv("OTEL_EXPORTER_OTLP_"+name))
}

// endpointFromEnv reads the standard variables. It returns nil if they switch
// tracing off. Its errors do not quote values that may have a secret.
func endpointFromEnv() (*endpoint, error) {
	off := strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") ||
		os.Getenv("OTEL_TRACES_EXPORTER") == "none"
	if off || otlpVariable("ENDPOINT") == "" {
		return nil, nil
	}
	if v := os.Getenv("OTEL_TRACES_EXPORTER"); v != "" && v != "otlp" {
		return nil, fmt.Errorf("invalid OTEL_TRACES_EXPORTER %.20q: want otlp or none", v)
	}
	if v := otlpVariable("PROTOCOL"); v != "" && v != "http/protobuf" {
		return nil, fmt.Errorf("invalid OTEL_EXPORTER_OTLP_PROTOCOL %.20q: want http/protobuf, "+
			"which collectors receive on port 4318", v)
	}
	e := &endpoint{timeout: 10 * time.Second, gzip: otlpVariable("COMPRESSION") == "gzip"}
	return e, errors.Join(e.readURL(), e.readHeaders(), e.readTimeout(), e.readTLS())
}

// readURL reads the address. The one for all signals is a base, to which the
// path of traces is added.
func (e *endpoint) readURL() (err error) {
	own := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	e.url, err = url.Parse(cmp.Or(own, os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")))
	if err != nil || e.url.Scheme != "http" && e.url.Scheme != "https" || e.url.Hostname() == "" {
		return errors.New("invalid OTEL_EXPORTER_OTLP_ENDPOINT: want a URL like " +
			"http://127.0.0.1:4318")
	}
	if own == "" {
		e.url = e.url.JoinPath("v1/traces")
	}
	return nil
}

func (e *endpoint) readHeaders() error {
	e.headers = http.Header{}
	for pair := range strings.SplitSeq(otlpVariable("HEADERS"), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return errors.New("invalid OTEL_EXPORTER_OTLP_HEADERS: want name=value, " +
				"separated by commas")
		}
		e.headers.Set(strings.TrimSpace(name), value)
	}
	return nil
}

func (e *endpoint) readTimeout() error {
	v := otlpVariable("TIMEOUT")
	if v == "" {
		return nil
	}
	ms, err := strconv.Atoi(v)
	if err != nil || ms <= 0 {
		return fmt.Errorf("invalid OTEL_EXPORTER_OTLP_TIMEOUT %.20q: want milliseconds", v)
	}
	e.timeout = time.Duration(ms) * time.Millisecond
	return nil
}

// readTLS reads the certificates that the collector and holdd use.
func (e *endpoint) readTLS() error {
	e.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if path := otlpVariable("CERTIFICATE"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("cannot read OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		e.tls.RootCAs = x509.NewCertPool()
		if !e.tls.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("invalid OTEL_EXPORTER_OTLP_CERTIFICATE: no certificate in it")
		}
	}
	cert, key := otlpVariable("CLIENT_CERTIFICATE"), otlpVariable("CLIENT_KEY")
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return errors.New("cannot read OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and its CLIENT_KEY")
	}
	e.tls.Certificates = []tls.Certificate{pair}
	return nil
}

// portOf returns the port of a URL, also if it is that of the scheme.
func portOf(u *url.URL) int {
	if n, err := strconv.Atoi(u.Port()); err == nil {
		return n
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}
