//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// What a byte must reach, its groups taken as a number, to have group 5, 6 or 7,
// when 0x60 is added: then bit 7 is set, and saturation keeps it.
DATA valueGroups<>+0(SB)/8, $0x6060606060606060
GLOBL valueGroups<>(SB), RODATA|NOPTR, $8

DATA halves<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL halves<>(SB), RODATA|NOPTR, $8

// MARK sets a bit of notPlain and of notValue for each of the 32 bytes at p.
//
// A byte's groups are the AND of two look-ups (VPSHUFB), by its low and by its high
// half: none at all means plain.
//
//	Y0 zero, Y1 markTables.low, Y2 markTables.high, Y3 halves, Y4 valueGroups
#define MARK(p, notPlain, notValue) \
	VMOVDQU   p, Y5             \
	VPSRLW    $4, Y5, Y6        \
	VPAND     Y3, Y6, Y6        \
	VPAND     Y3, Y5, Y5        \
	VPSHUFB   Y5, Y1, Y5        \
	VPSHUFB   Y6, Y2, Y6        \
	VPAND     Y5, Y6, Y5        \
	VPCMPEQB  Y0, Y5, Y6        \
	VPMOVMSKB Y6, notPlain      \
	NOTL      notPlain          \
	VPADDUSB  Y4, Y5, Y5        \
	VPMOVMSKB Y5, notValue

// func markBytes(m *marks, p *byte, n int)
TEXT ·markBytes(SB), NOSPLIT, $0-24
	MOVQ m+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX

	VBROADCASTI128 ·markTables+0(SB), Y1
	VBROADCASTI128 ·markTables+16(SB), Y2
	VPBROADCASTQ   halves<>(SB), Y3
	VPBROADCASTQ   valueGroups<>(SB), Y4
	VPXOR          Y0, Y0, Y0
	MOVQ           $-1, R12

	SUBQ $64, CX
	JLT  rest

block: // 64 bytes make a word of each kind
	MARK((SI), AX, BX)
	MARK(32(SI), R8, R9)
	SHLQ $32, R8
	SHLQ $32, R9
	ORQ  R8, AX
	ORQ  R9, BX
	MOVQ AX, marks_plain(DI)
	MOVQ BX, marks_value(DI)
	ADDQ $8, DI
	ADDQ $64, SI
	SUBQ $64, CX
	JGE  block

rest: // 0 to 63 bytes, CX; the last 32 before their end may have been marked already
	ADDQ $64, CX
	JEQ  end
	MARK(-32(SI)(CX*1), R8, R9)
	MOVQ R12, R11
	SHLQ CX, R11 // what lies behind them
	SUBQ $32, CX
	JLT  few

	// 32 or more: those before the last 32 overlap them.
	MARK((SI), AX, BX)
	SHLQ CX, R8
	SHLQ CX, R9
	ORQ  AX, R8
	ORQ  BX, R9
	JMP  last

few: // fewer: drop what comes before them
	NEGQ CX
	SHRQ CX, R8
	SHRQ CX, R9

last:
	ORQ  R11, R8
	ORQ  R11, R9
	MOVQ R8, marks_plain(DI)
	MOVQ R9, marks_value(DI)
	ADDQ $8, DI

end: // all bits behind the window are set
	MOVQ R12, marks_plain(DI)
	MOVQ R12, marks_value(DI)
	VZEROUPPER
	RET
