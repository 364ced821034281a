package main

import (
	"io/fs"
	"os"
	"syscall"
)

// stampOf is the state of a file by which a change is noticed.
func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	if raw, ok := info.Sys().(*syscall.Stat_t); ok {
		s.changed, s.inode = raw.Ctim.Nano(), raw.Ino
	}
	return s
}

// lockFile takes a lock that ends with the process.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
