; Task switches by JMP, CALL, IRET, interrupts and task gates. Intel SDM vol. 3 §7 (edition 085).
; mode: protected32
%include "guest.inc"
bits 32

NEW_TSS equ DATA + 0x1000       ; limit 67H
NEW_STACK equ 0x3400
FREE2 equ FREE + 8
TASK_GATE equ FREE + 16
OLD_RIGHTS equ gdt + TSS + 5
NEW_RIGHTS equ gdt + FREE + 5
%define T(offset) (NEW_TSS + offset)
T_LINK equ 0
T_CR3 equ 28
T_EIP equ 32
T_EFLAGS equ 36
T_EAX equ 40
T_ESP equ 56
T_ES equ 72
T_CS equ 76
T_SS equ 80
T_DS equ 84
T_FS equ 88
T_GS equ 92
T_LDT equ 96
T_TRAP equ 100

; A 32-bit task at NEW_TSS (selector FREE) that starts at a label with EAX = 0x77.
%macro new_task 1-2 2
  mov dword [gdt + FREE], (NEW_TSS & 0xffff) << 16 | 0x67
  mov dword [gdt + FREE + 4], (NEW_TSS >> 16) | RIGHTS_TSS << 8
  mov eax, cr3
  mov [T(T_CR3)], eax
  mov dword [T(T_EIP)], %1
  mov dword [T(T_EFLAGS)], %2
  mov dword [T(T_EAX)], 0x77
  mov dword [T(T_ESP)], NEW_STACK
  mov dword [T(T_ES)], FLAT
  mov dword [T(T_CS)], CODE32
  mov dword [T(T_SS)], FLAT
  mov dword [T(T_DS)], FLAT
  mov dword [T(T_FS)], FLAT
  mov dword [T(T_GS)], 0
  mov word [T(T_TRAP) + 2], 0x68
  mov dword [T(4)], INNER_STACK
  mov dword [T(8)], FLAT
%endmacro

; ---- JMP ----

; The old task's registers are saved, EIP behind the jump; its busy bit goes, the new one's comes; TS is set; no link, no NT.
; mode: protected32 | pae32
; expect: eax=0x77, ebx=0, tr=FREE, esp=NEW_STACK, byte[OLD_RIGHTS]=RIGHTS_TSS, byte[NEW_RIGHTS]=RIGHTS_TSS|2, cr0&CR0_TS=CR0_TS,
;    dword[tss+T_EIP]=.after, dword[tss+T_EAX+12]=0x1234, dword[tss+T_ESP]=KERNEL_STACK, word[tss+T_CS]=CODE32, rflags&NT=0,
;    word[NEW_TSS]=0, dword[tss+T_EFLAGS]&ZF|NT=ZF, gs=0, ds=FLAT
jump_to_task:
  new_task .task
  mov ebx, 0x1234
  xor eax, eax
  jmp FREE:0xdeadbeef
.after:
.task:
  done

; Through a task gate; its DPL counts, not the TSS's.
; events: int(0x80)
; expect: e0.cs=CODE32, tr=FREE
jump_through_task_gate:
  new_task .task
  store_gate gdt + TASK_GATE, FREE, 0, RIGHTS_TASK | DPL3
  enter_user .user
.user:
  jmp (TASK_GATE | 3):0
.task:
  int 0x80

; ---- CALL and IRET ----

; CALL links the tasks and sets NT; both are busy. IRET goes back; the registers come from the TSS.
; expect: eax=0x5555, ebx=0x1234, tr=TSS, ecx&NT=NT, edx=TSS, byte[OLD_RIGHTS]=RIGHTS_TSS|2, byte[NEW_RIGHTS]=RIGHTS_TSS,
;    dword[T_EIP_SAVED]=.returned, dword[T_EFLAGS_SAVED]&NT=0, dword[DATA]=RIGHTS_TSS|2, rflags&NT=0, esi=FREE
call_and_return:
  new_task .task
  mov ebx, 0x1234
  mov eax, 0x5555
  call FREE:0
  mov ecx, [DATA + 4]
  mov edx, [NEW_TSS]
  mov esi, [DATA + 8]
  done
