package certs

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// ticketRotation is how long the newest key encrypts tickets, and ticketLife how long a key decrypts them, as in
	// package tls. RFC 8446 section 4.6.1 allows a ticket seven days.
	ticketRotation = 24 * time.Hour
	ticketLife     = 7 * ticketRotation

	ticketKeyBytes = 32
)

// Tickets are the secrets from which the keys of session tickets are made. Each TLS configuration has keys of its own
// (Keys), so that a ticket of one is none for another.
type Tickets struct {
	mu      sync.Mutex
	secrets []secret // the newest first
}

type secret struct {
	made  int64 // Unix seconds
	bytes [ticketKeyBytes]byte
}

// Rotate makes a new secret where the newest is a day old, and drops those that are a week old. It reports whether
// there is a new one.
func (t *Tickets) Rotate(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets = slices.DeleteFunc(t.secrets, func(s secret) bool { return now.Sub(time.Unix(s.made, 0)) >= ticketLife })
	if len(t.secrets) > 0 && now.Sub(time.Unix(t.secrets[0].made, 0)) < ticketRotation {
		return false
	}
	s := secret{made: now.Unix()}
	_, _ = rand.Read(s.bytes[:]) // it never fails
	t.secrets = slices.Insert(t.secrets, 0, s)
	return true
}

// Keys are those for tls.Config.SetSessionTicketKeys. label says for which configuration.
func (t *Tickets) Keys(label string) (keys [][ticketKeyBytes]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.secrets {
		key, err := hkdf.Key(sha256.New, t.secrets[i].bytes[:], nil, "session ticket key: "+label, ticketKeyBytes)
		if err != nil {
			panic(err) // only for lengths that are not allowed
		}
		keys = append(keys, [ticketKeyBytes]byte(key))
	}
	return keys
}

// recordBytes is a secret in Write: when it was made, and the secret.
const recordBytes = 8 + ticketKeyBytes

// WriteTo writes the secrets, for the process that continues.
func (t *Tickets) WriteTo(w io.Writer) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b []byte
	for _, s := range t.secrets {
		b = binary.BigEndian.AppendUint64(b, uint64(s.made))
		b = append(b, s.bytes[:]...)
	}
	n, err := w.Write(b)
	return int64(n), err
}

// ReadFrom reads what WriteTo has written.
func (t *Tickets) ReadFrom(r io.Reader) (int64, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<16))
	if err == nil && len(b)%recordBytes != 0 {
		err = fmt.Errorf("certs: session ticket keys of %d bytes", len(b))
	}
	if err != nil {
		return int64(len(b)), err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets = nil
	for record := range slices.Chunk(b, recordBytes) {
		t.secrets = append(t.secrets, secret{int64(binary.BigEndian.Uint64(record)), [ticketKeyBytes]byte(record[8:])})
	}
	return int64(len(b)), nil
}
