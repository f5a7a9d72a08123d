package tracing_test

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/tracing"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The SDK ignores some of these values without a word, and ends the process or
// uses a whole core with others. Its own messages quote them.
func TestNew_VariablesThatTheSDKMishandles(t *testing.T) {
	for name, v := range map[string][2]string{
		"negative queue":  {"OTEL_BSP_MAX_QUEUE_SIZE", "-1"},
		"endless queue":   {"OTEL_BSP_MAX_QUEUE_SIZE", "1000000000000000000"},
		"negative batch":  {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"},
		"no delay":        {"OTEL_BSP_SCHEDULE_DELAY", "0"},
		"unit of delay":   {"OTEL_BSP_SCHEDULE_DELAY", "5s"},
		"no export limit": {"OTEL_BSP_EXPORT_TIMEOUT", "0"},
		"span limit":      {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"},
		"timeout":         {"OTEL_EXPORTER_OTLP_TIMEOUT", "10000000000000000"},
		"sampler":         {"OTEL_TRACES_SAMPLER", "s3cret"},
		"ratio":           {"OTEL_TRACES_SAMPLER_ARG", "0,25"},
		"percent":         {"OTEL_TRACES_SAMPLER_ARG", "25"},
		"no number":       {"OTEL_TRACES_SAMPLER_ARG", "NaN"},
		"compression":     {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
		"header name":     {"OTEL_EXPORTER_OTLP_HEADERS", "s3cret key=x"},
		"no header name":  {"OTEL_EXPORTER_OTLP_HEADERS", "=s3cret"},
		"header value":    {"OTEL_EXPORTER_OTLP_HEADERS", "key=s3cret%0Aother"},
		"resource":        {"OTEL_RESOURCE_ATTRIBUTES", "team=a,s3cret"},
		"resource value":  {"OTEL_RESOURCE_ATTRIBUTES", "team=s3cret%"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "ratio" || name == "percent" || name == "no number" {
				t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
			}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(v[0], v[1])
			core, logs := observer.New(zapcore.DebugLevel)
			tracer, err := tracing.New(t.Context(), tracing.Options{Logger: zap.New(core)})
			if tracer != nil || err == nil || !strings.Contains(err.Error(), v[0]) ||
				strings.Contains(err.Error(), "s3cret") && v[0] != "OTEL_TRACES_SAMPLER" ||
				logs.Len() != 0 {
				t.Error(tracer, err, logs.All())
			}
		})
	}
}