.task:
  mov al, [OLD_RIGHTS]
  movzx eax, al
  mov [DATA], eax
  pushfd
  pop dword [DATA + 4]
  xor eax, eax
  str ax
  mov [DATA + 8], eax
  iretd
.returned:
  ud2
T_EIP_SAVED equ NEW_TSS + T_EIP
T_EFLAGS_SAVED equ NEW_TSS + T_EFLAGS

; IRET with NT and a link that is not a busy TSS.
; events: #TS(0), #TS(FLAT), #TS(FREE), #TS(BEYOND), #TS(LDT+4)
iret_bad_link:
  new_task .end
  push dword NT | 2
  popfd
  %macro try_link 1
    mov word [tss], %1
    attempt iretd
  %endmacro
  try_link 0
  try_link FLAT
  try_link FREE                                 ; available
  try_link BEYOND
  try_link LDT | 4
.end:
  done

; ---- interrupts through task gates ----

; The handler is a task: no frame, but an error code on its stack.
; events: int(0x80)
; expect: eax=0x77, ebx=0x20a, ecx=NEW_STACK-4, tr=FREE, word[NEW_TSS]=TSS, dword[tss+T_EIP]=.bad, dword[tss+T_EFLAGS]&RF=RF, e0.rflags&NT=NT
fault_to_task:
  new_task .task
  mov byte [IDT + 0x41 * 8 + 5], 0
  store_gate IDT + 13 * 8, FREE, 0, RIGHTS_TASK
.bad:
  int 0x41
.task:
  mov ebx, [esp]
  mov ecx, esp
  int 0x80

; INT n and back: execution goes on behind it.
; expect: eax=2, ebx=3, tr=TSS, byte[NEW_RIGHTS]=RIGHTS_TSS
software_interrupt_to_task:
  new_task .task
  store_gate IDT + 0x41 * 8, FREE, 0, RIGHTS_TASK
  xor eax, eax
  int 0x41
.more:
  inc eax
  cmp eax, 2
  je .end
  int 0x41
  jmp .more
.end:
  mov ebx, [DATA]
  done
.task:
  add dword [DATA], 2
  iretd
  add dword [DATA], 1                           ; the task goes on behind its IRET
  iretd

; A double fault with its own task survives a broken stack.
; expect: eax=0x77, ebx=0, tr=FREE, dword[tss+T_ESP]=0x10, ecx=NEW_STACK-4
double_fault_task:
  new_task .task
  store_gate IDT + 8 * 8, FREE, 0, RIGHTS_TASK
  store8 gdt + FREE2, DESCRIPTOR(0, 0xfff, RIGHTS_DATA | 4 | BIG)
  mov ax, FREE2
  mov ss, ax
  mov esp, 0x10
  push eax
.task:
  mov ebx, [esp]
  mov ecx, esp
  done

; The gate's target: busy, no TSS, local, not present.
; events: #GP(FREE), #GP(FLAT), #GP(LDT+4), #NP(FREE), #GP(0)
; expect: tr=TSS
task_gate_refused:
  new_task .end
  %macro try_task_gate 1
    store_gate IDT + 0x41 * 8, %1, 0, RIGHTS_TASK
    attempt int 0x41
  %endmacro
  mov byte [NEW_RIGHTS], RIGHTS_TSS | 2
  try_task_gate FREE
  try_task_gate FLAT
  try_task_gate LDT | 4
  mov byte [NEW_RIGHTS], RIGHTS_TSS & ~PRESENT
  try_task_gate FREE
  try_task_gate 0
.end:
  done

; ---- checks before the switch: faults of the old task ----

; Busy, not present, too short, privilege; nothing has changed.
; events: #GP(FREE), #NP(FREE), #TS(FREE), #GP(FREE), #GP(FREE), int(0x80)
; expect: tr=TSS, byte[OLD_RIGHTS]=RIGHTS_TSS|2
task_switch_refused:
  new_task .end
  mov byte [NEW_RIGHTS], RIGHTS_TSS | 2
  attempt jmp FREE:0
  mov byte [NEW_RIGHTS], RIGHTS_TSS & ~PRESENT
  attempt jmp FREE:0
  mov byte [NEW_RIGHTS], RIGHTS_TSS
  mov byte [gdt + FREE], 0x66
  attempt jmp FREE:0
  mov byte [gdt + FREE], 0x67
  attempt jmp (FREE | 1):0                      ; RPL above the TSS's DPL
  enter_user .user
