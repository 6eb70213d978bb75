//go:build linux

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Find returns the interpreter and why it was taken: python itself if it is named (a file, a name that PATH has, or a
// virtual environment's directory), else that of VIRTUAL_ENV, of .venv or venv in dir, or python3 or python of PATH.
// The error is a *BootError that says where it was looked for.
func Find(python, dir string) (file, why string, err error) {
	if python != "" {
		file, err := named(python)
		if err != nil {
			return "", "", &BootError{Python: python, Message: err.Error(),
				Mend: "python.exe names a file of Python, such as .venv/bin/python, or a virtual environment"}
		}
		return real(file, dir, "it is named")
	}
	var looked []string
	try := func(venv string) (string, bool) {
		file, err := filepath.Abs(filepath.Join(venv, "bin", "python"))
		looked = append(looked, file)
		return file, err == nil && executable(file)
	}
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		if file, ok := try(venv); ok {
			return real(file, dir, "VIRTUAL_ENV")
		}
	}
	for _, venv := range []string{".venv", "venv"} {
		if file, ok := try(filepath.Join(dir, venv)); ok {
			return real(file, dir, venv)
		}
	}
	for _, name := range []string{"python3", "python"} {
		looked = append(looked, name+" in PATH")
		if file, err := lookPath(name); err == nil {
			return real(file, dir, "PATH")
		}
	}
	return "", "", &BootError{Python: "python3", Message: "there is none; looked for " + strings.Join(looked, ", "),
		Mend: "install Python 3.8 or later, or name one: --python-exe FILE"}
}

// named is the interpreter that python names.
func named(python string) (string, error) {
	if info, err := os.Stat(python); err == nil && info.IsDir() {
		python = filepath.Join(python, "bin", "python")
	}
	return lookPath(python)
}

// lookPath is exec.LookPath with an absolute path: the workers may have another working directory.
func lookPath(name string) (string, error) {
	file, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(file) // not what links lead to: Python finds its virtual environment by this path
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// real is the interpreter itself where file is a script that starts one, as version managers have them: a shell in
// between may use the descriptors of a worker.
func real(file, dir, why string) (string, string, error) {
	f, err := os.Open(file)
	if err != nil {
		return file, why, nil // it may be executable alone
	}
	defer f.Close()
	var begin [2]byte
	if _, err := f.Read(begin[:]); err != nil || string(begin[:]) != "#!" {
		return file, why, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, file, "-c", "import sys; print(sys.executable)")
	var trouble bytes.Buffer
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = dir, &trouble, time.Second // a version manager looks for its files there
	out, err := cmd.Output()
	path := strings.TrimSpace(string(out))
	if err == nil && !executable(path) {
		err = fmt.Errorf("it says that it starts %q, which is no program", path)
	}
	if err != nil {
		return "", "", &BootError{Python: file, Message: fmt.Sprintf("the script fails: %v", err), Output: trouble.String()}
	}
	return path, why + ", by " + file, nil
}
