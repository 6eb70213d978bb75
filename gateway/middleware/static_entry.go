package middleware

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/internal/modtime"
)

// pathKind is what a path leads to.
type pathKind uint8

const (
	isMissing   pathKind = iota // nothing
	isNoName                    // nothing, whatever is in the directory
	isFile                      // a regular file, also as the index of a directory
	isDirectory                 // one that was requested without a slash
	isListing                   // one without an index, with List
	isForbidden                 // what the process may not read
)

// pathEntry is what is known of a key: a path, or a pageMark and the name of a file of the options. An entry that
// the cache keeps is used by many requests at once, and does not change but for the marks of the cache.
type pathEntry struct {
	key      string
	kind     pathKind
	name     string                   // of the file or the directory, in the root
	variants []variant                // of a file: itself, and its sidecars in the order of preference
	coded    bool                     // a sidecar is there, maybe one that is too old
	settled  bool                     // a change will show in the state of the files
	opened   *os.File                 // variants[0], of an entry that is not kept; nil once it is used
	contents [1 + codingsMax]*content // of variants, those that the cache keeps
	checked  atomic.Int64             // when it was last compared with the directory, by fileCache.now
	used     atomic.Bool              // since the cache last looked for what to drop
}

// A pageMark begins the key of a file of the options. No path begins so.
const (
	fallbackMark  = '\x01'
	errorPageMark = '\x02'
)

// mark is the pageMark of the key of e; 0 if it is a path.
func (e *pathEntry) mark() byte {
	if e.key == "" || e.key[0] == '/' {
		return 0
	}
	return e.key[0]
}

// variant is a file with one representation of the content.
type variant struct {
	coding string // "" is none
	name   string
	info   os.FileInfo
}

// settledAfter is the age of the last change of a file from which on its time shows the next change too: the
// clocks of file systems have ticks of up to two seconds.
const settledAfter = 2 * time.Second

// find returns the entry for a key. The error is one of the machine, such as a lack of descriptors.
func (s *static) find(key string) (*pathEntry, error) {
	if s.cache == nil {
		return s.load(key, s.openName)
	}
	now := s.cache.now()
	old := s.cache.get(key)
	if old != nil && now-old.checked.Load() < int64(recheckEvery) {
		return old, nil
	}
	e, err := s.load(key, s.statName)
	switch {
	case err != nil:
		return nil, err
	case old != nil && old.isLike(e):
		old.checked.Store(now)
		return old, nil
	}
	if e.kind != isNoName { // which costs no look at the directory
		e.checked.Store(now)
		s.cache.put(e)
	}
	return e, nil
}

// isLike reports whether the directory is as it was for e when it is now as for other.
func (e *pathEntry) isLike(other *pathEntry) bool {
	if e.kind != other.kind || e.name != other.name || e.coded != other.coded || !e.settled ||
		len(e.variants) != len(other.variants) {
		return false
	}
	for i, v := range e.variants {
		if o := other.variants[i]; v.name != o.name || !isUnchanged(v.info, o.info) {
			return false
		}
	}
	return true
}

// isUnchanged reports whether a and b are of one file with one content. The time of change of the content does
// not tell: a program may have set it, and a new file may have the number of a removed one.
func isUnchanged(a, b os.FileInfo) bool {
	ofA, _ := modtime.Status(a)
	ofB, _ := modtime.Status(b)
	return os.SameFile(a, b) && a.Size() == b.Size() && ofA.Equal(ofB)
}

// load looks a key up in the directory. find is openName, or statName for an entry that is kept.
func (s *static) load(key string, find finder) (*pathEntry, error) {
	e := &pathEntry{key: strings.Clone(key), settled: true}
	slash := false
	if e.mark() != 0 {
		e.name = e.key[1:] // behind a pageMark
	} else {
		var ok bool
		if e.name, slash, ok = s.name(e.key); !ok {
			e.kind = isNoName
			return e, nil
		}
	}
	file, info, err := find(e.name)
	if err == nil && info.IsDir() {
		closeFile(file)
		if !slash {
			e.kind = isDirectory
			return e, nil
		}
		slash = false
		var name string
		if name, file, info, err = s.findIndex(e.name, find); err == errNotHere && s.List {
			e.kind = isListing
			return e, nil
		}
		e.name = name
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.kind = isForbidden
	case err != nil && err != errNotHere:
		return nil, err
	case err == nil && info.Mode().IsRegular() && !slash:
		e.kind, e.opened = isFile, file
		if err := s.addVariants(e, info); err != nil {
			e.closeOpened()
			return nil, err
		}
	case err == nil: // a device, a FIFO, or "file/"
		closeFile(file)
	}
	return e, nil
}

