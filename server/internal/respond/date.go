package respond

import (
	"net/http"
	"time"
)

// Date is the Server and Date fields of a server, rendered once a second.
type Date struct {
	name   string
	line   []byte // "Server: ...\r\nDate: ...\r\n"
	offset int    // of Date in line
	second int64  // of line, Unix time
}

// NewDate makes one for a server with this name; "" sends no Server field. Update comes before its use.
func NewDate(name string) Date { return Date{name: name, second: -1} }

// Update renders the fields, if another second has begun.
func (d *Date) Update(now time.Time) {
	if now.Unix() == d.second {
		return
	}
	d.second = now.Unix()
	d.line = d.line[:0]
	if d.name != "" {
		d.line = append(d.line, "Server: "...)
		d.line = append(d.line, d.name...)
		d.line = append(d.line, "\r\n"...)
	}
	d.offset = len(d.line)
	d.line = append(d.line, "Date: "...)
	d.line = now.UTC().AppendFormat(d.line, http.TimeFormat)
	d.line = append(d.line, "\r\n"...)
}

// Second is the second that Update has rendered, Unix time.
func (d *Date) Second() int64 { return d.second }