.user:
  attempt call FREE:0
.end:
  int 0x80

; The new TSS lies in a page that is not there.
; mode: pae32
; events: #PF(0)
; expect: tr=TSS
task_in_absent_page:
  new_task .end
  mov word [gdt + FREE + 2], 0
  mov byte [gdt + FREE + 4], UNMAPPED >> 16
  attempt jmp FREE:0
.end:
  done

; ---- faults in the new task ----

; CS, SS and data segments are checked in the new task: TR, EIP and the saved state are already its. Its stack may not be usable
; yet, so the handler is a task of its own; what it finds: the error code, the link to the new task, and EIP in the new task's TSS.
HANDLER_TSS equ DATA + 0x2000
HANDLER equ FREE + 24
%macro fault_in_new_task 0
  mov dword [gdt + HANDLER], (HANDLER_TSS & 0xffff) << 16 | 0x67
  mov dword [gdt + HANDLER + 4], (HANDLER_TSS >> 16) | RIGHTS_TSS << 8
  mov esi, NEW_TSS
  mov edi, HANDLER_TSS
  mov ecx, 0x68 / 4
  rep movsd
  mov dword [HANDLER_TSS + T_EIP], .handler
  mov dword [HANDLER_TSS + T_ESP], 0x3800
  store_gate IDT + 10 * 8, HANDLER, 0, RIGHTS_TASK
%endmacro
%macro in_handler 0
  ud2
.handler:
  pop ebx
  movzx ecx, word [HANDLER_TSS]
  done
%endmacro
NEW_EIP equ NEW_TSS + T_EIP

; expect: ebx=FLAT, ecx=FREE, tr=HANDLER, byte[OLD_RIGHTS]=RIGHTS_TSS, byte[NEW_RIGHTS]=RIGHTS_TSS|2, dword[NEW_EIP]=.task
new_task_bad_code:
  new_task .task
  fault_in_new_task
  mov word [T(T_CS)], FLAT
  jmp FREE:0
.task:
  in_handler

; expect: ebx=USER_DATA-3, ecx=FREE, dword[NEW_EIP]=.task
new_task_bad_stack:
  new_task .task
  fault_in_new_task
  mov word [T(T_SS)], USER_DATA & ~3
  jmp FREE:0
.task:
  in_handler

; expect: ebx=TSS, ecx=FREE, dword[NEW_EIP]=.task
new_task_bad_ldt:
  new_task .task
  fault_in_new_task
  mov word [T(T_LDT)], TSS
  jmp FREE:0
.task:
  in_handler

; A CS whose RPL is not its DPL; a null SS.
; expect: ebx=RING1_CODE-1, ecx=FREE
new_task_code_privilege:
  new_task .task
  fault_in_new_task
  mov word [T(T_CS)], RING1_CODE - 1
  jmp FREE:0
.task:
  in_handler

; expect: ebx=0, ecx=FREE
new_task_null_stack:
  new_task .task
  fault_in_new_task
  mov word [T(T_SS)], 0
  jmp FREE:0
.task:
  in_handler

; events: #NP(ABSENT_DATA)@.task
; expect: tr=FREE, cs=CODE32, ss=FLAT
new_task_absent_data:
  new_task .task
  mov word [T(T_ES)], ABSENT_DATA
  jmp FREE:0
.task:
  ud2

; events: #TS(EXECUTE_ONLY)@.task
; expect: tr=FREE
new_task_execute_only_data:
  new_task .task
  mov word [T(T_FS)], EXECUTE_ONLY
  jmp FREE:0
.task:
  ud2

; EIP beyond the limit.
; events: #GP(0)
; expect: tr=FREE, e0.rip=0x2000
new_task_bad_eip:
  new_task 0x2000
  store8 gdt + FREE2, DESCRIPTOR(0, 0xfff, RIGHTS_CODE | BIG)
  mov word [T(T_CS)], FREE2
  jmp FREE:0

