package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const (
	envPrefix            = "HOLDD_"
	maxSettingsFileBytes = 1 << 20
	maxSecretFileBytes   = 1 << 16

	settingsFile = "settings file" // SettingProblem.Setting of the file itself
)

// commandEnv are the variables of holdd's command line, which are not settings
// of the daemon.
var commandEnv = []string{"HOLDD_CONFIG", "HOLDD_URL", "HOLDD_TOKEN", "HOLDD_TOKEN_FILE",
	"HOLDD_TIME_ZONE"}

// InvalidSettingsError is all problems of the settings, in the order in which
// to fix them.
type InvalidSettingsError struct {
	Problems []SettingProblem
}

// SettingProblem is one problem of the settings.
type SettingProblem struct {
	Setting string // its key, or the unknown name
	Source  string // "holdd.yaml:3", "environment HOLDD_LEASE", "flag --lease", or ""
	Detail  string // the problem and its solution; never the text of a secret
}

func (p SettingProblem) String() string {
	if p.Source == "" {
		return p.Setting + ": " + p.Detail
	}
	return p.Setting + ": " + p.Detail + " (" + p.Source + ")"
}

func (e *InvalidSettingsError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// settingSource is the place where a setting was set.
type settingSource struct {
	kind string // "", "file", "environment", "flag"
	name string
	line int
}

func (s settingSource) String() string {
	switch s.kind {
	case "file":
		return fmt.Sprintf("%s:%d", s.name, s.line)
	case "environment", "flag":
		return s.kind + " " + s.name
	}
	return "default"
}

// AddFlags adds a flag for each setting that is not a secret. Pass the parsed
// flags to [Load].
func AddFlags(fs *pflag.FlagSet) {
	for _, f := range newSettingFields(&Settings{}) {
		switch {
		case f.secret:
		case f.isBool():
			fs.Bool(f.flagName(), f.defaultText == "true", f.usage)
		default:
			fs.String(f.flagName(), f.defaultText, f.usage)
		}
	}
}

// EnvNameOfFlag returns the environment variable of the setting that has a
// flag, "" if no setting has it.
func EnvNameOfFlag(flag string) string {
	for _, f := range newSettingFields(&Settings{}) {
		if f.flagName() == flag && !f.secret {
			return f.envName()
		}
	}
	return ""
}

// settingsLoader is one call of Load.
type settingsLoader struct {
	settings *Settings
	fields   []*settingField
	texts    map[string][]string // by key, as the last layer set them
	problems []SettingProblem
	invalid  map[string]bool // keys with a problem, which later checks skip
}

// Load reads the settings: the defaults, the YAML file at path, environ
// ("KEY=value", as from os.Environ), and the flags that were given. Each
// overrides the one before. path may be empty and flags nil. The error is an
// [*InvalidSettingsError] with all problems.
func Load(flags *pflag.FlagSet, environ []string, path string) (*Settings, error) {
	s, problems := load(flags, environ, path)
	if len(problems) > 0 {
		return nil, &InvalidSettingsError{problems}
	}
	return s, nil
}

// LoadStripe reads the settings for a command that needs those of Stripe's API
// and the ones with the keys in more. It ignores problems of all others, which
// then have any value.
func LoadStripe(environ []string, path string, more ...string) (*Settings, error) {
	s, problems := load(nil, environ, path)
	problems = slices.DeleteFunc(problems, func(p SettingProblem) bool {
		name := strings.ToLower(p.Setting) // that of an unknown variable is in capitals
		return p.Setting != settingsFile && !slices.Contains(more, strings.TrimSuffix(name, "_file")) &&
			(!strings.HasPrefix(name, "stripe_") || strings.HasPrefix(name, "stripe_webhook_"))
	})
	if len(problems) > 0 {
		return nil, &InvalidSettingsError{problems}
	}
	return s, nil
}

func load(flags *pflag.FlagSet, environ []string, path string) (*Settings, []SettingProblem) {
	s := &Settings{sources: map[string]settingSource{}}
	l := &settingsLoader{settings: s, fields: newSettingFields(s), texts: map[string][]string{},
		invalid: map[string]bool{}}
	if path != "" {
		l.loadFile(path)
	}
	l.loadEnvironment(environ)
	if flags != nil {
		l.loadFlags(flags)
	}
	l.parseValues()
	l.loadSecretFile("stripe_api_key", s.StripeAPIKeyFile)
	l.loadSecretFile("stripe_webhook_secrets", s.StripeWebhookSecretsFile)
	l.loadSecretFile("redis_url", s.RedisURLFile)
	l.loadSecretFile("notify_urls", s.NotifyURLsFile)
	l.loadSecretFile("ping_url", s.PingURLFile)
	l.loadSecretFile("callback_secret", s.CallbackSecretFile)
	l.loadSecretFile("cardholder_secret", s.CardholderSecretFile)
	if s.TokensFile != "" {
		s.files = append(s.files, s.TokensFile)
	}
	l.checkSettingCombinations()
	return s, l.problems
}

func (l *settingsLoader) addProblem(key, format string, args ...any) {
	src := ""
	if s := l.settings.sources[key]; s.kind != "" {
		src = s.String()
	}
	l.addProblemAt(key, src, format, args...)
}

func (l *settingsLoader) addProblemAt(key, src, format string, args ...any) {
	l.problems = append(l.problems, SettingProblem{Setting: key, Source: src,
		Detail: fmt.Sprintf(format, args...)})
	l.invalid[key] = true
}

func (l *settingsLoader) addWarning(format string, args ...any) {
	l.settings.warnings = append(l.settings.warnings, fmt.Sprintf(format, args...))
}

// set sets a setting over the layers before.
func (l *settingsLoader) set(f *settingField, src settingSource, text string) {
	text = strings.TrimSpace(text)
	texts := []string{text}
	if f.split != nil {
		texts = f.split(text)
	}
	l.setFieldTexts(f, src, texts)
}

func (l *settingsLoader) setFieldTexts(f *settingField, src settingSource, texts []string) {
	l.texts[f.key], l.settings.sources[f.key] = texts, src
}

func (l *settingsLoader) loadFile(path string) {
	const name = settingsFile
	l.settings.files = append(l.settings.files, path)
	info, err := os.Stat(path)
	if err != nil {
		l.addProblemAt(name, path, "cannot read: %v", fileErrorReason(err))
		return
	}
	if info.IsDir() || info.Size() > maxSettingsFileBytes {
		l.addProblemAt(name, path, "cannot read: want --config to be a YAML file of at most %d KiB",
			maxSettingsFileBytes>>10)
		return
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = l.loadYAML(path, b)
	}
	if err != nil {
		l.addProblemAt(name, path, "cannot read: %v", fileErrorReason(err))
		return
	}
	hasSecret := slices.ContainsFunc(l.fields, func(f *settingField) bool {
		return f.secret && l.texts[f.key] != nil
	})
	if hasSecret && info.Mode().Perm()&0o044 != 0 {
		l.addWarning("%s has secrets and other users can read it: chmod 600 %s", path, path)
	}
}

func (l *settingsLoader) loadEnvironment(environ []string) {
	names := slices.Clone(commandEnv)
	byName := map[string]*settingField{}
	for _, f := range l.fields {
		names, byName[f.envName()] = append(names, f.envName()), f
	}
	var unknown []string
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		f := byName[name]
		switch {
		case f != nil && strings.TrimSpace(text) == "":
			// `${X:-}` in a Compose file leaves an empty variable.
		case f != nil:
			l.set(f, settingSource{"environment", name, 0}, text)
		case hasSettingPrefix(name) && !slices.Contains(commandEnv, name) &&
			!isKubernetesVariable(name, text):
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range slices.Compact(unknown) {
		l.addProblemAt(name, "environment", "unknown setting: %s", formatSpellingHint(name, names))
	}
}

// hasSettingPrefix reports whether a variable is meant for holdd. A misspelled
// name must not be ignored.
func hasSettingPrefix(name string) bool {
	for _, prefix := range []string{envPrefix, "STRIPE_", "REDIS_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Names of the variables that Kubernetes and Docker set for a service called
// "holdd", "redis" or "redis-something".
var (
	serviceHostPattern = regexp.MustCompile(`^(?:HOLDD|REDIS|STRIPE)_(.+_)?SERVICE_(HOST|PORT(_.+)?)$`)
	servicePortPattern = regexp.MustCompile(
		`^(?:HOLDD|REDIS|STRIPE)_(.+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)
)

func isKubernetesVariable(name, text string) bool {
	if m := servicePortPattern.FindStringSubmatch(name); m != nil {
		return m[2] != "" || strings.Contains(text, "://")
	}
	return serviceHostPattern.MatchString(name)
}

func (l *settingsLoader) loadFlags(flags *pflag.FlagSet) {
	for _, f := range l.fields {
		if given := flags.Lookup(f.flagName()); !f.secret && given != nil && given.Changed {
			l.set(f, settingSource{"flag", "--" + given.Name, 0}, given.Value.String())
		}
	}
}

// parseValues sets the settings to the texts of the layers, or to the defaults.
func (l *settingsLoader) parseValues() {
	for _, f := range l.fields {
		if _, ok := l.texts[f.key]; !ok {
			if f.defaultText == "" {
				continue
			}
			l.set(f, settingSource{}, f.defaultText)
		}
		texts := l.texts[f.key]
		if f.split == nil && texts[0] == "" {
			l.addProblem(f.key, "%s", noValue)
		} else if err := f.settingCodec.parse(texts); err != nil {
			l.addProblem(f.key, "%v", err)
		}
	}
}

const noValue = "no value: set one, or remove the setting"

// loadSecretFile sets a secret to the text of the file of its setting with
// _file. A list has an entry on each line, and lines with # are comments.
func (l *settingsLoader) loadSecretFile(key, path string) {
	fileKey := key + "_file"
	if path == "" || l.invalid[fileKey] {
		return
	}
	l.settings.files = append(l.settings.files, path)
	if direct := l.settings.sources[key]; direct.kind != "" {
		l.addProblem(fileKey, "%s is set as well (%s): set one of them", key, direct)
		return
	}
	f := l.fields[slices.IndexFunc(l.fields, func(f *settingField) bool { return f.key == key })]
	text, err := l.readSecretFile(fileKey, path, f.split != nil)
	if err == nil {
		texts := []string{text}
		if f.split != nil {
			texts = f.split(strings.Join(strings.Fields(text), ","))
		}
		err = f.settingCodec.parse(texts)
	}
	if err != nil {
		l.addProblem(fileKey, "%s: %v", path, err)
		l.invalid[key] = true
		return
	}
	l.settings.sources[key] = settingSource{"file", path, 1}
}

func (l *settingsLoader) readSecretFile(key, path string, list bool) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("cannot read: %v", fileErrorReason(err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecretFileBytes {
		return "", fmt.Errorf("want a file of at most %d KiB", maxSecretFileBytes>>10)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read: %v", fileErrorReason(err))
	}
	text := strings.TrimSpace(string(b))
	if list {
		text = removeCommentLines(text)
	}
	switch {
	case text == "":
		return "", fmt.Errorf("the file is empty")
	case !list && strings.ContainsAny(text, "\r\n"):
		return "", fmt.Errorf("the file has several lines: want the secret alone")
	}
	l.warnIfWorldReadable(key, path, info)
	return text, nil
}

// removeCommentLines removes the lines that begin with #.
func removeCommentLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return strings.TrimSpace(b.String())
}

func (l *settingsLoader) warnIfWorldReadable(key, path string, info os.FileInfo) {
	if info.Mode().Perm()&0o004 != 0 {
		l.addWarning("%s: all users of this machine can read %s: chmod 600 %s", key, path, path)
	}
}

// fileErrorReason removes the path from a file error and the package name from
// a YAML error: the problem has the path.
func fileErrorReason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "yaml: ")
}
