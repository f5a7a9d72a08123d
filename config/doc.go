// Package config reads holdd's settings into one struct, [Settings]: a YAML
// file, the environment and flags. Each overrides the one before.
//
// One table, in fields.go, has every setting: its key in the file, environment
// variable, flag, default, limits and usage. The help of holdd serve, holdd
// config show and the hints of messages all use it. The loader keeps the text
// and the source of each setting, so that a message can name the line of the
// file, the variable or the flag.
//
// Every value is read as it is written, whatever type YAML gives it: 010, 1e3
// and no mean what they look like, or are invalid. The loader therefore reads
// YAML nodes itself: configuration libraries and decoders into tagged fields
// lose the text and the line of a value, and would save no code.
//
// # Invariants
//
//   - Unknown keys, keys given twice, a second YAML document and unknown
//     HOLDD_… variables are errors, with the nearest known name. The variables
//     that Kubernetes and Docker set for a service called "holdd"
//     (HOLDD_PORT=tcp://…, HOLDD_SERVICE_HOST) are ignored.
//   - One [*InvalidSettingsError] has all problems. Each names the setting, its
//     source and the solution. An invalid value that a later layer overrides is
//     no problem.
//   - An empty environment variable is not set, because ${X:-} in a Compose
//     file leaves one behind.
//   - [Secret] keeps secrets from fmt, encoders and loggers. Secrets have no
//     flags, because other users of a machine see flags, and no message repeats
//     their text. The addresses of Redis and of notifications are secrets as
//     well, because they may have passwords.
//   - A secret's file that other users can read is a warning and no error,
//     because the platform chooses the mode of mounted secrets.
//   - A schedule that never fires is an error.
//
// No other package of holdd reads the environment. [Load] reads the files that
// the settings name and has no other effect.
package config
