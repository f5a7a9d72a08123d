package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	kfile "github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	envPrefix            = "HOLDD_"
	maxSettingsFileBytes = 1 << 20 // bytes of a settings file
	maxSecretFileBytes   = 1 << 16 // bytes of a file with a secret
)

// Variables of holdd's command line that are no settings of the daemon.
var cliOnlyEnv = []string{"HOLDD_CONFIG", "HOLDD_URL", "HOLDD_TOKEN",
	"HOLDD_TOKEN_FILE", "HOLDD_TIME_ZONE"}

// Error is everything that is wrong with the settings, in the order in which
// one would fix it.
type Error struct {
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	Setting string // its key, or the name that was written instead of one
	// "holdd.yaml:3", "environment HOLDD_LEASE", "flag --lease"; empty if
	// nobody set it
	Source string
	Detail string // what is wrong and what to do; never the text of a secret
}

func (p Problem) String() string {
	if p.Source == "" {
		return p.Setting + " " + p.Detail
	}
	return p.Setting + " " + p.Detail + " (" + p.Source + ")"
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// source is where a value came from.
type source struct {
	kind string // "", "file", "environment", "flag"
	name string
	line int
}

func (s source) String() string {
	switch s.kind {
	case "file":
		return fmt.Sprintf("%s:%d", s.name, s.line)
	case "environment", "flag":
		return s.kind + " " + s.name
	}
	return "default"
}

// AddFlags adds a flag for each setting that isn't a secret. Give the parsed
// set to [Load].
func AddFlags(fs *pflag.FlagSet) {
	for _, f := range fields {
		switch {
		case f.noFlag:
		case f.isBool:
			fs.Bool(f.flagName(), f.defaultText == "true", f.usage)
		default:
			fs.String(f.flagName(), f.defaultText, f.usage)
		}
	}
}

// loader carries one call of Load.
type loader struct {
	settings *Settings
	merged   *koanf.Koanf
	problems []Problem
	// settings whose value couldn't be read: nothing more is said about them
	invalid map[string]bool
}

func (l *loader) addProblem(key, format string, args ...any) {
	src := ""
	if s := l.settings.sources[key]; s.kind != "" {
		src = s.String()
	}
	l.addProblemAt(key, src, format, args...)
}

func (l *loader) addProblemAt(key, src, format string, args ...any) {
	l.problems = append(l.problems, Problem{Setting: key, Source: src,
		Detail: fmt.Sprintf(format, args...)})
	l.invalid[key] = true
}

func (l *loader) addWarning(format string, args ...any) {
	l.settings.warnings = append(l.settings.warnings, fmt.Sprintf(format, args...))
}

// Load reads the settings: the defaults, over them the YAML file at path, over
// it environ ("KEY=value", as from os.Environ), over it the flags that were
// given. An empty path and nil flags are left out. The error is an [*Error]
// with all problems at once.
func Load(flags *pflag.FlagSet, environ []string, path string) (*Settings, error) {
	l := &loader{settings: &Settings{sources: map[string]source{}}, merged: koanf.New("."),
		invalid: map[string]bool{}}
	for _, f := range fields {
		if f.defaultText != "" {
			_ = l.merged.Set(f.key, f.defaultText) // can't fail: keys have no delimiter
		}
	}
	l.loadFile(path)
	l.loadEnvironment(environ)
	l.loadFlags(flags)
	l.parseFields()
	l.readSecretFiles()
	l.checkCombinations()
	if len(l.problems) > 0 {
		return nil, &Error{l.problems}
	}
	return l.settings, nil
}

// mergeLayer puts one layer over those before it.
func (l *loader) mergeLayer(layer *koanf.Koanf, from func(f *field) source) {
	for _, f := range fields {
		if layer.Exists(f.key) {
			l.settings.sources[f.key] = from(f)
		}
	}
	_ = l.merged.Merge(layer) // can't fail: koanf only refuses in its strict mode
}

func (l *loader) loadFile(path string) {
	if path == "" {
		return
	}
	addFileProblem := func(format string, args ...any) {
		l.addProblemAt("settings file", path, format, args...)
	}
	info, err := os.Stat(path)
	if err != nil {
		addFileProblem("can't be read: %v", fileErrorReason(err))
		return
	}
	if info.IsDir() || info.Size() > maxSettingsFileBytes {
		addFileProblem("is no file of up to %d KiB: give --config the path of a YAML file",
			maxSettingsFileBytes>>10)
		return
	}
	doc := &yamlParser{path: path, loader: l, lines: map[string]int{}}
	layer := koanf.New(".")
	if err := layer.Load(kfile.Provider(path), doc); err != nil {
		addFileProblem("can't be read: %v", fileErrorReason(err))
		return
	}
	l.mergeLayer(layer, func(f *field) source { return source{"file", path, doc.lines[f.key]} })
	if info.Mode().Perm()&0o044 != 0 &&
		slices.ContainsFunc(fields, func(f *field) bool {
			return f.redact &&
				layer.Exists(f.key)
		}) {
		l.addWarning("%s holds secrets and others can read it: chmod 600 %s", path, path)
	}
}

func (l *loader) loadEnvironment(environ []string) {
	byEnv := map[string]*field{}
	for _, f := range fields {
		byEnv[f.env] = f
	}
	layer := koanf.New(".")
	var unknown []string
	provider := env.Provider(".", env.Opt{
		// Never nil: koanf would read the process' own environment instead.
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, v string) (string, any) {
			f := byEnv[name]
			switch {
			case f == nil && strings.HasPrefix(name, envPrefix) && !slices.Contains(cliOnlyEnv,
				name) && !isServiceLinkVariable(name, v):
				unknown = append(unknown, name)
				return "", nil
			case f == nil || strings.TrimSpace(v) == "":
				return "", nil
			}
			return f.key, strings.TrimSpace(v)
		},
	})
	_ = layer.Load(provider, nil) // can't fail: it is all in memory
	slices.Sort(unknown)
	for _, name := range slices.Compact(unknown) {
		known := make([]string, 0, len(fields)+len(cliOnlyEnv))
		for _, f := range fields {
			known = append(known, f.env)
		}
		l.addProblemAt(name, "environment", "is no setting%s",
			suggestNearestName(name, append(known, cliOnlyEnv...)))
	}
	l.mergeLayer(layer, func(f *field) source { return source{"environment", f.env, 0} })
}

