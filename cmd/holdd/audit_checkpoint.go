package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/holdd/holdd/worker/auditread"
)

const (
	checkpointFormat = 1
	// checkpointInterval is the least time between two writes of the file, and
	// checkpointShare how much longer than a write that time is: a large file is
	// written less often.
	checkpointInterval = 5 * time.Second
	checkpointShare    = 20
	// maxCheckpointBytes is more than a million payments need.
	maxCheckpointBytes = 1 << 30
)

// auditCheckpoint is an audit as its file keeps it. It contains no secret, but
// ids and amounts of payments.
type auditCheckpoint struct {
	Format   int                    `json:"format"`
	Since    time.Time              `json:"since"`
	Account  string                 `json:"key_account,omitempty"` // if the key may read it
	Livemode bool                   `json:"livemode"`
	Progress auditread.ReadProgress `json:"progress"`

	path     string
	nextSave time.Time
}

// createOrResume begins an audit, or with resume replaces it by the one in the
// file. It never begins a new one over an unfinished one.
func (c *auditCheckpoint) createOrResume(resume bool) error {
	c.Format, c.nextSave = checkpointFormat, time.Now().Add(checkpointInterval)
	info, err := os.Stat(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !resume:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return usageErrorf("leave --resume out to begin one", "no unfinished audit in %s", c.path)
	case err != nil:
		return usageErrorf("", "cannot read the checkpoint file: %w", err)
	case !resume:
		return usageErrorf("continue it with --resume, or delete the file",
			"%s has an unfinished audit", c.path)
	case !info.Mode().IsRegular() || info.Size() > maxCheckpointBytes:
		return usageErrorf("", "%s is no checkpoint of an audit", c.path)
	}
	return c.loadAndCheckKey()
}

// loadAndCheckKey reads the progress of an earlier run. It refuses that of
// another account or mode than the key's.
func (c *auditCheckpoint) loadAndCheckKey() error {
	b, err := os.ReadFile(c.path)
	if err != nil {
		return usageErrorf("", "cannot read the checkpoint file: %w", err)
	}
	saved := auditCheckpoint{path: c.path, nextSave: c.nextSave}
	if err := json.Unmarshal(b, &saved); err != nil || saved.Format != checkpointFormat {
		return usageErrorf("delete the file to begin anew", "%s is no checkpoint of this version of "+
			"holdd", c.path)
	}
	if saved.Livemode != c.Livemode ||
		saved.Account != "" && c.Account != "" && saved.Account != c.Account {
		return usageErrorf("use the key with which it began, or delete the file",
			"the audit in %s is of another account or mode than the Stripe key", c.path)
	}
	*c = saved
	return nil
}

// trySaveIfDue writes the file if the last write was long enough ago. It
// ignores an error, which the last save reports.
func (c *auditCheckpoint) trySaveIfDue(now time.Time) {
	if now.Before(c.nextSave) {
		return
	}
	_ = c.save()
	took := time.Since(now)
	c.nextSave = now.Add(max(checkpointInterval, checkpointShare*took))
}

// save writes the file, unless nothing was read yet.
func (c *auditCheckpoint) save() error {
	if c.Progress.IntentsRead+c.Progress.ChargesRead == 0 {
		return nil
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return writeFileAtomically(c.path, b, 0o600)
}

// remove deletes the file of a finished audit.
func (c *auditCheckpoint) remove() error {
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot delete the checkpoint file: %w", err)
	}
	return nil
}

// checkFileWritable reports whether writeFileAtomically can write path. It leaves no file, and an
// existing one as it is.
func checkFileWritable(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	f, err := createTemporaryFile(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// createTemporaryFile creates a file in the directory of path. Its error names path.
func createTemporaryFile(path string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s: %w", path, e.Err)
	}
	return f, err
}

// writeFileAtomically replaces a file, so that a crash leaves the old one or the
// new one.
func writeFileAtomically(path string, b []byte, mode fs.FileMode) (err error) {
	f, err := createTemporaryFile(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
