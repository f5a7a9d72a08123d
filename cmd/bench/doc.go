// Command bench measures holdd beside what one would use instead: a delayed task in a job engine that calls Stripe, and, as what there
// is to reach, stripe-go in a loop with no queue at all. It is a module of its own, so that the engines are no dependency of the product.
//
// # What is the same for all
//
// One machine, a redis-server of its own for each run (append-only file, flushed every second), one stub of Stripe that answers a capture
// at once (or after 50 ms) with a whole PaymentIntent, 64 captures at a time, as many kept-alive connections. Workers are processes of
// their own, and so is the stub: a CPU time is one program's alone. Each engine gets the same hold: intent, amount, currency, deadline.
// holdd is the binary that is shipped, with a budget that limits nothing; asynq looks at its delayed tasks every second, as holdd's
// cron does (its default is every five).
//
// # What is measured
//
// A drain: everything was scheduled for one moment, the worker waits for it; holds over the time from the first capture to the last. CPU
// times are the processes' own, from just before that moment until a quarter of a second after the last capture; Redis tells its CPU time,
// its commands (those that scripts run are counted by it as well) and how often it read something from a socket, which is as near to
// round trips as a server can tell. Lateness is the arrival of a capture at the stub after its hold's time, both by this machine's clock.
// Memory is the growth of used_memory, with whatever an engine keeps for a pending hold.
//
// Engines take turns, each round begins with another one, and the table shows medians: other load on the machine then falls on all. Figures of
// different runs can't be compared, ratios within one can.
//
// # Under a limit
//
// Many holds fall due at one instant, at a simulator that allows so many captures a second and answers 429 beyond; four workers. Deadlines are such
// that taking the nearest first saves every hold with three seconds to spare, and the order of scheduling says nothing about them. The limit is
// twenty times Stripe's, so that it takes seconds, and asynq's own retries come twenty times sooner. "Passed over by" is the most by
// which a hold was captured before another whose deadline was nearer; deadlines are whole seconds, as Stripe's are.
//
// # Scale
//
// bench-scale fills several Redis servers with more and more holds and then does each operation of the store on one after the other, so that the
// sizes share whatever else the machine does. It also spreads holds over the masters of a Cluster: there the client has the same cores as the
// servers, so what the servers could do shows in the CPU time of the busiest of them.
//
// # What would make the figures wrong
//
//   - A hold that is captured twice or not at all ends the run with an error: a fast engine that loses work is not fast.
//   - Seeding that takes longer than planned would let holds fall due before all is in place: it is begun anew with more time.
//   - Rewrites of the append-only file are switched off, since one would fall into whichever run it pleases.
package main
