// Package config reads holdd's settings: a YAML file, then the environment,
// then flags, each overriding the one before, into one struct, [Settings].
//
// # The model
//
// One table, in fields.go, holds everything that is known of a setting: its key
// in the file, its environment variable, its flag, its default, how its text is
// read, how it is shown. The key list in messages, `holdd serve --help` and
// `holdd config show` all come from it, so a setting can't exist in one place
// and be forgotten in another. koanf lays the three layers over each other;
// this package keeps which layer each value came from, because "lease is too
// short" is no help to somebody who set it in two places.
//
// Every value is read as the text that was written. YAML's own idea of a value
// is left out on purpose: `010`, `1e3` and `no` mean what they look like, or
// are refused.
//
// # What can go wrong
//
//   - A misspelt key is the worst setting: it looks set and isn't. So unknown
//     keys, keys given twice, a second YAML document, and unknown HOLDD_…
//     variables are errors, with the nearest known name. Variables that
//     Kubernetes and Docker invent for a service called "holdd"
//     (HOLDD_PORT=tcp://…, HOLDD_SERVICE_HOST) are let through: nobody chose
//     them.
//   - Whoever fixes one mistake wants to hear of the others: all problems come
//     at once, in one [*Error], each a sentence that names the setting, where
//     it was set, and what to do.
//   - An empty environment variable counts as not set: that is what `${X:-}` in
//     a compose file leaves behind.
//   - Secrets have a type, [Secret], that no fmt verb, encoder or logger can
//     print; there is no flag for one, since other users of a machine see
//     flags; and no message repeats a secret's text, however wrong it is. Redis
//     and notification addresses are secrets as well, because they carry
//     passwords.
//   - A secret file that others can read is warned about and used. Refusing it
//     would break mounted secrets in containers, where the mode is the
//     platform's choice and nobody else is there to read.
//   - cron's parser panics on a time zone without a schedule, and takes dates
//     that never come. Both are refused here.
//
// Nothing else in holdd reads the environment. Load has no effects beyond
// reading the files that the settings name.
package config
