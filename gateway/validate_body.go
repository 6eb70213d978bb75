package gateway

import (
	"bytes"
	"hash/maphash"
	"io"
)

// validatedBody is the Body that the server gets: it returns a copy of each chunk.
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
	if v.startCalled && v.failed == nil { // in Next: Len may have changed with it
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
	if taken := left - v.fileLeft(); v.failed == nil && v.file != nil && taken != int64(len(chunk)) &&
		FileOf(v.body) == v.file { // else the Body has said meanwhile that it does not pass the file on
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

// fileLeft is how many bytes of the file were not read, if the Body has one.
func (v *validator) fileLeft() (n int64) {
	if v.file != nil {
		_, _, n = v.file.Range()
	}
	return n
}

// checkWait checks the error of a Next, which may be ErrWait.
func (v *validator) checkWait(err error) error {
	_, ready := v.body.(Ready)
	switch {
	case err != ErrWait:
		return nil
	case ready:
		return v.fail(&ruleReady, "Next returned ErrWait")
	case !v.env.guard.wakerTaken:
		return v.fail(&ruleWaker, "it was not called")
	}
	return nil
}

// checkChunk checks that the last chunk was not written to: neither the application's, nor the copy
// that the server got. It then overwrites the copy, which a server must not keep.
func (v *validator) checkChunk() {
	switch {
	case v.chunk == nil:
		return
	case maphash.Bytes(chunkSeed, v.chunk) != v.sum:
		_ = v.fail(&ruleChunk, "its bytes have changed")
	case !bytes.Equal(v.chunk, v.sentCopy):
		_ = v.fail(&ruleReadOnly, "the bytes of the one that it got have changed")
	}
	poison(v.sentCopy)
	v.chunk, v.sentCopy = nil, nil
}
