package middleware

import (
	"hash/maphash"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	recheckEvery    = time.Second // how long an entry is served without a look at the directory
	keptBytes       = 32 << 20    // of all contents that are kept as bytes
	keptKeyBytes    = 512         // of a path; the entry of a longer one is not kept
	keptOthers      = 256         // entries that are no files
	sweepEvery      = 30 * time.Second
	setEntries      = 8
	dropSteps       = 512 // looked at to make room for one content
	descriptorShare = 4   // of the limit of open files, the part that the cache may use
)

// fileCache keeps entries and their contents. It has no locks: a table is an array of sets of a few entries,
// each found by one hash and replaced by compare-and-swap. Entries that are no files are in a table of their
// own, where a flood of names that do not exist replaces only its like.
//
// What was not used lately is dropped first: an entry is marked as it is found, and the search for one to drop
// takes the mark away, and drops those without one (a clock). A sweep does so every sweepEvery while there are
// contents: a file that was removed does not fill the disk for longer.
type fileCache struct {
	seed          maphash.Seed
	start         time.Time
	files, others table

	contentsMax int64 // of contents, and so of open files
	contents    atomic.Int64
	bytes       atomic.Int64
	hand        atomic.Uint32 // the place in files where dropping continues
	sweeping    atomic.Bool   // a sweep is to come
}

// newFileCache makes a cache of n files, if the limit of open files allows so many.
func newFileCache(n int) *fileCache {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		if most := int64(limit.Cur) / descriptorShare; most > 0 && int64(n) > most { // negative: unlimited
			n = int(most)
		}
	}
	return &fileCache{seed: maphash.MakeSeed(), start: time.Now(), files: newTable(n), others: newTable(keptOthers),
		contentsMax: int64(n)}
}

// now is the time since the cache was made, in nanoseconds.
func (f *fileCache) now() int64 { return int64(time.Since(f.start)) }

// get returns the entry for a key; nil if there is none.
func (f *fileCache) get(key string) *pathEntry {
	hash := maphash.String(f.seed, key)
	e := f.files.get(hash, key)
	if e == nil {
		e = f.others.get(hash, key)
	}
	return e
}

// put keeps e, in place of an entry with its key.
func (f *fileCache) put(e *pathEntry) {
	if len(e.key) > keptKeyBytes {
		return
	}
	in, other := f.others, f.files
	if e.kind == isFile {
		in, other = other, in
	}
	hash := maphash.String(f.seed, e.key)
	other.remove(hash, e.key)
	in.put(hash, e)
}

// keep keeps the content of a variant of e, if e is kept and there is room.
func (f *fileCache) keep(e *pathEntry, k int, c *content) {
	if len(e.key) > keptKeyBytes || !f.reserve(c) {
		return
	}
	next := e.with(k, c)
	if !f.files.replace(maphash.String(f.seed, e.key), e, next) { // e was replaced or dropped meanwhile
		next.drop()
	}
	f.sweepLater()
}

func (f *fileCache) sweepLater() {
	if !f.sweeping.Load() && f.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, f.sweep)
	}
}

// sweep drops the entries that were not used since the last sweep.
func (f *fileCache) sweep() {
	for i := range f.files {
		f.files.dropUnused(i)
	}
	f.sweeping.Store(false)
	if f.contents.Load() > 0 { // maybe since the loop
		f.sweepLater()
	}
}

// reserve counts c, and drops entries if they are too many. It reports whether there is room.
func (f *fileCache) reserve(c *content) bool {
	c.cache = f
	f.count(c, 1)
	for range min(2*len(f.files), dropSteps) { // of two rounds the first may only take marks away
		if f.contents.Load() <= f.contentsMax && f.bytes.Load() <= keptBytes {
			return true
		}
		f.files.dropUnused(int(f.hand.Add(1) % uint32(len(f.files))))
	}
	f.count(c, -1)
	c.cache = nil
	return false
}

// forget is called when the last reference to c ends.
func (f *fileCache) forget(c *content) { f.count(c, -1) }

func (f *fileCache) count(c *content, n int64) {
	f.contents.Add(n)
	f.bytes.Add(n * int64(len(c.bytes)))
}

// clear drops all entries with files. Those that are being sent are closed when they are sent.
func (f *fileCache) clear() {
	for i := range f.files {
		if e := f.files[i].Swap(nil); e != nil {
			e.drop()
		}
	}
}

// with is a copy of e that has c as the content of variant k.
func (e *pathEntry) with(k int, c *content) *pathEntry {
	next := &pathEntry{key: e.key, kind: e.kind, name: e.name, variants: e.variants, coded: e.coded, settled: e.settled}
	next.checked.Store(e.checked.Load())
	next.used.Store(true)
	next.contents = e.contents
	next.contents[k] = c
	for i, c := range next.contents {
		if c != nil && !c.share() {
			next.contents[i] = nil
		}
	}
	return next
}

// drop ends the references of an entry that is in no table.
func (e *pathEntry) drop() {
	for _, c := range e.contents {
		if c != nil {
			_ = c.Close()
		}
	}
}

// table is an array of sets of setEntries entries, or one smaller set. An entry is in the set of its hash.
type table []atomic.Pointer[pathEntry]

func newTable(n int) table { return make(table, max(n-n%setEntries, min(n, setEntries))) }

func (t table) set(hash uint64) table {
	if len(t) <= setEntries {
		return t
	}
	i := int(hash%uint64(len(t)/setEntries)) * setEntries
	return t[i : i+setEntries]
}

func (t table) get(hash uint64, key string) *pathEntry {
	set := t.set(hash)
	for i := range set {
		if e := set[i].Load(); e != nil && e.key == key {
			if !e.used.Load() { // a write would take the line from other processors
				e.used.Store(true)
			}
			return e
		}
	}
	return nil
}

// put stores e: in place of one with its key, of none, or of one that was not used lately.
func (t table) put(hash uint64, e *pathEntry) {
	set := t.set(hash)
	place := -1
	for i := range set {
		old := set[i].Load()
		if old != nil && old.key == e.key {
			place = i
			break
		}
		if place < 0 && (old == nil || !old.used.Swap(false)) {
			place = i
		}
	}
	if place < 0 {
		place = int(hash>>32) % len(set) // all were used
	}
	if old := set[place].Swap(e); old != nil {
		old.drop()
	}
}

func (t table) remove(hash uint64, key string) {
	set := t.set(hash)
	for i := range set {
		if e := set[i].Load(); e != nil && e.key == key && set[i].CompareAndSwap(e, nil) {
			e.drop()
		}
	}
}

// replace puts next in the place of e, and reports whether e was there.
func (t table) replace(hash uint64, e, next *pathEntry) bool {
	set := t.set(hash)
	for i := range set {
		if set[i].CompareAndSwap(e, next) {
			e.drop()
			return true
		}
	}
	return false
}

// dropUnused drops entry i if it was not used since the last call.
func (t table) dropUnused(i int) {
	e := t[i].Load()
	if e != nil && !e.used.Swap(false) && t[i].CompareAndSwap(e, nil) {
		e.drop()
	}
}