; ---- what else a switch loads ----

; The LDT, CR3, and privilege of the new CS's RPL.
; mode: pae32
; events: int(0x80)
; expect: e0.cs=USER_CODE32, e0.ss=USER_DATA, ldtr=LDT, cr3=FREE_TABLES, e0.rflags&IOPL3|IF=IOPL3|IF, e0.rsp=USER_STACK
user_task:
  new_task .task, IOPL3 | IF | 2
  store8 FREE_TABLES, PD | P
  store8 FREE_TABLES + 8, 0
  store8 FREE_TABLES + 16, 0
  store8 FREE_TABLES + 24, 0
  mov dword [T(T_CR3)], FREE_TABLES
  mov word [T(T_LDT)], LDT
  mov word [T(T_CS)], USER_CODE32
  mov word [T(T_SS)], USER_DATA
  mov word [T(T_DS)], USER_DATA
  mov word [T(T_ES)], USER_DATA
  mov word [T(T_FS)], 0
  mov dword [T(T_ESP)], USER_STACK
  jmp FREE:0
.task:
  int 0x80

; Without paging CR3 stays.
; expect: cr3=0x12000
no_paging_keeps_cr3:
  new_task .task
  mov dword [T(T_CR3)], 0x55000
  mov eax, 0x12000
  mov cr3, eax
  jmp FREE:0
.task:
  done

; A task in virtual-8086 mode.
; events: #BP
; expect: e0.rflags&VM=VM, e0.cs=0x1f8, e0.rsp=0x500, tr=FREE, e0.rip=1
vm86_task:
  new_task 0, VM | IOPL3 | 2
  mov dword [T(T_SS)], 0x200
  mov dword [T(T_DS)], 0x1234
  mov dword [T(T_ES)], 0
  mov dword [T(T_FS)], 0
  mov dword [T(T_ESP)], 0x500
  mov byte [0x1f80], 0xcc
  mov dword [T(T_CS)], 0x1f8
  jmp FREE:0

; DR7's local enables go, global ones stay; the T bit traps before the task's first instruction.
; events: #DB@.task
; expect: e0.dr6=0xffff8ff0, dr7=0x402, tr=FREE
debug_trap:
  new_task .task
  mov word [T(T_TRAP)], 1
  mov eax, 0x403
  mov dr7, eax
  jmp FREE:0
.task:
  ud2

; The first x87 instruction of the new task: #NM.
; events: #NM@.task
task_switched_flag:
  new_task .task
  fninit
  jmp FREE:0
.task:
  fnop

; ---- 16-bit TSS ----

; 16-bit registers, only four segments; FS and GS become null.
; expect: eax&0xffff=0x88, esp&0xffff=0x3300, tr=FREE, fs=0, gs=0, es=FLAT, dword[tss+T_EAX]&0xffff=0x4321, byte[NEW_RIGHTS]=RIGHTS_TSS16|2
tss_16:
  mov dword [gdt + FREE], (NEW_TSS & 0xffff) << 16 | 0x2b
  mov dword [gdt + FREE + 4], (NEW_TSS >> 16) | RIGHTS_TSS16 << 8
  mov word [NEW_TSS + 14], .task
  mov word [NEW_TSS + 16], 2
  mov word [NEW_TSS + 18], 0x88
  mov word [NEW_TSS + 26], 0x3300
  mov word [NEW_TSS + 34], FLAT
  mov word [NEW_TSS + 36], CODE32
  mov word [NEW_TSS + 38], FLAT
  mov word [NEW_TSS + 40], FLAT
  mov ax, FLAT
  mov fs, ax
  mov ax, 0x4321
  jmp FREE:0
.task:
  movzx eax, ax
  movzx esp, sp
  done

; ---- IA-32e mode has none of it ----

; mode: compat32
; events: #GP(TSS), #GP(FREE), #GP(0)
none_in_long_mode:
  attempt jmp TSS:0
  store_gate gdt + FREE, TSS, 0, RIGHTS_TASK
  attempt jmp FREE:0
  push dword NT | 2
  popfd
  attempt iretd
  done
