package main

import (
	"context"
	"errors"
	"io/fs"
	"mime"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "p2pshare.example/go/p2pv1"
)

// temporary begins the name of an unfinished download; such files are not shared.
const temporary = ".p2p-go-"

var errChanged = errors.New("the file changed")

// stamp is the state of a file on disk: a file with another one has to be hashed again.
type stamp struct {
	size, modified, changed int64
	inode                   uint64
}

// sharedFile is a resource and the file that it is served from. Not changed once in the library.
type sharedFile struct {
	resource *pb.Resource
	disk     string
	stamp    stamp
	manifest *Manifest
	counter  int64 // of the revision that brought it
}

// open opens the file for reading, or says that it is not the one that was hashed.
func (f *sharedFile) open() (*os.File, error) {
	file, err := os.Open(f.disk)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errChanged
	} else if err != nil {
		return nil, err
	}
	if err := f.unchanged(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (f *sharedFile) unchanged(file *os.File) error {
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || stampOf(info) != f.stamp) {
		return errChanged
	}
	return err
}

// Library is what this peer shares. Every change has a counter of its own, so that any number of
// them can be announced as one batch.
type Library struct {
	roots   map[string]string // name in the listing → place on disk
	changed chan struct{}     // holds something after a change

	mu       sync.Mutex
	epoch    string
	counter  int64
	files    map[string]*sharedFile // by listed path
	contents map[string][]*sharedFile
	gone     map[string]int64 // withdrawn path → counter
	skipped  map[string]bool  // what was said to be skipped
	rescan   chan struct{}
}

func newLibrary(paths []string) (*Library, error) {
	l := &Library{
		roots: map[string]string{}, changed: make(chan struct{}, 1), rescan: make(chan struct{}, 1),
		epoch: randomID(), counter: 1,
		files: map[string]*sharedFile{}, contents: map[string][]*sharedFile{}, gone: map[string]int64{}, skipped: map[string]bool{},
	}
	for _, p := range paths {
		absolute, err := filepath.Abs(p)
		if err == nil {
			absolute, err = filepath.EvalSymlinks(absolute) // only what was named may be a link
		}
		if err != nil {
			return nil, failf(exitUsage, "USAGE", "%s: %v", p, err)
		}
		name := norm.NFC.String(filepath.Base(absolute))
		if err := checkPath(name); err != nil {
			return nil, failf(exitUsage, "USAGE", "%s cannot be shared under its name: %v", p, err)
		}
		if other, taken := l.roots[name]; taken {
			return nil, failf(exitUsage, "USAGE", "%s and %s have the same name", other, absolute)
		}
		l.roots[name] = absolute
	}
	return l, nil
}

// Scan brings the library up to date with the disk once.
func (l *Library) Scan(ctx context.Context) {
	seen := map[string]bool{}
	for name, root := range l.roots {
		_ = filepath.WalkDir(root, func(disk string, entry fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), temporary) {
				return nil // folders are entered; links, devices and what cannot be read are not shared
			}
			relative, err := filepath.Rel(root, disk)
			if err != nil {
				return nil
			}
			listed := path.Join(name, norm.NFC.String(filepath.ToSlash(relative)))
			if err := checkPath(listed); err != nil || seen[listed] {
				l.skip(disk, "cannot be listed under its name")
				return nil
			}
			seen[listed] = true
			l.refresh(listed, disk)
			return nil
		})
	}
	if ctx.Err() == nil {
		l.withdrawAllBut(seen)
	}
}

func (l *Library) skip(disk, why string) {
	l.mu.Lock()
	said := l.skipped[disk]
	l.skipped[disk] = true
	l.mu.Unlock()
	if !said {
		say("skipped %s: %s", printable(disk), why)
	}
}

// refresh hashes a file that is new or changed.
func (l *Library) refresh(listed, disk string) {
	info, err := os.Lstat(disk)
	if err != nil || !info.Mode().IsRegular() {
		l.withdraw(listed)
		return
	}
	l.mu.Lock()
	known := l.files[listed]
	l.mu.Unlock()
	if known != nil && known.disk == disk && known.stamp == stampOf(info) {
		return
	}
	file, err := hashFile(listed, disk)
	if err != nil {
		l.withdraw(listed)
		if !errors.Is(err, errChanged) {
			l.skip(disk, err.Error())
		}
		return
	}
	l.put(file)
}

// hashFile reads a file; one that changes meanwhile is errChanged.
func hashFile(listed, disk string) (*sharedFile, error) {
	file, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	shared := &sharedFile{disk: disk, stamp: stampOf(info)}
	digest, manifest, err := hashContent(file, info.Size())
	if err != nil {
		return nil, err
	}
	if err := shared.unchanged(file); err != nil {
		return nil, err
	}
	mediaType, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(listed)), ";")
	shared.manifest = manifest
	shared.resource = &pb.Resource{
		Path: listed, SizeBytes: info.Size(), Digest: digest, ManifestDigest: manifest.Digest(),
		ModifyTime: timestamppb.New(info.ModTime()), MediaType: mediaType,
	}
	return shared, nil
}

func (l *Library) put(f *sharedFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	listed := f.resource.GetPath()
	l.forget(listed)
	l.counter++
	f.counter = l.counter
	l.files[listed] = f
	l.contents[f.resource.GetDigest()] = append(l.contents[f.resource.GetDigest()], f)
	delete(l.gone, listed)
	wake(l.changed)
}

func (l *Library) withdraw(listed string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files[listed] != nil {
		l.forget(listed)
		l.counter++
		l.gone[listed] = l.counter
		wake(l.changed)
	}
}

func (l *Library) withdrawAllBut(seen map[string]bool) {
	l.mu.Lock()
	var lost []string
	for listed := range l.files {
		if !seen[listed] {
			lost = append(lost, listed)
		}
	}
	l.mu.Unlock()
	for _, listed := range lost {
		l.withdraw(listed)
	}
}

func (l *Library) forget(listed string) {
	f := l.files[listed]
	if f == nil {
		return
	}
	delete(l.files, listed)
	digest := f.resource.GetDigest()
	rest := slices.DeleteFunc(l.contents[digest], func(other *sharedFile) bool { return other == f })
	if l.contents[digest] = rest; len(rest) == 0 {
		delete(l.contents, digest)
	}
}

// Content gives the files that have a content.
func (l *Library) Content(digest string) []*sharedFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.contents[digest])
}

// Revision is where the library is now.
func (l *Library) Revision() *pb.Revision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &pb.Revision{Epoch: l.epoch, Counter: l.counter}
}

// Len is the number of resources.
func (l *Library) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.files)
}

// Watch scans until the context ends, now and then and when a change was found otherwise.
func (l *Library) Watch(ctx context.Context, every time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.rescan:
		case <-time.After(every):
		}
		l.Scan(ctx)
	}
}

// wake leaves a sign in a channel of one place.
func wake(sign chan struct{}) {
	select {
	case sign <- struct{}{}:
	default:
	}
}
