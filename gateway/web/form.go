package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"mime/multipart"
	"net/url"
	"syscall"

	"github.com/isbjorn/isbjorn/gateway"
)

// Form is the parsed content of a form.
type Form struct {
	Values url.Values
	Files  map[string][]*Upload // by the name of the field
}

// Upload is a file of a multipart form.
type Upload struct {
	// Name is the name of the file as the client sent it, without directories. It is not checked: it
	// may be "..", a hidden file, or the name of another upload.
	Name string

	Type string // Content-Type as the client sent it, unchecked
	Size int64  // bytes

	content io.ReaderAt
	off     int64
}

// Open returns a reader of the file from its beginning, valid until the request ends; after that a read
// may return os.ErrClosed. It needs no Close.
func (u *Upload) Open() *io.SectionReader { return io.NewSectionReader(u.content, u.off, u.Size) }

// partBytes is the memory of a part besides its text, in bytes: its places in the maps.
const partBytes = 400

// partHeadBytes is about the longest head of a part. A few hundred bytes are usual; package
// mime/multipart would read 10 MiB into memory. More: 413.
const partHeadBytes = 16 << 10

// boundaryBytesMax is the longest boundary, RFC 2046 section 5.1.1.
const boundaryBytesMax = 70

var (
	errFormType = &StatusError{Status: 415,
		Text: "the content is neither application/x-www-form-urlencoded nor multipart/form-data"}
	errMultipartType = &StatusError{Status: 415, Text: "the content is not multipart/form-data"}
	errBoundary      = &StatusError{Status: 400,
		Text: "the Content-Type multipart/form-data needs a boundary of 1 to 70 characters"}
	errFormBytes  = &StatusError{Status: 413, Text: "the form is larger than the option FormBytes"}
	errFormFields = &StatusError{Status: 413, Text: "the form has more pairs than the option Fields"}
	errFormParts  = &StatusError{Status: 413, Text: "the form has more parts than the option FormParts"}
	errFormValues = &StatusError{Status: 413, Text: "the values of the form are larger than the option FormValueBytes"}
	errPartHead   = &StatusError{Status: 413, Text: "the head of a part of the form is larger than 16 KiB"}
	errPartName   = &StatusError{Status: 400, Text: "a part of the form has no name"}
	errForm       = errors.New("the form is malformed")
)

// Form reads the content as a form: application/x-www-form-urlencoded or multipart/form-data (RFC 7578),
// else the error is a 415. It consumes the content; later calls return the same result.
//
// Files that do not fit into memory are in one temporary file, which is removed when the request ends. A
// form larger than the Options allow is a 413, a malformed one a 400, and files for which there is no
// room are a 503 or 507 (FormMemoryBytes); the Form is then nil.
func (r *Request) Form() (*Form, error) {
	if r.form == nil && r.formErr == nil {
		form, err := r.readForm()
		if err == nil {
			r.form = form
		}
		r.formErr = err
	}
	return r.form, r.formErr
}

func (r *Request) readForm() (*Form, error) {
	switch r.contentType() {
	case "application/x-www-form-urlencoded":
		return r.readPairs()
	case "multipart/form-data":
		return r.readParts()
	}
	return nil, errFormType
}

func (r *Request) contentType() string {
	kind, _, _ := mime.ParseMediaType(r.Header("Content-Type"))
	return kind
}

// readPairs reads a urlencoded form.
func (r *Request) readPairs() (*Form, error) {
	switch in := r.Input(); {
	case !in.Limit(r.options.FormBytes, errFormBytes):
		return nil, errFormBytes
	case !in.Limit(int64(r.options.FormValueBytes), errFormValues):
		return nil, errFormValues
	}
	b, err := r.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	values, err := parsePairs(string(b), r.options.Fields, errFormFields, errForm)
	return &Form{Values: values}, err
}

// readParts reads a multipart form.
func (r *Request) readParts() (*Form, error) {
	form := &Form{Values: url.Values{}, Files: map[string][]*Upload{}}
	values, files := int64(r.options.FormValueBytes), int64(r.options.FormMemoryBytes) // unused room, in bytes
	for part, err := range r.Parts() {
		if err != nil {
			return nil, err
		}
		if values -= partBytes + part.headBytes(); values < 0 {
			return nil, errFormValues
		}
		room := &values
		if part.Name != "" {
			room = &files
		}
		b, err := io.ReadAll(io.LimitReader(part, *room+1))
		if err != nil {
			return nil, err
		}
		fits := int64(len(b)) <= *room
		if fits {
			*room -= int64(len(b))
		}
		switch {
		case part.Name == "" && !fits:
			return nil, errFormValues
		case part.Name == "":
			form.Values.Add(part.Field, string(b))
			continue
		}
		upload := &Upload{Name: part.Name, Type: part.Type, Size: int64(len(b)), content: bytes.NewReader(b)}
		if !fits {
			if err := r.spill(upload, b, part); err != nil {
				return nil, err
			}
		}
		form.Files[part.Field] = append(form.Files[part.Field], upload)
	}
	return form, nil
}

