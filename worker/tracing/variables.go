package tracing

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// variable is one of OpenTelemetry's variables of the environment.
type variable struct{ name, value string }

func readVariable(name string) variable {
	return variable{name, strings.TrimSpace(os.Getenv(name))}
}

// is reports whether the value is this word, in any case.
func (v variable) is(word string) bool { return strings.EqualFold(v.value, word) }

// otlpVariable returns OTEL_EXPORTER_OTLP_TRACES_NAME if it is set, and
// OTEL_EXPORTER_OTLP_NAME otherwise.
func otlpVariable(name string) variable {
	own := readVariable("OTEL_EXPORTER_OTLP_TRACES_" + name)
	if own.value != "" {
		return own
	}
	return readVariable("OTEL_EXPORTER_OTLP_" + name)
}

// newError does not quote the value, which may have a secret.
func (v variable) newError(want string) error {
	return fmt.Errorf("invalid %s: want %s", v.name, want)
}

func (v variable) newQuotingError(want string) error {
	return fmt.Errorf("invalid %s %.20q: want %s", v.name, v.value, want)
}

// maxNumber keeps a queue in memory, and a time in milliseconds from overflow.
const maxNumber = 1_000_000

// number returns the value, or byDefault if it is empty.
func (v variable) number(byDefault, least int) (int, error) {
	if v.value == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(v.value)
	if err != nil || n < least || n > maxNumber {
		return 0, v.newQuotingError(fmt.Sprintf("a number from %d to %d", least, maxNumber))
	}
	return n, nil
}

// oneOf checks that the value is empty or one of the values.
func (v variable) oneOf(values ...string) error {
	if v.value == "" || slices.ContainsFunc(values, v.is) {
		return nil
	}
	return v.newQuotingError(strings.Join(values, " or "))
}

// pairs returns the names and values of a list like "name=value,name=value".
func (v variable) pairs() (pairs [][2]string, err error) {
	for pair := range strings.SplitSeq(v.value, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !isToken(name) || strings.ContainsFunc(value, isControl) {
			return nil, v.newError("name=value, separated by commas, " +
				"with other characters in the form %20")
		}
		pairs = append(pairs, [2]string{name, value})
	}
	return pairs, nil
}

// isToken reports whether s may be the name of a header.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// checkSDKVariables checks the variables that the SDK reads. The SDK ignores
// most invalid values, ends the process at a negative size, and uses a whole
// core if the delay is zero.
func checkSDKVariables() error {
	errs := []error{checkSampler()}
	for _, name := range []string{"SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE",
		"MAX_EXPORT_BATCH_SIZE"} {
		_, err := readVariable("OTEL_BSP_"+name).number(1, 1)
		errs = append(errs, err)
	}
	for _, name := range []string{"ATTRIBUTE_VALUE_LENGTH", "ATTRIBUTE_COUNT",
		"SPAN_ATTRIBUTE_VALUE_LENGTH", "SPAN_ATTRIBUTE_COUNT", "SPAN_EVENT_COUNT",
		"SPAN_LINK_COUNT", "EVENT_ATTRIBUTE_COUNT", "LINK_ATTRIBUTE_COUNT"} {
		_, err := readVariable("OTEL_"+name+"_LIMIT").number(0, -1) // -1: no limit
		errs = append(errs, err)
	}
	_, err := readVariable("OTEL_RESOURCE_ATTRIBUTES").pairs()
	return errors.Join(append(errs, err)...)
}

func checkSampler() error {
	sampler, ratio := readVariable("OTEL_TRACES_SAMPLER"), readVariable("OTEL_TRACES_SAMPLER_ARG")
	if !sampler.is("traceidratio") && !sampler.is("parentbased_traceidratio") {
		return sampler.oneOf("parentbased_always_on", "parentbased_always_off",
			"parentbased_traceidratio", "always_on", "always_off", "traceidratio")
	}
	n, err := strconv.ParseFloat(cmp.Or(ratio.value, "1"), 64)
	if err != nil || !(n >= 0 && n <= 1) { // which NaN is not
		return ratio.newQuotingError("a number from 0 to 1")
	}
	return nil
}
