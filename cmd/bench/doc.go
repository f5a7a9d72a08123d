// Command bench measures holdd beside its alternatives: a delayed task in a job
// engine that calls Stripe, and, as a limit, the least that the same work takes.
// It is a module of its own, so that the engines are no dependency of holdd.
//
// parts.go lists the parts, each with the longest time that it may take. The
// flag -parts chooses some of them.
//
// # Conditions
//
// All engines run on one machine. Each run has its own redis-server
// (append-only file, flushed every second). One stub of Stripe answers a
// capture with a whole PaymentIntent, at once or after 50 ms. Each engine has
// 64 captures in flight on as many kept-alive connections. Workers and the stub
// are separate processes, so that each CPU time belongs to one program. Every
// engine gets the same hold: intent, amount, currency, deadline. holdd is the
// shipped binary with a budget that limits nothing. asynq checks its delayed
// tasks every second, as holdd's cron does (asynq's default is five seconds).
//
// # What is measured
//
// In a drain, all holds fall due at one moment and the worker waits for it. The
// rate is the number of holds over the time from the first capture to the last.
// CPU times run from just before that moment until a quarter of a second after
// the last capture. Redis reports its CPU time, its commands (with those that
// scripts run) and its reads from sockets, which are close to round trips.
// Lateness is the arrival of a capture at the stub minus the hold's time, both
// by this machine's clock. Memory is the growth of used_memory.
//
// Engines take turns, each round starts with another one, and the table shows
// medians, so that other load on the machine falls on all engines. Compare
// ratios within one run, not figures of different runs.
//
// # Limits
//
// No figure has a target. Each stands beside the same figure of asynq and
// BullMQ, and beside "bare", a physical limit that is measured in the same run:
//
//   - Captures: stripe-go in a loop, without a queue and without a record.
//   - Redis for a capture: one script that claims 64 holds and one that settles
//     them, without versions, leases and events.
//   - Memory of a pending hold: two sorted-set entries and one hash field of 80
//     bytes.
//   - Scheduling with the client library: these three writes in pipelines.
//   - Scheduling over HTTP: net/http that reads the same bodies and sends them
//     back.
//   - Reconcile: stripe-go that lists the same intents and does nothing else.
//
// A ratio above 1 is good for rates and bad for costs.
//
// # Renewals
//
// Ten thousand authorizations reach the start of their renewal within two
// minutes, which stand for an hour, and 3,000 captures fall due meanwhile. The
// simulator of Stripe answers at once. Its ledger says for how long both
// authorizations of a hold held money, and when each capture came. The times of
// authorizations have whole seconds, so the renewals of a second begin together.
//
// # Under a limit
//
// More holds fall due at one instant than a limiter of captures allows within a
// minute and a half, and it answers 429 beyond that. There are two workers, and
// eight limiters: token buckets of several bursts, a fixed and a sliding window,
// a limit of concurrent captures, another client that uses half of the limit,
// and a limit that halves for a third of the time. holdd has the limit as
// its rate. Where less is left than that, the first third of the time is for
// learning and does not count. Beside it are asynq with its own retries, and
// stripe-go in a loop of 16 goroutines with exponential back-off. asynq is
// measured after the other two, because its rejected requests would take their
// CPU time. A capture has passed over others if a hold still waited whose
// deadline was nearer by more holds than the workers can have claimed.
//
// # Many accounts
//
// The same holds fall due at one instant, over more and more connected
// accounts. Then one account has far more due holds than its limit allows, and
// its deadlines are the nearest. The time until the other accounts are done is
// compared with the time that they take without it.
//
// # Settled holds
//
// Part retention fills a Redis with pending holds and ten times as many settled
// ones, half of them with a reference, and measures the memory of each and the
// operations there.
//
// # Results
//
// With -results, a run of every part writes the tables, the chart, and the
// figures in the Markdown files that the command line names. It writes none of
// them if a figure of the chart is missing.
//
// # Scale
//
// bench-scale fills several Redis servers with more and more holds, and then
// runs each operation of the store on one after the other. It also spreads
// holds over the masters of a Cluster. The client shares the cores with the
// servers there, so the limit of the servers shows in the CPU time of the
// busiest one.
//
// # Reads
//
// Part verify schedules holds without amount and deadline while Stripe is
// unavailable. Part webhook-storm increments holds several times and delivers
// all events at once. Both measure the time until no hold waits to be read, at
// the default of 25 reads a second, beside the least that single reads of the
// same intents take at that rate.
//
// Part reconcile compares 100,000 intents (-million: a million) with an empty
// schedule, which schedules all of them, and then with the complete one. The budget limits
// nothing there. The last column is what the same requests take if a run may
// send half of 25 a second, as with Stripe.
//
// # Safeguards
//
//   - A hold that is captured twice or not at all ends the run with an error.
//   - If seeding takes longer than planned, so that holds fall due before all
//     are seeded, the run starts again with more time.
//   - Rewrites of the append-only file are off, because they would disturb some
//     runs and not others.
package main