// spill writes an upload to the temporary file: its first bytes b, and the rest of part.
func (r *Request) spill(u *Upload, b []byte, part *Part) error {
	if r.temp == nil {
		f, err := r.TempFile(r.options.TempDir)
		if err != nil {
			return tempError(err)
		}
		r.temp = f
		context.AfterFunc(r.Context(), func() { _ = f.Close() }) // harmless after Close
	}
	rest := &errReader{r: part}
	n, err := io.Copy(io.NewOffsetWriter(r.temp, r.tempBytes), io.MultiReader(bytes.NewReader(b), rest))
	switch {
	case rest.err != nil:
		return rest.err
	case err != nil:
		return tempError(err)
	}
	u.content, u.off, u.Size = r.temp, r.tempBytes, n
	r.tempBytes += n
	return nil
}

// tempError is the error of a temporary file: a 503 if all room is used, a 507 (RFC 4918 section 11.5) if
// the disk is full, as the server answers for content that it cannot store. The cause is for the log.
func tempError(err error) error {
	err = fmt.Errorf("web: a form with files of more than the option FormMemoryBytes cannot be stored "+
		"in the directory of the option TempDir: %w", err)
	switch {
	case errors.Is(err, gateway.ErrTempSpace), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &StatusError{Status: 503, Text: "the server has no room for more files now", Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &StatusError{Status: 507, Text: "there is no room for the files", Err: err}
	}
	return err
}

// Part is one part of a multipart form: a value, or a file, which has a Name. It is an io.Reader, valid
// until the iteration goes on to the next part. The errors of Read are those of Parts.
type Part struct {
	Field string // of the form
	Name  string // of the file, as in Upload; "" for a value
	Type  string // Content-Type as the client sent it, unchecked; may be empty

	part *multipart.Part
	form *formReader
}

// headBytes is the length of the head, in bytes: Field, Name and Type are parts of it, and keep all of it
// in memory.
func (p *Part) headBytes() (n int64) {
	for name, values := range p.part.Header {
		for _, value := range values {
			n += int64(len(name) + len(value))
		}
	}
	return n
}

func (p *Part) Read(b []byte) (int, error) {
	n, err := p.part.Read(b)
	if err != nil && err != io.EOF {
		err = p.form.statusOf(err)
	}
	return n, err
}

// formReader is the content of a multipart form.
type formReader struct {
	errReader
	headRoom int // bytes that the head of the next part may still have; -1 within a part
}

func (f *formReader) Read(p []byte) (int, error) {
	switch {
	case f.headRoom < 0:
		return f.errReader.Read(p)
	case f.headRoom == 0:
		f.err = errPartHead
		return 0, f.err
	}
	n, err := f.errReader.Read(p[:min(len(p), f.headRoom)])
	f.headRoom -= n
	return n, err
}

// next returns the part after last, which is nil for the first.
func (f *formReader) next(parts *multipart.Reader, last *multipart.Part) (*multipart.Part, error) {
	if last != nil { // the unread rest of it does not count as a head
		if _, err := io.Copy(io.Discard, last); err != nil {
			return nil, err
		}
	}
	f.headRoom = partHeadBytes
	defer func() { f.headRoom = -1 }()
	return parts.NextPart()
}

// statusOf returns err as an error of Parts: that of Input if reading failed, else a StatusError, since
// the content is malformed.
func (f *formReader) statusOf(err error) error {
	status := 400
	switch {
	case f.err != nil:
		return f.err
	case errors.Is(err, multipart.ErrMessageTooLarge): // the head of a part has too many fields
		status = 413
	}
	return &StatusError{Status: status, Text: errForm.Error(), Err: err}
}

// Parts yields the parts of a multipart/form-data as they come, for applications that store them
// elsewhere: no part is in memory or in a file. It consumes the content. An error ends the iteration: a
// 415, 413 or 400 as of Form. The options FormBytes and FormParts apply, and the head of a part has at
// most 16 KiB; the size of a part is for the application to limit.
func (r *Request) Parts() iter.Seq2[*Part, error] {
	return func(yield func(*Part, error) bool) {
		_, params, _ := mime.ParseMediaType(r.Header("Content-Type"))
		boundary := params["boundary"]
		switch {
		case r.contentType() != "multipart/form-data":
			yield(nil, errMultipartType)
			return
		case boundary == "" || len(boundary) > boundaryBytesMax:
			yield(nil, errBoundary)
			return
		case !r.Input().Limit(r.options.FormBytes, errFormBytes):
			yield(nil, errFormBytes)
			return
		}
		content := &formReader{errReader: errReader{r: r.Input()}, headRoom: -1}
		parts := multipart.NewReader(content, boundary)
		var part *multipart.Part
		var err error
		for n := 0; ; n++ {
			part, err = content.next(parts, part)
			switch {
			case err == io.EOF:
				return
			case err != nil:
				err = content.statusOf(err)
			case n == r.options.FormParts:
				err = errFormParts
			case part.FormName() == "":
				err = errPartName
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&Part{part.FormName(), part.FileName(), part.Header.Get("Content-Type"), part, content}, nil) {
				return
			}
		}
	}
}
