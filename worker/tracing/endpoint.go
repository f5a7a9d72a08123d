package tracing

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
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

// endpointFromEnv reads the standard variables. It returns nil if they switch
// tracing off. Its errors do not quote values that may have a secret.
func endpointFromEnv() (*endpoint, error) {
	exporter := readVariable("OTEL_TRACES_EXPORTER")
	off := readVariable("OTEL_SDK_DISABLED").is("true") || exporter.is("none")
	if off || otlpVariable("ENDPOINT").value == "" {
		return nil, nil
	}
	compression := otlpVariable("COMPRESSION")
	e := &endpoint{gzip: compression.is("gzip")}
	protocol := otlpVariable("PROTOCOL")
	if protocol.oneOf("http/protobuf") != nil {
		return nil, protocol.newQuotingError("http/protobuf, which collectors receive on port 4318")
	}
	return e, errors.Join(exporter.oneOf("otlp", "none"), compression.oneOf("gzip", "none"),
		e.readURL(), e.readHeaders(), e.readTimeout(), e.readTLS(), checkSDKVariables())
}

// readURL reads the address. The one for all signals is a base, to which the
// path of traces is added.
func (e *endpoint) readURL() (err error) {
	v := otlpVariable("ENDPOINT")
	e.url, err = url.Parse(v.value)
	if err != nil || e.url.Scheme != "http" && e.url.Scheme != "https" || e.url.Hostname() == "" {
		return v.newError("a URL like http://127.0.0.1:4318")
	}
	if v.name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		e.url = e.url.JoinPath("v1/traces")
	}
	return nil
}

func (e *endpoint) readHeaders() error {
	pairs, err := otlpVariable("HEADERS").pairs()
	e.headers = http.Header{}
	for _, p := range pairs {
		e.headers.Set(p[0], p[1])
	}
	return err
}

func (e *endpoint) readTimeout() error {
	ms, err := otlpVariable("TIMEOUT").number(10_000, 1)
	e.timeout = time.Duration(ms) * time.Millisecond
	return err
}

// readTLS reads the certificates that the collector and holdd use.
func (e *endpoint) readTLS() error {
	e.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if v := otlpVariable("CERTIFICATE"); v.value != "" {
		pem, err := os.ReadFile(v.value)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", v.name, err)
		}
		e.tls.RootCAs = x509.NewCertPool()
		if !e.tls.RootCAs.AppendCertsFromPEM(pem) {
			return v.newError("a file with certificates in PEM")
		}
	}
	cert, key := otlpVariable("CLIENT_CERTIFICATE"), otlpVariable("CLIENT_KEY")
	if cert.value == "" && key.value == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert.value, key.value)
	if err != nil {
		return fmt.Errorf("cannot read %s with %s", cert.name, key.name)
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
