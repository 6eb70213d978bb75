package gateway

import (
	"bytes"
	"hash/maphash"
	"io"
)

// validBody is the Body that the server gets.
type validBody validator

func (b *validBody) Next() ([]byte, error) {
	v := (*validator)(b)
	switch {
	case v.closed > 0:
		return nil, v.fail(&ruleNext, "Next was called after Close")
	case v.over != nil:
		return nil, v.fail(&ruleNext, "Next was called after the error %q", v.over)
	}
	v.takeBack()
	if v.failed != nil {
		return nil, v.failed
	}
	v.declared = false
	left := v.left()
	chunk, err := v.body.Next()
	if v.declared && v.failed == nil {
		v.sizes()
		_ = v.agree()
	}
	v.pulled += int64(len(chunk))
	if v.failed == nil {
		_ = v.count(len(chunk))
	}
	if v.failed == nil {
		_ = v.waits(err)
	}
	if taken := left - v.left(); v.failed == nil && taken != int64(len(chunk)) && v.file != nil && FileOf(v.body) == v.file {
		_ = v.fail(&ruleWrapper, "Next gave %d bytes, and took %d of the file", len(chunk), taken)
	}
	if v.failed == nil && err == io.EOF {
		_ = v.whole()
	}
	if v.failed == nil && err == io.EOF && v.size >= 0 && !v.headOnly && v.pulled != v.size {
		_ = v.fail(&ruleAgrees, "the Body gave %d bytes, and its Len is %d", v.pulled, v.size)
	}
	if v.failed != nil {
		v.over = v.failed
		return nil, v.failed
	}
	if err != ErrWait {
		v.over = err
	}
	v.chunk, v.sum = chunk, maphash.Bytes(chunkSeed, chunk)
	v.lent = bytes.Clone(chunk)
	return v.lent, err
}

func (b *validBody) Close() error {
	v := (*validator)(b)
	if v.closed++; v.closed > 1 {
		return v.fail(&ruleClose, "it was closed %d times", v.closed)
	}
	defer v.env.release()
	was := v.failed
	v.takeBack()
	err := v.body.Close()
	if v.failed != was {
		return v.failed
	}
	return err
}

// left is how much of the file was not read, if the Body hands one on.
func (v *validator) left() (n int64) {
	if v.file != nil {
		_, _, n = v.file.Range()
	}
	return n
}

// waits checks a Next that may have said ErrWait.
func (v *validator) waits(err error) error {
	_, ready := v.body.(Ready)
	switch {
	case err != ErrWait:
		return nil
	case ready:
		return v.fail(&ruleReady, "Next returned ErrWait")
	case !v.env.lease.waker:
		return v.fail(&ruleWaker, "nobody has")
	}
	return nil
}

// takeBack looks whether somebody has written to the last chunk. What the server got
// is spoiled then, so that it shows if it was kept.
func (v *validator) takeBack() {
	switch {
	case v.chunk == nil:
		return
	case maphash.Bytes(chunkSeed, v.chunk) != v.sum:
		_ = v.fail(&ruleChunk, "it was written to")
	case !bytes.Equal(v.chunk, v.lent):
		_ = v.fail(&ruleLent, "the one that it got was written to")
	}
	spoil(v.lent)
	v.chunk, v.lent = nil, nil
}
