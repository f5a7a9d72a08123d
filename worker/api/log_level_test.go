package api_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/holdd/holdd/worker/api"
)

// A token with the role operate changes the level, and the log names it at any
// level.
func TestLogLevel_SetByOperator(t *testing.T) {
	level := zap.NewAtomicLevelAt(zapcore.InfoLevel)
	core, logs := observer.New(&level)
	a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds()), Tokens: parseTestTokens(t), Logger: zap.New(core), LogLevel: &level})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, query, token string, status int, want string) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, "http://localhost/v1/log-level"+query, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		a.ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s %s: %d %s", method, query, w.Code, w.Body)
		}
	}
	checkLastLogged := func(n int, to, by string) {
		t.Helper()
		all := logs.FilterMessage("log level changed").All()
		if len(all) != n {
			t.Fatalf("%d lines, want %d", len(all), n)
		}
		if f := all[n-1].ContextMap(); f["to"] != to || f["by"] != by {
			t.Errorf("%v", f)
		}
	}
	ask("GET", "", readToken, 200, `"level":"info","configured":"info"}`)
	ask("PUT", "?level=debug", readToken, 403, "token_read_only")
	ask("PUT", "?level=debug", "unknown", 401, "token_invalid")
	for _, query := range []string{"", "?level=trace", "?level=fatal", "?level=debug&for=1h", "?level=debug&colour=red"} {
		ask("PUT", query, operateToken, 422, "") // checked before anything is changed
	}
	if level.Level() != zapcore.InfoLevel || logs.FilterMessage("log level changed").Len() != 0 {
		t.Error("something was changed")
	}

	ask("PUT", "?level=error", operateToken, 200, `"level":"error","configured":"info"}`)
	checkLastLogged(1, "error", "front-desk")
	ask("PUT", "?level=debug", operateToken, 200, `"level":"debug","configured":"info"}`)
	checkLastLogged(2, "debug", "front-desk")
	ask("PUT", "?level=info", operateToken, 200, `"level":"info","configured":"info"}`)
	checkLastLogged(3, "info", "front-desk")

	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds())})
	for _, method := range []string{"GET", "PUT"} {
		if a := sendRequest(t, method, s.URL+"/v1/log-level?level=info", ""); a.status == 200 {
			t.Errorf("a log without a level: %d %s", a.status, a.body)
		}
	}
}
