//go:build !purego

package parser

import "golang.org/x/sys/cpu"

// canTakeLines reports whether takeLines may be called.
var canTakeLines = cpu.X86.HasAVX2 && cpu.X86.HasBMI1 && cpu.X86.HasBMI2

//go:noescape
func takeLines(b *byte, n, from int, fields *Field, room int) (next, left, hostEnd int)

// markGroup is a set of bytes: all that have their high half in one set of 16 and
// their low half in another. Bit h of high, bit l of low is for the byte 16*h+l.
type markGroup struct{ high, low uint16 }

// markGroups are together what is not plain. Those from 5 on, and they alone, may
// not be in a value. No field name and no host has any of these, so it does not
// matter that some could: fieldLines and hostPort know better.
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

// markTables are what the groups of a byte c are looked up in: bit k of
// high[c>>4] & low[c&15] is set if c is in group k.
var markTables = func() (t struct{ low, high [16]byte }) {
	for k, g := range markGroups {
		for half := range 16 {
			t.low[half] |= byte(g.low>>half&1) << k
			t.high[half] |= byte(g.high>>half&1) << k
		}
	}
	return t
}()
