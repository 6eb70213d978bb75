//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// The groups of a byte, taken as a number, are 0x20 or more if group 5, 6 or 7 is among
// them. Adding 0x60 with saturation sets bit 7 then.
DATA valueGroups<>+0(SB)/8, $0x6060606060606060
GLOBL valueGroups<>(SB), RODATA|NOPTR, $8

DATA halves<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL halves<>(SB), RODATA|NOPTR, $8

// MARK sets a bit of isPlain and of notValue for each of the 32 bytes at p.
//
// The groups of a byte are the AND of two table lookups (VPSHUFB), by its low and by its
// high half. A byte without groups is plain.
//
//	Y0 zero, Y1 markTables.low, Y2 markTables.high, Y3 halves, Y4 valueGroups
#define MARK(p, isPlain, notValue) \
	VMOVDQU   p, Y5             \
	VPSRLW    $4, Y5, Y6        \
	VPAND     Y3, Y6, Y6        \
	VPAND     Y3, Y5, Y5        \
	VPSHUFB   Y5, Y1, Y5        \
	VPSHUFB   Y6, Y2, Y6        \
	VPAND     Y5, Y6, Y5        \
	VPCMPEQB  Y0, Y5, Y6        \
	VPMOVMSKB Y6, isPlain      \
	VPADDUSB  Y4, Y5, Y5        \
	VPMOVMSKB Y5, notValue

// The registers of takeLines.
#define base   SI  // where b begins
#define length R8  // of b
#define block  R9  // offset of the 64 bytes that are marked
#define plain  R10 // their marks that are still ahead: bytes that are not plain
#define value  R11 // the same: bytes that are not allowed in a value; none of them is plain
#define line   R12 // offset of the present line
#define colon  AX  // offset of its colon
#define end    BX  // offset of the LF that ends it
#define field  DI  // the Field to store
#define free   R13 // how many more fields there may be
#define seek   DX  // what the next mark is to be: 0 a colon, 1 an end
#define beyond R15 // -4: shifted left by k, all bits from k+2 on

// func takeLines(b *byte, n, from int, fields *Field, room int) (next, left, hostEnd int)
TEXT ·takeLines(SB), NOSPLIT, $0-64
	MOVQ b+0(FP), base
	MOVQ n+8(FP), length
	MOVQ from+16(FP), line
	MOVQ fields+24(FP), field
	MOVQ room+32(FP), free
	MOVQ $0, hostEnd+56(FP)

	VBROADCASTI128 ·markTables+0(SB), Y1
	VBROADCASTI128 ·markTables+16(SB), Y2
	VPBROADCASTQ   halves<>(SB), Y3
	VPBROADCASTQ   valueGroups<>(SB), Y4
	VPXOR          Y0, Y0, Y0
	MOVQ           $-4, beyond
	XORL           seek, seek
	MOVQ           line, block
	JMP            mark

next64:
	ADDQ $64, block

mark: // the 64 bytes from block on, or what is left
	MOVQ length, CX
	SUBQ block, CX
	CMPQ CX, $64
	JLT  rest
	MARK((base)(block*1), plain, value)
	MARK(32(base)(block*1), CX, R14)
	SHLQ $32, CX
	SHLQ $32, R14
	ORQ  CX, plain
	ORQ  R14, value
	NOTQ plain

marked:
	TESTL seek, seek
	JNE   seekEnd

seekColon:
	TESTQ  plain, plain
	JEQ    next64
	TZCNTQ plain, colon
	ADDQ   block, colon
	CMPQ   colon, line
	JEQ    done // no name: the end of the head, or a line that is not plain
	MOVL   $1, seek

seekEnd:
	TESTQ  value, value
	JEQ    next64
	TZCNTQ value, end
	LEAQ   1(block)(end*1), end
	CMPQ   end, length
	JGE    done
	CMPB   (base)(colon*1), $':'
	JNE    done
	CMPW   -1(base)(end*1), $0x0a0d // CRLF
	JNE    done
	MOVQ   colon, CX
	SUBQ   line, CX
	MOVW   line, (Field_Name+Span_Off)(field)
	MOVW   CX, (Field_Name+Span_Len)(field)
	LEAQ   -1(end), R14

leading: // in a value the only bytes up to SP are SP and HTAB: whitespace
	INCQ colon
	CMPB (base)(colon*1), $' '
	JHI  trailing
	CMPQ colon, R14
	JNE  leading
	JMP  trimmed

shorter:
	DECQ R14

trailing:
	CMPB -1(base)(R14*1), $' '
	JLS  shorter

trimmed:
	MOVW colon, (Field_Value+Span_Off)(field)
	SUBQ colon, R14
	MOVW R14, (Field_Value+Span_Len)(field)
	ADDQ $Field__size, field
	CMPQ CX, $4
	JEQ  host

after:
	LEAQ   1(end), line
	DECQ   free
	JEQ    done
	XORL   seek, seek
	TZCNTQ value, CX
	CMPQ   CX, $62
	JGE    fresh
	SHLXQ  CX, beyond, CX // usually the next line begins in this block
	ANDQ   CX, plain
	ANDQ   CX, value
	JMP    seekColon

host: // a name of 4 bytes, possibly Host: how far is the value plain?
	MOVQ   colon, CX
	SUBQ   block, CX
	JLT    after
	SHRXQ  CX, plain, CX
	TZCNTQ CX, CX
	ADDQ   colon, CX
	MOVQ   CX, hostEnd+56(FP)
	JMP    after

fresh:
	MOVQ line, block
	JMP  mark

rest: // the last CX bytes, 0 to 63; some of the last 32 of them may be marked a second time
	MOVQ  $-1, plain
	MOVQ  $-1, value
	TESTQ CX, CX
	JEQ   marked
	SHLQ  CX, plain // bytes beyond the end are marked
	MOVQ  plain, value
	MARK(-32(base)(length*1), R14, BX)
	NOTL  R14
	SUBQ  $32, CX
	JLT   few
	SHLQ  CX, R14
	SHLQ  CX, BX
	ORQ   R14, plain
	ORQ   BX, value
	MARK((base)(block*1), R14, BX)
	NOTL  R14
	JMP   join

few: // fewer than 32 bytes: drop the marks of those before them
	NEGQ CX
	SHRQ CX, R14
	SHRQ CX, BX

join:
	ORQ R14, plain
	ORQ BX, value
	JMP marked

done:
	VZEROUPPER
	MOVQ line, next+40(FP)
	MOVQ free, left+48(FP)
	RET
