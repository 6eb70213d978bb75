//go:build !linux

package chaos

import "testing"

const linkNear, linkFar = "127.0.0.1", "127.0.0.1"

func openLink(t *testing.T) (listen string) {
	t.Skip("-lossy needs Linux")
	return ""
}
