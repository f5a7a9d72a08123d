package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"github.com/holdd/holdd/config"
)

func TestSecretCodec_NeverPrinted(t *testing.T) {
	const text = "sk_test_topsecret"
	secret := config.NewSecret(text)
	settings, err := config.Load(nil, []string{
		"STRIPE_API_KEY=" + text, "STRIPE_WEBHOOK_SECRETS=whsec_topsecret", "REDIS_URL=redis://:topsecret@h", "HOLDD_NOTIFY_URLS=slack://topsecret@c",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	// fmt cannot call methods of an unexported field, and prints its memory.
	type box struct{ inner config.Secret }
	type open struct{ Inner config.Secret }

	for name, v := range map[string]any{
		"secret": secret, "pointer": &secret, "unexported": box{secret}, "exported": open{secret}, "slice": []config.Secret{secret},
		"map": map[string]config.Secret{"k": secret}, "settings": *settings, "settings pointer": settings,
	} {
		outputs := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10s"} {
			outputs[verb] = fmt.Sprintf(verb, v)
		}
		outputs["Sprint"], outputs["Sprintln"] = fmt.Sprint(v), fmt.Sprintln(v)
		outputs["Errorf"] = fmt.Errorf("with %v", v).Error()
		if b, err := json.Marshal(v); err == nil {
			outputs["json"] = string(b)
		}
		if b, err := yaml.Marshal(v); err == nil {
			outputs["yaml"] = string(b)
		}
		var zapped, slogged bytes.Buffer
		for _, enc := range []zapcore.Encoder{
			zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		} {
			log := zap.New(zapcore.NewCore(enc, zapcore.AddSync(&zapped), zap.DebugLevel))
			log.Info("any", zap.Any("v", v), zap.Reflect("r", v))
			log.Sugar().Infof("sugar %v %+v", v, v)
		}
		slog.New(slog.NewTextHandler(&slogged, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&slogged, nil)).Info("x", "v", v)
		outputs["zap"], outputs["slog"] = zapped.String(), slogged.String()
		for how, out := range outputs {
			if strings.Contains(out, "topsecret") || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", "topsecret")) {
				t.Errorf("%s printed by %s: %s", name, how, out)
			}
		}
	}
	if secret.Reveal() != text || !secret.IsSet() {
		t.Error("Reveal does not return the text")
	}
	if none := (config.Secret{}); none.IsSet() || none.Reveal() != "" || config.NewSecret("").IsSet() {
		t.Error("an empty secret is set")
	}
	if got := fmt.Sprint(secret); got != "[redacted]" {
		t.Errorf("a secret is printed as %q", got)
	}
}
