// A kernel of a few instructions, entered by PVH: writes '!' to the first serial port and halts. It shows how long a
// machine takes to its guest's first instruction. PVH: Xen, docs/misc/pvh.pandoc; 32-bit protected mode, no paging.
        .section .note.Xen, "a", @note
        .long   4, 4, 18                // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   _start

        .text
        .code32
        .globl  _start
_start: movw    $0x3f8, %dx
        movb    $'!', %al
        outb    %al, %dx
        movb    $'\n', %al
        outb    %al, %dx
halt:   cli
        hlt
        jmp     halt

        .section .note.GNU-stack, "", @progbits
