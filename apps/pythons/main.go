// Pythons unpacks interpreters for the tests of package wsgi, and prints a list of them for TEST_ISBJORN_PYTHONS:
//
//	TEST_ISBJORN_PYTHONS=$(go run ./pythons) go test github.com/isbjorn/isbjorn/wsgi/...
//
// They are CPython 3.10, 3.13 and 3.14 for Linux and macOS, about 150 MB each, from versions of one Go module. A go.mod
// can require only one version of a module, so they are fetched by go mod download, with their sums in the table below.
package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const module = "github.com/kluctl/go-embed-python"

var versions = []struct{ version, sum string }{
	{"v0.0.0-3.10.16-20241219-1", "h1:bfJRrtWlbdrPtwXXXZzA95yj2Pr9AvSbxDEm8YvbaP0="},
	{"v0.0.0-3.13.1-20241219-1", "h1:x1cSEj4Ug5mpuZgUHLvUmlc5r//KHFn6iYiRSrRcVy4="},
	{"v0.0.0-3.14.6-20260610-1", "h1:oGUS7++Wm3LgxUfD6AmJgKbKQD2wdQFO9PzyJv6T+E4="},
}

func main() {
	cache, err := os.UserCacheDir()
	if err != nil {
		fail(err)
	}
	var found []string
	for _, v := range versions {
		python, err := unpack(filepath.Join(cache, "isbjorn-pythons", v.version), v.version, v.sum)
		if err != nil {
			fail(fmt.Errorf("%s: %w", v.version, err))
		}
		found = append(found, python)
	}
	fmt.Println(strings.Join(found, string(filepath.ListSeparator)))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pythons:", err)
	os.Exit(1)
}

// unpack returns the interpreter in dir, which it makes unless it is there.
func unpack(dir, version, sum string) (python string, err error) {
	python = filepath.Join(dir, "bin", "python3")
	if _, err := os.Stat(python); err == nil {
		return python, nil
	}
	source, err := download(version, sum)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	source = filepath.Join(source, "python", "internal", "data", runtime.GOOS+"-"+runtime.GOARCH)
	if err := unpackFiles(part, source); err != nil {
		return "", err
	}
	return python, os.Rename(part, dir)
}

// download returns the directory of a version of the module.
func download(version, sum string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+version)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	var m struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &m); err != nil {
		return "", err
	}
	if m.Sum != sum {
		return "", fmt.Errorf("its sum is %s, and not %s", m.Sum, sum)
	}
	return m.Dir, nil
}

// unpackFiles copies what files.json lists. Large files are compressed; modes are those of package os.
func unpackFiles(dir, source string) error {
	list, err := os.ReadFile(filepath.Join(source, "files.json"))
	if err != nil {
		return err
	}
	var index struct {
		Files []struct {
			Name       string
			Perm       os.FileMode
			Symlink    string
			Compressed bool
		}
	}
	if err := json.Unmarshal(list, &index); err != nil {
		return err
	}
	for _, f := range index.Files {
		to, from := filepath.Join(dir, f.Name), filepath.Join(source, f.Name)
		switch {
		case f.Perm.IsDir():
			err = os.MkdirAll(to, 0o755)
		case f.Symlink != "":
			err = os.Symlink(f.Symlink, to)
		case f.Compressed:
			err = copyFile(to, from+".gz", f.Perm.Perm(), true)
		default:
			err = copyFile(to, from, f.Perm.Perm(), false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string, perm os.FileMode, compressed bool) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	r := io.Reader(f)
	if compressed {
		if r, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}
