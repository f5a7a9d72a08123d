package daemon

import (
	"errors"
	"net"
	"net/http"

	"github.com/holdd/holdd/worker/api"
	"go.uber.org/zap"
)

// listeningServer is one address and what it serves.
type listeningServer struct {
	name     string // the setting's key
	server   *http.Server
	listener *api.ConnectionLimiter
}

// newListeningServers listens on every address of the settings. The first is that
// of the API.
func newListeningServers(o *Options, handler *api.API) ([]*listeningServer, error) {
	var servers []*listeningServer
	for _, a := range []struct {
		name, address string
		handler       http.Handler
	}{
		{"listen", o.Settings.Listen, handler},
		{"webhook_listen", o.Settings.WebhookListen, handler.WebhookHandler()},
		{"metrics_listen", o.Settings.MetricsListen, handler.MetricsAndHealthHandler()},
		{"cardholder_listen", o.Settings.CardholderListen, handler.CardholderHandler()},
	} {
		if a.address == "" {
			continue
		}
		l, err := api.Listen(a.address)
		if err != nil {
			for _, s := range servers {
				err = errors.Join(err, s.listener.Close())
			}
			return nil, err
		}
		servers = append(servers, &listeningServer{a.name, api.NewHTTPServer(a.handler, o.Logger),
			api.LimitConnections(l)})
	}
	return servers, nil
}

// url returns the URL of the server's address.
func (s *listeningServer) url() string { return formatListenURL(s.listener.Addr()) }

func formatListenURL(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix://" + addr.String()
	}
	return "http://" + addr.String()
}

func reportStarted(o *Options, servers []*listeningServer, livemode bool) {
	fields := []zap.Field{zap.String("version", o.Version)}
	for _, s := range servers {
		fields = append(fields, zap.String(s.name, s.url()))
	}
	o.Logger.Info("holdd is up", append(fields, zap.Bool("livemode", livemode),
		zap.Int("partitions", o.Settings.Partitions),
		zap.Int("concurrency", o.Settings.Concurrency))...)
	if o.Ready != nil {
		o.Ready(servers[0].url())
	}
}
