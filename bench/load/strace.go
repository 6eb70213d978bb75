//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// straceCalls is the number of system calls that the processes make while what runs.
func straceCalls(dir string, on unix.CPUSet, pids []int, what func() error) (calls int, err error) {
	file := filepath.Join(dir, "strace")
	command := []string{"strace", "-c", "-f", "-q", "-o", file}
	for _, pid := range pids {
		command = append(command, "-p", strconv.Itoa(pid))
	}
	tracer, err := launch(command, on)
	if err != nil {
		return 0, err
	}
	defer tracer.stop()
	for deadline := time.Now().Add(patience); !traced(pids); {
		if err := tracer.alive(); err != nil {
			return 0, fmt.Errorf("strace may not trace here: %w", err)
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("strace did not attach within %v", patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := what(); err != nil {
		return 0, err
	}
	if err := tracer.interrupt(); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return straceTotal(string(b))
}

// traced says whether all threads of the processes are traced.
func traced(pids []int) bool {
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, file := range files {
			b, _ := os.ReadFile(file)
			if strings.Contains(string(b), "TracerPid:\t0\n") {
				return false
			}
		}
	}
	return true
}

// straceTotal is the sum of the column "calls" of strace -c.
func straceTotal(table string) (calls int, err error) {
	column := -1
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "%":
			for i, name := range fields[2:] { // "% time" is one column
				if name == "calls" {
					column = i + 1
				}
			}
		case column < 0 || len(fields) <= column || fields[0][0] == '-' || fields[len(fields)-1] == "total":
		default:
			n, err := strconv.Atoi(fields[column])
			if err != nil {
				return 0, fmt.Errorf("strace: line %q", line)
			}
			calls += n
		}
	}
	if column < 0 {
		return 0, fmt.Errorf("strace: no column calls in %.200q", table)
	}
	return calls, nil
}
