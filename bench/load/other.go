//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "load: it reads /proc and pins processes: run it on Linux")
	os.Exit(1)
}
