// Command holdd is the daemon and its command line.
//
// # The model
//
// `main` is signals and exit codes; [Run] does the work with everything handed
// in, so that a test can run a whole command. `holdd serve` reads the settings
// and hands them to package daemon. `holdd doctor` reads the same settings and
// looks at the Redis and the Stripe that they name, because it is needed most
// when no daemon comes up: the looking is in store and gateway, what it means
// is judged here, by functions of what was seen. Every other command is a
// client of a running holdd's HTTP API and knows neither Redis nor Stripe: what
// a person may do by hand is what a program may do, and is written down in the
// same history.
//
// # What can go wrong
//
//   - A person confirms one thing and another happens, because the hold changed
//     between the question and the answer. So the question shows the hold as it
//     is, and its revision goes along as If-Match: a changed hold is refused,
//     never captured with other terms.
//   - A script hangs on a question nobody sees. Without a terminal a command
//     that moves money refuses, and names --yes.
//   - A script repeats a command whose answer was lost. Exit code 4 means that
//     nothing was done, 6 that nobody knows: they are never mixed. Exit codes
//     are an interface; they are listed in exit.go and by `holdd help
//     exit-codes`.
//   - An accepted capture is taken for a capture. `holdd capture` and `holdd
//     cancel` wait for the outcome, and say so when it isn't there yet.
//   - What a booking is called reaches a terminal. References, notes and
//     metadata come from outside: what can't be printed is replaced before it
//     is.
//   - A comparison with Stripe outlives the command. `holdd reconcile` only
//     begins or joins it and looks on: interrupting the command stops nothing,
//     a daemon that restarts goes on, and exit code 6 says that the end wasn't
//     seen.
//   - A doctor does harm. It writes nothing to Redis, asks Stripe four requests
//     at the most, learns whether the key may capture from the capture of an
//     intent that there isn't, waits for nobody longer than half a minute, and
//     repeats no secret, however wrong the setting that holds it.
//   - Live and test mode look alike. Live mode is told with every table and
//     every question.
package main
