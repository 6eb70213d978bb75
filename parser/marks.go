package parser

import "math/bits"

// Where the machine looks at 32 bytes at once, one pass over the field lines marks
// the bytes that may end a name or a value, a bit for each, and a line is then two
// look-ups in those bits. The marks only say where to look: what stands there is
// decided here. A line that is not plainly good, or not yet whole, is left to
// fieldLines, which knows all the rules and takes 8 bytes at a time; without such a
// machine it takes every line.
//
// Marks are made for a window at a time. The first one is short: where small
// requests come in a pipeline, what lies behind the head is marked for nothing.
const (
	vectorBytes      = 32 // looked at at once
	blockBytes       = 64 // bits in a word of marks
	windowBlocks     = 8
	windowBytes      = windowBlocks * blockBytes
	firstWindowBytes = 2 * blockBytes
)

// markWords hold the marks of a window: bit i%64 of word i/64 is about byte i.
// From the end of the window on all bits are set, one word of them at least.
type markWords [windowBlocks + 1]uint64

// marks are what one call of Parse works with; nothing of them is kept for the
// next. markBytes makes them.
type marks struct {
	plain markWords // set for all that is not plain: in any token and in any host
	value markWords // set for what ends a value or may not be in it; none of it is plain
}

// next returns the first marked place from i on. There is one: i is at most the
// length of the window.
func (m *markWords) next(i int) int {
	block := uint(i) / blockBytes
	if word := m[block] >> (uint(i) % blockBytes); word != 0 {
		return i + bits.TrailingZeros64(word)
	}
	for {
		block++
		if word := m[block]; word != 0 {
			return int(block*blockBytes) + bits.TrailingZeros64(word)
		}
	}
}

// wholeLines takes field lines, from the one at line on, as long as they are whole,
// plainly good and within the limits, and returns where the next one begins. Every
// byte is marked once, but for the first part of a name that a window cuts.
func (r *Request) wholeLines(b []byte, line int, lim *Limits) int {
	if line == len(b) || len(b) < vectorBytes {
		return line
	}
	m := &r.marks
	base, edge := line, min(len(b), line+firstWindowBytes) // the window is b[base:edge]
	markBytes(m, &b[base], edge-base)
	most := min(lim.Fields, FieldsMax)
	count := int(r.count)
	for count < most {
		colon := base + m.plain.next(line-base) // it comes before end: that is not plain either
		end := base + m.value.next(line-base)
		for end+len("\n") >= edge && edge < len(b) {
			// The line goes on behind the window: move that to what is new.
			switch {
			case colon < edge:
				base = min(end, edge)
			case line > base:
				base = line // the name in one piece
			default:
				r.count = uint8(count)
				return line
			}
			edge = min(len(b), base+windowBytes)
			markBytes(m, &b[base], edge-base)
			end = base + m.value.next(0)
			if base == line {
				colon = base + m.plain.next(0)
			}
		}
		if end+len("\n") >= edge || colon == line || b[colon] != ':' || b[end] != '\r' || b[end+1] != '\n' {
			break
		}
		first, last := colon+1, end
		if b[first] == ' ' {
			first++
		}
		if b[first] <= ' ' || b[last-1] <= ' ' {
			for first < last && isSpace(b[first]) {
				first++
			}
			for first < last && isSpace(b[last-1]) {
				last--
			}
		}
		f := &r.fields[count]
		f.Name = Span{uint16(line), uint16(colon - line)}
		f.Value = Span{uint16(first), uint16(last - first)}
		count++
		if mayBeKnown(b[line], colon-line) && r.note(b, f, uint8(count)) == Host && first >= base {
			r.hostPlain = uint16(base + m.plain.next(first-base) - first)
		}
		line = end + len("\r\n")
	}
	r.count = uint8(count)
	return line
}
