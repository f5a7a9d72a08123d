// Command bench measures holdd beside its alternatives: a delayed task in a job
// engine that calls Stripe, and, as an upper bound, stripe-go in a loop without
// a queue. It is a module of its own, so that the engines are no dependency of
// holdd.
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
// # Under a limit
//
// Many holds fall due at one instant, at a simulator that allows a number of
// captures a second and answers 429 beyond it. There are four workers. If the
// nearest deadline is always captured first, every hold is captured three
// seconds before its deadline. The order of scheduling does not depend on the
// deadlines. The limit is 20 times Stripe's, so that the run takes seconds, and
// asynq's own retries are 20 times faster. "Passed over by" is the most by
// which a hold was captured before another whose deadline was nearer. Deadlines
// are whole seconds, as Stripe's are.
//
// # Many accounts
//
// The same holds fall due at one instant, over more and more connected
// accounts. Then one account has far more due holds than its limit allows, and
// its deadlines are the nearest. The time until the other accounts are done is
// compared with the time that they take without it.
//
// # Scale
//
// bench-scale fills several Redis servers with more and more holds, and then
// runs each operation of the store on one after the other. It also spreads
// holds over the masters of a Cluster. The client shares the cores with the
// servers there, so the limit of the servers shows in the CPU time of the
// busiest one.
//
// # Bars that are not met
//
// results/results.md has the last complete run. It does not meet four bars.
//
//   - Drain, 3 times asynq's: 2.5 to 2.9 in three runs. stripe-go alone,
//     without a queue, drains 2.5 to 2.8 times as fast as asynq. Of the 104 µs
//     that a worker spends on a capture, some 70 % are the HTTP request (`make
//     profile`).
//   - Redis CPU, a quarter of asynq's: a third. deploy/docs/redis.md has the
//     cost of each part.
//   - Memory, half of asynq's: 417 against 630 bytes at a million. At 100,000
//     holdd takes more than asynq, because the bounded stream of events (50,000
//     of some 600 bytes) is 313 of 689 bytes. Two of Redis' sorted sets alone
//     take 240 bytes.
//   - Scheduling, twice asynq's: 1.3 to 1.5. Redis is the bottleneck: one
//     script reads a hold, checks its version, writes it, enters it in two or
//     three sets, and adds an event.
//
// # Safeguards
//
//   - A hold that is captured twice or not at all ends the run with an error.
//   - If seeding takes longer than planned, so that holds fall due before all
//     are seeded, the run starts again with more time.
//   - Rewrites of the append-only file are off, because they would disturb some
//     runs and not others.
package main
