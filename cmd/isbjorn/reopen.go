package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
)

// logFlags are those of a log file: lines go to its end. A pipe without a reader is an error, and no wait.
const logFlags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK

// logFiles are the open log files, for reopenLogs.
var logFiles struct {
	sync.Mutex
	list []*os.File
}

// closeLater has a log file opened anew by reopenLogs, until the function that it returns closes it.
func closeLater(f *os.File) func() {
	logFiles.Lock()
	defer logFiles.Unlock()
	logFiles.list = append(logFiles.list, f)
	return func() {
		logFiles.Lock()
		defer logFiles.Unlock()
		logFiles.list = slices.DeleteFunc(logFiles.list, func(other *os.File) bool { return other == f })
		_ = f.Close()
	}
}

// reopenLogs opens each log file by its name again, for each signal: logrotate has renamed it. The new file takes the
// descriptor of the old one in one step, so that no line is lost. A file that cannot be opened stays as it was.
func reopenLogs(signals <-chan os.Signal) {
	for range signals {
		reopenAll()
	}
}

func reopenAll() {
	logFiles.Lock()
	defer logFiles.Unlock()
	for _, f := range logFiles.list {
		if err := reopen(f); err != nil {
			fmt.Fprintf(os.Stderr, "isbjorn: the log goes on where it was: %v\n", err)
		}
	}
}

func reopen(f *os.File) error {
	fresh, err := os.OpenFile(f.Name(), logFlags, 0o640)
	if err != nil {
		return err
	}
	defer fresh.Close()
	old, err := f.SyscallConn()
	if err != nil {
		return err
	}
	to, err := fresh.SyscallConn()
	if err != nil {
		return err
	}
	var dupErr error
	err = old.Control(func(oldFD uintptr) {
		if err := to.Control(func(fd uintptr) { dupErr = replaceFD(int(fd), int(oldFD)) }); err != nil {
			dupErr = err
		}
	})
	if err == nil {
		err = os.NewSyscallError("dup", dupErr)
	}
	return err
}
