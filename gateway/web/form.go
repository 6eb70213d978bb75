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

// Form is the content of a form that was sent by POST.
type Form struct {
	Values url.Values
	Files  map[string][]*Upload // by the name of their field
}

// Upload is a file of a multipart form.
type Upload struct {
	// Name is the file's name as the client gave it, without directories. It may
	// still be anything: "..", a hidden file, a name that another has.
	Name string

	Type string // Content-Type as the client gave it, unchecked
	Size int64  // bytes

	content io.ReaderAt
	off     int64
}

// Open reads the file from its beginning, each time it is called, until the request
// ends; after that a read may be os.ErrClosed. There is nothing to close.
func (u *Upload) Open() *io.SectionReader { return io.NewSectionReader(u.content, u.off, u.Size) }

// partBytes is what a part costs besides its text: its places in the maps.
const partBytes = 400

// partHeadBytes is the longest head of a part, about: some hundred bytes are usual, and
// package mime/multipart would take 10 MiB, in memory. More: 413.
const partHeadBytes = 16 << 10

// boundaryBytesMax is the longest boundary, RFC 2046 section 5.1.1.
const boundaryBytesMax = 70

var (
	errFormType   = &StatusError{Status: 415, Text: "the content is neither application/x-www-form-urlencoded nor multipart/form-data"}
	errPartsType  = &StatusError{Status: 415, Text: "the content is not multipart/form-data"}
	errBoundary   = &StatusError{Status: 400, Text: "the Content-Type multipart/form-data needs a boundary of 1 to 70 characters"}
	errFormBytes  = &StatusError{Status: 413, Text: "the form is larger than the option FormBytes"}
	errFormFields = &StatusError{Status: 413, Text: "the form has more pairs than the option Fields"}
	errFormParts  = &StatusError{Status: 413, Text: "the form has more parts than the option FormParts"}
	errFormValues = &StatusError{Status: 413, Text: "the values of the form are larger than the option FormValueBytes"}
	errPartHead   = &StatusError{Status: 413, Text: "the head of a part of the form is larger than 16 KiB"}
	errPartName   = &StatusError{Status: 400, Text: "a part of the form has no name"}
	errForm       = errors.New("the form is malformed")
)

// Form reads the content as a form: application/x-www-form-urlencoded or
// multipart/form-data (RFC 7578), else the error is a 415. It takes the content, and
// gives the same result again when it is asked again.
//
// Files that do not fit into memory are in one temporary file, which is removed when
// the request ends. What is more than the Options allow is a 413, what is malformed a
// 400, files for which there is no room a 503 or 507 (FormMemoryBytes); the Form is then
// nil.
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
	values, files := int64(r.options.FormValueBytes), int64(r.options.FormMemoryBytes) // what room is left
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

// spill moves an upload to the temporary file: the bytes b of it, and what is left
// of part.
func (r *Request) spill(u *Upload, b []byte, part *Part) error {
	if r.temp == nil {
		f, err := r.TempFile(r.options.TempDir)
		if err != nil {
			return notKept(err)
		}
		r.temp = f
		context.AfterFunc(r.Context(), func() { _ = f.Close() }) // unless Close has
	}
	rest := &noted{r: part}
	n, err := io.Copy(io.NewOffsetWriter(r.temp, r.tempBytes), io.MultiReader(bytes.NewReader(b), rest))
	switch {
	case rest.err != nil:
		return rest.err
	case err != nil:
		return notKept(err)
	}
	u.content, u.off, u.Size = r.temp, r.tempBytes, n
	r.tempBytes += n
	return nil
}

// notKept is why a file of a form cannot be kept, and answered as content that the server
// cannot keep. 507 is RFC 4918 section 11.5. The cause is for the log.
func notKept(err error) error {
	err = fmt.Errorf("web: a form with files of more than the option FormMemoryBytes cannot be kept in the directory of the option TempDir: %w", err)
	switch {
	case errors.Is(err, gateway.ErrTempSpace), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &StatusError{Status: 503, Text: "the server has no room for more files now", Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &StatusError{Status: 507, Text: "there is no room for the files", Err: err}
	}
	return err
}

// Part is one part of a multipart form: a value, or a file, which has a Name. It is
// read like any io.Reader, as long as the next part was not asked for. An error of
// Read is that of Parts.
type Part struct {
	Field string // of the form
	Name  string // of the file, as in Upload; "" for a value
	Type  string // Content-Type as the client gave it, unchecked; may be empty

	part *multipart.Part
	form *formReader
}

// headBytes is the length of the head, of which Field, Name and Type may be small parts that
// keep all of it in memory.
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
		err = p.form.blame(err)
	}
	return n, err
}

// formReader is the content of a multipart form.
type formReader struct {
	noted
	room int // bytes that the head of the next part may still take; -1 within a part
}

func (f *formReader) Read(p []byte) (int, error) {
	switch {
	case f.room < 0:
		return f.noted.Read(p)
	case f.room == 0:
		f.err = errPartHead
		return 0, f.err
	}
	n, err := f.noted.Read(p[:min(len(p), f.room)])
	f.room -= n
	return n, err
}

// next is the part behind last, which is nil for the first.
func (f *formReader) next(parts *multipart.Reader, last *multipart.Part) (*multipart.Part, error) {
	if last != nil { // what of it was not read is no head
		if _, err := io.Copy(io.Discard, last); err != nil {
			return nil, err
		}
	}
	f.room = partHeadBytes
	defer func() { f.room = -1 }()
	return parts.NextPart()
}

// blame is whose the error err is: that of reading the content, or the client's, who
// sent what is no form.
func (f *formReader) blame(err error) error {
	status := 400
	switch {
	case f.err != nil:
		return f.err
	case errors.Is(err, multipart.ErrMessageTooLarge): // the head of a part has too many fields
		status = 413
	}
	return &StatusError{Status: status, Text: errForm.Error(), Err: err}
}

// Parts yields the parts of a multipart/form-data one after the other, for
// applications that store them elsewhere as they read, so that they are never held
// here. It takes the content. The first error is the last that is yielded: a 415, 413
// or 400 as in Form. Of the options FormBytes and FormParts count, and the head of a part
// has 16 KiB at most; how large a part is, is the application's to limit.
func (r *Request) Parts() iter.Seq2[*Part, error] {
	return func(yield func(*Part, error) bool) {
		_, params, _ := mime.ParseMediaType(r.Header("Content-Type"))
		boundary := params["boundary"]
		switch {
		case r.contentType() != "multipart/form-data":
			yield(nil, errPartsType)
			return
		case boundary == "" || len(boundary) > boundaryBytesMax:
			yield(nil, errBoundary)
			return
		case !r.Input().Limit(r.options.FormBytes, errFormBytes):
			yield(nil, errFormBytes)
			return
		}
		content := &formReader{noted: noted{r: r.Input()}, room: -1}
		parts := multipart.NewReader(content, boundary)
		var part *multipart.Part
		var err error
		for n := 0; ; n++ {
			part, err = content.next(parts, part)
			switch {
			case err == io.EOF:
				return
			case err != nil:
				err = content.blame(err)
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