// findIndex finds the index of a directory. The error is errNotHere if it has none.
func (s *static) findIndex(dir string, find finder) (name string, file *os.File, info os.FileInfo, err error) {
	err = errNotHere
	for _, index := range s.Index {
		name = path.Join(dir, index)
		file, info, err = find(name)
		if err == nil && !info.Mode().IsRegular() {
			closeFile(file)
			err = errNotHere
		}
		if err != errNotHere {
			break
		}
	}
	return name, file, info, err
}

// addVariants adds the file of e, which is info, and its sidecars.
func (s *static) addVariants(e *pathEntry, info os.FileInfo) error {
	e.variants = append(make([]variant, 0, 1+len(s.sidecars)), variant{name: e.name, info: info})
	sidecars := s.sidecars
	if e.mark() == errorPageMark {
		sidecars = nil
	}
	for _, sc := range sidecars {
		name := e.name + sc.extension
		_, coded, err := s.statName(name)
		switch {
		case isAbsent(err) || err == nil && !coded.Mode().IsRegular():
			continue
		case err != nil:
			return err
		}
		e.coded = true
		if !coded.ModTime().Before(info.ModTime()) {
			e.variants = append(e.variants, variant{sc.coding, name, coded})
		}
	}
	for _, v := range e.variants {
		changed, ok := modtime.Status(v.info)
		e.settled = e.settled && ok && time.Since(changed) >= settledAfter
	}
	return nil
}

// finder finds a file in the root. The error is errNotHere, fs.ErrPermission, or one of the machine.
type finder func(name string) (*os.File, os.FileInfo, error)

// openName is a finder that opens the file.
func (s *static) openName(name string) (file *os.File, info os.FileInfo, err error) {
	err = s.withDescriptors(func() (err error) {
		if err = s.checkLinks(name); err != nil {
			return err
		}
		// O_NONBLOCK: a FIFO would wait for a writer.
		if file, err = s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
			return err
		}
		if info, err = file.Stat(); err != nil {
			closeFile(file)
		}
		return err
	})
	if err != nil {
		return nil, nil, openError(err)
	}
	return file, info, nil
}

// statName is a finder that returns the state of the file only.
func (s *static) statName(name string) (file *os.File, info os.FileInfo, err error) {
	err = s.withDescriptors(func() (err error) {
		if err = s.checkLinks(name); err == nil {
			info, err = s.root.Stat(name)
		}
		return err
	})
	if err != nil {
		return nil, nil, openError(err)
	}
	return nil, info, nil
}

// withDescriptors calls f, and again if it lacked descriptors, without those of the cache.
func (s *static) withDescriptors(f func() error) error {
	err := f()
	if s.cache != nil && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) {
		s.cache.clear()
		err = f()
	}
	return err
}

// checkLinks returns errNotHere for a name with a symbolic link in it, if they are hidden.
func (s *static) checkLinks(name string) error {
	if !s.NoSymlinks {
		return nil
	}
	for i := range len(name) + 1 {
		if i == len(name) || name[i] == '/' {
			info, err := s.root.Lstat(name[:i])
			if err != nil {
				return err
			}
			if info.Mode()&fs.ModeSymlink != 0 {
				return errNotHere
			}
		}
	}
	return nil
}

var errNotHere = errors.New("middleware: Static: no such file")

// openError returns errNotHere for err, unless err has a cause that the client is not at fault for.
func openError(err error) error {
	for _, trouble := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, trouble) {
			return err
		}
	}
	return errNotHere
}

// closeOpened closes the file of an entry that is not used.
func (e *pathEntry) closeOpened() {
	if e.opened != nil { // never in an entry that is kept, and used by others too
		closeFile(e.opened)
		e.opened = nil
	}
}

func closeFile(file *os.File) {
	if file != nil {
		_ = file.Close()
	}
}
