//go:build !arm64 && !loong64 && !riscv64 && !poll_opt

package loop

import "golang.org/x/sys/unix"

const sysEpollWait = unix.SYS_EPOLL_WAIT
