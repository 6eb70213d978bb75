//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

var (
	modelName = regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`)
	memTotal  = regexp.MustCompile(`MemTotal:\s+(\d+) kB`)
)

// machine is where this runs. What /proc does not tell is left empty.
func machine() sample.Machine {
	m := sample.Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU()}
	b, _ := os.ReadFile("/proc/cpuinfo")
	if found := modelName.FindSubmatch(b); found != nil {
		m.CPU = string(found[1])
	}
	b, _ = os.ReadFile("/proc/meminfo")
	if found := memTotal.FindSubmatch(b); found != nil {
		kib, _ := strconv.Atoi(string(found[1]))
		m.Memory = kib << 10
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// equip notes the versions of the tools, and which are missing.
func equip(ctx context.Context, versions, missing map[string]string) {
	for _, t := range toolbox {
		if _, err := exec.LookPath(t.name); err != nil {
			missing[t.name] = t.name + " is not installed: apt-get install " + t.pkg
			continue
		}
		versions[t.name] = "installed"
		if t.version != "" {
			out, _ := run(ctx, t.name, t.version) // wrk -v ends with status 1
			versions[t.name] = firstLine(out)
		} else if out, err := run(ctx, "dpkg-query", "-W", "-f", "${Version}", t.pkg); err == nil {
			versions[t.name] = strings.TrimSpace(out)
		}
	}
}
