//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Find returns the interpreter and why it was taken: python itself if it is named (a file, a name that PATH has, or a
// virtual environment's directory), else that of VIRTUAL_ENV, of .venv or venv in dir, or python3 or python of PATH.
func Find(python, dir string) (file, why string, err error) {
	if python != "" {
		if info, err := os.Stat(python); err == nil && info.IsDir() {
			python = filepath.Join(python, "bin", "python")
		}
		file, err := exec.LookPath(python)
		if err != nil {
			return "", "", &BootError{Python: python, Message: err.Error(), Mend: "python.exe names a file of Python, such as .venv/bin/python"}
		}
		return real(file, "it is named")
	}
	var looked []string
	try := func(file string) bool {
		looked = append(looked, file)
		info, err := os.Stat(file)
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	}
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		if file := filepath.Join(venv, "bin", "python"); try(file) {
			return real(file, "VIRTUAL_ENV")
		}
	}
	for _, venv := range []string{".venv", "venv"} {
		file, err := filepath.Abs(filepath.Join(dir, venv, "bin", "python"))
		if err == nil && try(file) {
			return real(file, "./"+venv)
		}
	}
	for _, name := range []string{"python3", "python"} {
		looked = append(looked, name)
		if file, err := exec.LookPath(name); err == nil {
			return real(file, "PATH")
		}
	}
	return "", "", &BootError{Python: "python3", Message: "there is none; looked for " + strings.Join(looked, ", "),
		Mend: "install Python 3.8 or later, or name one: --python-exe FILE"}
}

// real is the interpreter itself where file is a script that starts one, as version managers have them: a shell in
// between may use the descriptors of a worker.
func real(file, why string) (string, string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", &BootError{Python: file, Message: err.Error()}
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
	cmd.Stderr, cmd.WaitDelay = &trouble, time.Second
	out, err := cmd.Output()
	path := strings.TrimSpace(string(out))
	if err == nil && path == "" {
		err = errors.New("it does not say which Python it starts")
	}
	if err != nil {
		return "", "", &BootError{Python: file, Message: fmt.Sprintf("the script fails: %v", err), Output: trouble.String()}
	}
	return path, why + ", by " + file, nil
}
