package modtime

import (
	"os"
	"syscall"
	"time"
)

// Status is when the content, the name or the rights of a file were last changed (st_ctime), which no program
// can set: a file that is as it was has the Status that it had. ok is false where info does not tell.
func Status(info os.FileInfo) (t time.Time, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(status(st).Unix()), true
}
