package chaos

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
)

// openDescriptors counts those of a process.
func openDescriptors(pid int) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return -1
	}
	return len(list)
}

var rss = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// residentMiB is the resident memory of a process.
func residentMiB(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := rss.FindSubmatch(b)
	if m == nil {
		return 0
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib >> 10
}
