// Command bare captures with stripe-go in a loop of goroutines, without a queue
// and without a record: the upper bound. It reads the number of holds from
// standard input. With BENCH_LIST set, it lists all intents instead, one page
// after the other, and prints how many there are.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/holdd/holdd/cmd/bench/capture"
)

func main() {
	concurrency, err := strconv.Atoi(os.Getenv("BENCH_CONCURRENCY"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "bare: BENCH_CONCURRENCY:", err)
		os.Exit(2)
	}
	if os.Getenv("BENCH_LIST") != "" {
		listAll()
		return
	}
	do := capture.New(os.Getenv("BENCH_STRIPE"), concurrency)
	fmt.Println("ready")
	var n int
	if _, err := fmt.Scan(&n); err != nil {
		return // standard input ended without a number
	}
	numbers := make(chan int, concurrency)
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for i := range numbers {
				if err := do(context.Background(),
					fmt.Sprintf("pi_3PxYzA2eZvKYlo2C%08d", i)); err != nil {
					fmt.Fprintln(os.Stderr, "bare:", err)
					os.Exit(1)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	fmt.Println("done")
	fmt.Scanln() //nolint:errcheck // waits, so that bench can read its CPU time
	select {}
}

// listAll lists every intent.
func listAll() {
	list := capture.NewLister(os.Getenv("BENCH_STRIPE"))
	fmt.Println("ready")
	listed, after := 0, ""
	for {
		ids, more, err := list(context.Background(), after)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bare:", err)
			os.Exit(1)
		}
		if listed += len(ids); !more {
			break
		}
		after = ids[len(ids)-1]
	}
	fmt.Println(listed)
}
