//go:build !purego

package parser

import "golang.org/x/sys/cpu"

// canTakeLines reports whether takeLines may be called.
var canTakeLines = cpu.X86.HasAVX2 && cpu.X86.HasBMI1 && cpu.X86.HasBMI2

// takeLines scans field lines from b[from:n] and stores at most room of them in fields. It
// returns where it stopped, the room left, and the end of the plain bytes of a Host value.
//
//go:noescape
func takeLines(b *byte, n, from int, fields *Field, room int) (next, left, hostEnd int)

// markGroup is a set of bytes: all whose high half is in one set of 16 and whose low half is
// in another. The byte 16*h+l is in it if bit h of high and bit l of low are set.
type markGroup struct{ high, low uint16 }

// markGroups together are the bytes that are not plain. Groups 5 to 7, and only these, are
// not allowed in a value. takeLines stops at every marked byte of a name or host; a few are
// allowed there, such as '|' in a name, and then fieldLines or hostPort parses the line.
var markGroups = [8]markGroup{
	0: {0xff00, 0xffff},             // 0x80 and up
	1: {1<<5 | 1<<7, 0x7800},        // [ \ ] ^ { | } ~
	2: {1<<4 | 1<<6, 1 << 0},        // @ `
	3: {1 << 3, 0xfc00},             // : ; < = > ?
	4: {1<<0 | 1<<2, 0x932d},        // SP " # % ( ) , / and, below, HTAB and controls
	5: {1 << 7, 1 << 0xf},           // DEL
	6: {1 << 1, 0xffff},             // controls
	7: {1 << 0, 0xffff &^ (1 << 9)}, // controls, CR and LF too, but not HTAB
}

// markTables give the groups of a byte c (two PSHUFB): bit k of high[c>>4] & low[c&15] is
// set if c is in group k.
var markTables = func() (t struct{ low, high [16]byte }) {
	for k, g := range markGroups {
		for half := range 16 {
			t.low[half] |= byte(g.low>>half&1) << k
			t.high[half] |= byte(g.high>>half&1) << k
		}
	}
	return t
}()
