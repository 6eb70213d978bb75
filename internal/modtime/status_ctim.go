//go:build !darwin && !freebsd && !netbsd

package modtime

import "syscall"

func status(st *syscall.Stat_t) *syscall.Timespec { return &st.Ctim }
