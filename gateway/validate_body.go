package gateway

import (
	"bytes"
	"hash/maphash"
	"io"
)

// validBody is the Body that the server gets.
type validatedBody validator

func (b *validatedBody) Next() ([]byte, error) {
	v := (*validator)(b)
	switch {
	case v.closed > 0:
		return nil, v.fail(&ruleNext, "Next was called after Close")
	case v.ended != nil:
		return nil, v.fail(&ruleNext, "Next was called after the error %q", v.ended)
	}
	v.checkChunk()
	if v.failed != nil {
		return nil, v.failed
	}
	v.startCalled = false
	left := v.fileLeft()
	chunk, err := v.body.Next()
	if v.startCalled && v.failed == nil {
		v.readBodyLen()
		_ = v.checkLengths()
	}
	v.pulledBytes += int64(len(chunk))
	if v.failed == nil {
		_ = v.countContent(len(chunk))
	}
	if v.failed == nil {
		_ = v.checkWait(err)
	}
	if taken := left - v.fileLeft(); v.failed == nil && taken != int64(len(chunk)) && v.file != nil && FileOf(v.body) == v.file {
		_ = v.fail(&ruleWrapper, "Next gave %d bytes, and took %d of the file", len(chunk), taken)
	}
	if v.failed == nil && err == io.EOF {
		_ = v.checkComplete()
	}
	if v.failed == nil && err == io.EOF && v.bodyLen >= 0 && !v.isHEAD && v.pulledBytes != v.bodyLen {
		_ = v.fail(&ruleLengths, "the Body gave %d bytes, and its Len is %d", v.pulledBytes, v.bodyLen)
	}
	if v.failed != nil {
		v.ended = v.failed
		return nil, v.failed
	}
	if err != ErrWait {
		v.ended = err
	}
	v.chunk, v.sum = chunk, maphash.Bytes(chunkSeed, chunk)
	v.sentCopy = bytes.Clone(chunk)
	return v.sentCopy, err
}

func (b *validatedBody) Close() error {
	v := (*validator)(b)
	if v.closed++; v.closed > 1 {
		return v.fail(&ruleClose, "it was closed %d times", v.closed)
	}
	defer v.env.expire()
	was := v.failed
	v.checkChunk()
	err := v.body.Close()
	if v.failed != was {
		return v.failed
	}
	return err
}

// left is how much of the file was not read, if the Body hands one on.
func (v *validator) fileLeft() (n int64) {
	if v.file != nil {
		_, _, n = v.file.Range()
	}
	return n
}

// waits checks a Next that may have said ErrWait.
func (v *validator) checkWait(err error) error {
	_, ready := v.body.(Ready)
	switch {
	case err != ErrWait:
		return nil
	case ready:
		return v.fail(&ruleReady, "Next returned ErrWait")
	case !v.env.guard.wakerTaken:
		return v.fail(&ruleWaker, "nobody has")
	}
	return nil
}

// takeBack looks whether somebody has written to the last chunk. What the server got
// is spoiled then, so that it shows if it was kept.
func (v *validator) checkChunk() {
	switch {
	case v.chunk == nil:
		return
	case maphash.Bytes(chunkSeed, v.chunk) != v.sum:
		_ = v.fail(&ruleChunk, "it was written to")
	case !bytes.Equal(v.chunk, v.sentCopy):
		_ = v.fail(&ruleReadOnly, "the one that it got was written to")
	}
	poison(v.sentCopy)
	v.chunk, v.sentCopy = nil, nil
}
