package chaos

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The link is for kernels without netem: a TUN device whose other end is this
// test. It loses, delays, doubles and reorders packets. What it delivers comes
// back to the same machine with its addresses swapped, so that a client who
// connects to linkFar reaches the server on linkNear. (A checksum does not change
// when its addresses are swapped.)
const (
	linkName = "chaos0"
	linkNear = "10.77.0.1"
	linkFar  = "10.77.0.2"

	linkBytesMax = 1500
)

var (
	loss  = flag.Float64("loss", 0.02, "part of the packets that -lossy loses")
	delay = flag.Duration("delay", 2*time.Millisecond, "least delay of -lossy; a packet in ten takes up to 20 times as long")
)

// openLink makes the link, in the network namespace that the test runs in, and
// returns where to listen.
func openLink(t *testing.T) (listen string) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/net/tun: %v", err)
	}
	r, err := unix.NewIfreq(linkName)
	if err != nil {
		t.Fatal(err)
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		_ = unix.Close(fd)
		t.Skipf("TUNSETIFF: %v; it needs CAP_NET_ADMIN", err)
	}
	for _, args := range []string{"addr add " + linkNear + "/24 dev " + linkName, "link set " + linkName + " mtu 1500 up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	link := os.NewFile(uintptr(fd), linkName)
	t.Cleanup(func() { _ = link.Close() })
	go carry(link, rand.New(rand.NewPCG(*seed, 0)))
	return linkNear + ":0"
}

// carry takes packets from the link and brings them back, most of them.
func carry(link *os.File, rng *rand.Rand) {
	b := make([]byte, linkBytesMax)
	for {
		n, err := link.Read(b)
		if err != nil {
			return // closed
		}
		if n < 20 || b[0]>>4 != 4 || rng.Float64() < *loss {
			continue
		}
		packet := bytes.Clone(b[:n])
		for i := range 4 { // source and destination of IPv4
			packet[12+i], packet[16+i] = packet[16+i], packet[12+i]
		}
		copies := 1
		if rng.IntN(100) == 0 {
			copies = 2
		}
		for range copies {
			wait := *delay
			if rng.IntN(10) == 0 {
				wait += time.Duration(rng.Int64N(int64(20*wait) + 1))
			}
			time.AfterFunc(wait, func() { _, _ = link.Write(packet) })
		}
	}
}
