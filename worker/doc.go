// Package worker is the loop.
package worker
