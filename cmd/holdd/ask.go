package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxAnswerBytes bounds a typed line.
const maxAnswerBytes = 4096

// askLine asks for a line. An empty one means the default.
func (c *terminal) askLine(ctx context.Context, question, byDefault string) (string, error) {
	fmt.Fprintf(c.stderr, "%s [%s]: ", colorize(c.colorStderr, bold, question), byDefault)
	line, err := c.readTyped(ctx, func() (string, error) {
		return bufio.NewReader(io.LimitReader(c.stdin, maxAnswerBytes)).ReadString('\n')
	})
	return cmp.Or(strings.TrimSpace(line), byDefault), err
}

// askSecret asks for a secret, which the terminal does not show.
func (c *terminal) askSecret(ctx context.Context, question string) (string, error) {
	f, ok := c.stdin.(*os.File)
	if !ok {
		return "", errors.New("a secret is read from a terminal only")
	}
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(c.stderr, "%s: ", colorize(c.colorStderr, bold, question))
	secret, err := c.readTyped(ctx, func() (string, error) {
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(c.stderr)
		return string(b), err
	})
	if err != nil {
		_ = term.Restore(fd, before) // an interrupted read leaves the echo off
		return "", err
	}
	secret = strings.TrimSpace(secret)
	if secret == "" {
		return "", usageErrorf("", "nothing was typed")
	}
	return secret, nil
}

// readTyped calls read until ctx ends.
func (c *terminal) readTyped(ctx context.Context, read func() (string, error)) (string, error) {
	type typed struct {
		text string
		err  error
	}
	answer := make(chan typed, 1)
	go func() { // ends with the process: a read from a terminal cannot be canceled
		text, err := read()
		answer <- typed{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.stderr)
		return "", &exitError{code: exitInterrupted, err: errors.New("interrupted")}
	case a := <-answer:
		if errors.Is(a.err, io.EOF) {
			return "", usageErrorf("", "no answer: the input has ended")
		}
		return a.text, a.err
	}
}
