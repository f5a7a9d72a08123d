// Command bench measures holdd beside what one would use instead: a delayed
// task in a job engine that calls Stripe, and, as what there is to reach,
// stripe-go in a loop with no queue at all. It is a module of its own, so that
// the engines are no dependency of the product.
//
// # What is the same for all
//
// One machine, a redis-server of its own for each run (append-only file,
// flushed every second), one stub of Stripe that answers a capture at once (or
// after 50 ms) with a whole PaymentIntent, 64 captures at a time, as many
// kept-alive connections. Workers are processes of their own, and so is the
// stub: a CPU time is one program's alone. Each engine gets the same hold:
// intent, amount, currency, deadline. holdd is the binary that is shipped, with
// a budget that limits nothing; asynq looks at its delayed tasks every second,
// as holdd's cron does (its default is every five).
//
// # What is measured
//
// A drain: everything was scheduled for one moment, the worker waits for it;
// holds over the time from the first capture to the last. CPU times are the
// processes' own, from just before that moment until a quarter of a second
// after the last capture; Redis tells its CPU time, its commands (those that
// scripts run are counted by it as well) and how often it read something from a
// socket, which is as near to round trips as a server can tell. Lateness is the
// arrival of a capture at the stub after its hold's time, both by this
// machine's clock. Memory is the growth of used_memory, with whatever an engine
// keeps for a pending hold.
//
// Engines take turns, each round begins with another one, and the table shows
// medians: other load on the machine then falls on all. Figures of different
// runs can't be compared, ratios within one can.
//
// # Under a limit
//
// Many holds fall due at one instant, at a simulator that allows so many
// captures a second and answers 429 beyond; four workers. Deadlines are such
// that taking the nearest first saves every hold with three seconds to spare,
// and the order of scheduling says nothing about them. The limit is twenty
// times Stripe's, so that it takes seconds, and asynq's own retries come twenty
// times sooner. "Passed over by" is the most by which a hold was captured
// before another whose deadline was nearer; deadlines are whole seconds, as
// Stripe's are.
//
// # Scale
//
// bench-scale fills several Redis servers with more and more holds and then
// does each operation of the store on one after the other, so that the sizes
// share whatever else the machine does. It also spreads holds over the masters
// of a Cluster: there the client has the same cores as the servers, so what the
// servers could do shows in the CPU time of the busiest of them.
//
// # What is not met, and why
//
// results/results.md is the last whole run. Four bars were not met in it:
//
//   - Drain, 3 times asynq's: 2.5 to 2.9 in three runs, while stripe-go alone,
//     with no queue, does 2.5 to 2.8 times asynq's. Of the 104 µs that a worker
//     spends on a capture some 70 % are the HTTP request (`make profile`:
//     writing it is a fifth of all samples, reading the answer a tenth,
//     stripe-go, net/http and the gateway around it the rest; collecting
//     garbage is 2 %); the schedule, the outcome, its event and its log line
//     are what remains.
//   - Redis CPU, a quarter of asynq's: a third. The store's page "Beyond one
//     machine" tells where it goes.
//   - Memory, half of asynq's: 417 against 630 bytes at a million, and more
//     than asynq's at 100,000, where the bounded stream of events (50,000 of
//     some 600 bytes, which asynq doesn't keep) is 313 of
//     689. Two sorted sets of Redis' own make are 240 bytes by themselves,
//     whatever the record.
//   - Scheduling, twice asynq's: 1.3 to 1.5. Redis is the bound: a hold is
//     read, written, entered in two or three sets and told of in the stream, by
//     one script that insists on its version.
//
// # What would make the figures wrong
//
//   - A hold that is captured twice or not at all ends the run with an error: a
//     fast engine that loses work is not fast.
//   - Seeding that takes longer than planned would let holds fall due before
//     all is in place: it is begun anew with more time.
//   - Rewrites of the append-only file are switched off, since one would fall
//     into whichever run it pleases.
package main
