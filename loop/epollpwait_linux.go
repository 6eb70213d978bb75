//go:build (arm64 || loong64 || riscv64) && !poll_opt

package loop

import "golang.org/x/sys/unix"

// sysEpollWait is the only call that younger architectures have: without a mask of
// signals it is epoll_wait.
const sysEpollWait = unix.SYS_EPOLL_PWAIT