func (l *loader) loadFlags(flags *pflag.FlagSet) {
	if flags == nil {
		return
	}
	byFlag := map[string]*field{}
	for _, f := range fields {
		byFlag[f.flagName()] = f
	}
	layer := koanf.New(".")
	_ = layer.Load(posflag.ProviderWithFlag(flags, ".", nil, func(given *pflag.Flag) (string, any) {
		f := byFlag[given.Name]
		if f == nil || f.noFlag {
			return "", nil
		}
		return f.key, strings.TrimSpace(given.Value.String())
	}), nil) // can't fail: it is all in memory
	l.mergeLayer(layer, func(f *field) source { return source{"flag", "--" + f.flagName(), 0} })
}

// parseFields turns the merged texts into typed values.
func (l *loader) parseFields() {
	for _, f := range fields {
		if !l.merged.Exists(f.key) {
			continue
		}
		var texts []string
		switch v := l.merged.Get(f.key).(type) {
		case []string:
			texts = v
		case string:
			texts = []string{v}
			if f.split != nil {
				texts = f.split(v)
			}
		}
		if len(texts) == 0 && f.split == nil || len(texts) == 1 && texts[0] == "" {
			if l.settings.sources[f.key].kind == "file" {
				l.addProblem(f.key, "has no value: give one, or take the line out")
			} else {
				l.addProblem(f.key, "has no value: give one, or leave it out")
			}
			continue
		}
		if err := f.parseInto(l.settings, texts); err != nil {
			l.addProblem(f.key, "%v", err)
		}
	}
}

// readSecretFiles fills the secrets that were given as files.
func (l *loader) readSecretFiles() {
	for _, s := range []struct {
		key  string
		path string
		into *Secret
		form func(string) error
	}{
		{"stripe_api_key", l.settings.StripeAPIKeyFile, &l.settings.StripeAPIKey, checkStripeKey},
		{"callback_secret", l.settings.CallbackSecretFile, &l.settings.CallbackSecret,
			checkCallbackSecret},
	} {
		fileKey := s.key + "_file"
		if s.path == "" || l.invalid[fileKey] {
			continue
		}
		if direct, ok := l.settings.sources[s.key]; ok {
			l.addProblem(fileKey, "is given and so is %s (%s): give one of the two", s.key, direct)
			continue
		}
		text, err := l.readSecretFile(fileKey, s.path)
		if err == nil {
			err = s.form(text)
		}
		if err != nil {
			l.addProblem(fileKey, "names %s, which %v", s.path, err)
			l.invalid[s.key] = true
			continue
		}
		*s.into = NewSecret(text)
		l.settings.sources[s.key] = source{"file", s.path, 1}
	}
}

func (l *loader) readSecretFile(key, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("can't be read: %v", fileErrorReason(err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecretFileBytes {
		return "", fmt.Errorf("is no file of up to %d KiB", maxSecretFileBytes>>10)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("can't be read: %v", fileErrorReason(err))
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("is empty")
	}
	if strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("has several lines: give the secret alone")
	}
	l.warnIfWorldReadable(key, path, info)
	return text, nil
}

func (l *loader) warnIfWorldReadable(key, path string, info os.FileInfo) {
	if info.Mode().Perm()&0o004 != 0 {
		l.addWarning("%s names %s, which everyone on this machine can read: chmod 600 %s", key,
			path, path)
	}
}
