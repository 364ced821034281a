package main

import (
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"lukechampine.com/blake3"
)

// PartFile is a download that has no name yet: private, and gone with Discard.
type PartFile struct {
	*os.File
	target string
}

// newPartFile begins a download beside its target.
func newPartFile(target string, overwrite bool) (*PartFile, error) {
	if info, err := os.Lstat(target); err == nil && (!overwrite || !info.Mode().IsRegular()) {
		return nil, failf(exitRefused, "TARGET_EXISTS", "%s exists: choose another name, or replace a file with --overwrite", target)
	}
	file, err := os.CreateTemp(filepath.Dir(target), temporary+"*.part")
	if err != nil {
		return nil, failf(exitRefused, "TARGET_UNWRITABLE", "%v", err)
	}
	return &PartFile{file, target}, nil
}

// Reset drops what is there.
func (p *PartFile) Reset() error { return p.Truncate(0) }

// Has reads the file back: is it the content?
func (p *PartFile) Has(digest string, size int64) (bool, error) {
	hash := blake3.New(digestBytes, nil)
	n, err := io.CopyBuffer(hash, struct{ io.Reader }{io.NewSectionReader(p.File, 0, size)}, make([]byte, 1<<20))
	if err != nil {
		return false, localFailure(err)
	}
	return n == size && hex.EncodeToString(hash.Sum(nil)) == digest, nil
}

// Commit gives the file its name once it is on disk. It never takes the place of another file
// unless told to.
func (p *PartFile) Commit(overwrite bool) error {
	if err := errors.Join(p.Chmod(0o644), p.Sync()); err != nil {
		return localFailure(err)
	}
	if overwrite {
		if err := os.Rename(p.Name(), p.target); err != nil {
			return failf(exitRefused, "TARGET_UNWRITABLE", "%v", err)
		}
	} else if err := os.Link(p.Name(), p.target); errors.Is(err, fs.ErrExist) {
		return failf(exitRefused, "TARGET_EXISTS", "%s came to exist meanwhile", p.target)
	} else if err != nil {
		return failf(exitRefused, "TARGET_UNWRITABLE", "%v", err)
	}
	if folder, err := os.Open(filepath.Dir(p.target)); err == nil {
		_ = folder.Sync() // not all systems can
		folder.Close()
	}
	return nil
}

// Discard closes the file and removes its temporary name.
func (p *PartFile) Discard() {
	p.Close()
	os.Remove(p.Name())
}

// localFailure is an error of our own disk as the end of the program.
func localFailure(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return failf(exitTransfer, "DISK_FULL", "%v", err)
	}
	return failf(exitRefused, "TARGET_UNWRITABLE", "%v", err)
}
