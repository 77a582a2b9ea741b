; Every mode that a case can start in, and the recorder itself.
%include "guest.inc"

; mode: real16
; expect: rax=0x11, cs=0, cr0=0x60000010, rsp=REAL_STACK
; events:
bits 16
real16:
  mov al, 0x11
  done

; mode: real16
; events: #UD@.bad, int(0x33)@.after
; expect: e0.rsp=REAL_STACK, e0.cs=0, rax=0x12345678, rbx=0x55
real16_events:
  mov eax, 0x12345678
  mov bl, 0x55
  resume_at .next
.bad:
  ud2
.next:
  go_on
  int 0x33
.after:
  done

; mode: protected32 | paged32 | pae32 | compat32
; expect: rax=0x22, cs=CODE32, ss=FLAT, rsp=KERNEL_STACK, cpl=0
bits 32
flat32:
  mov al, 0x22
  done

; mode: protected32 | paged32 | pae32
; events: #UD@.bad, #GP(0), int(0x80)@.after, #BP@.last
; expect: e0.rsp=KERNEL_STACK, e0.ss=FLAT, e0.cs=CODE32, e0.handler_ss=FLAT, rcx=0x5678, ds=FLAT
events32:
  resume_at .next
.bad:
  ud2
.next:
  mov ecx, 0x5678
  attempt mov ss, [.null]
  go_on
  int 0x80
.after:
  stop_at_next
  int3
.last:
.null:
  dw 0

; mode: protected32 user | paged32 user | pae32 user
; events: #GP(0), int(0x80)@.after
; expect: e0.cs=USER_CODE32, e0.ss=USER_DATA, e0.rsp=USER_STACK, e1.handler_ss=FLAT, e1.frame=INNER_STACK-20, cpl=0
user32:
  attempt cli
  int 0x80
.after:

; mode: compat32 user
; events: #GP(0), int(0x80)@.after
; expect: e0.cs=USER_CODE32, e0.ss=USER_DATA, e0.rsp=USER_STACK, e1.handler_ss=0, e1.frame=INNER_STACK-40, cpl=0
user_compat32:
  attempt cli
  int 0x80
.after:

; mode: vm86
; events: #GP(0), #BP@.after
; expect: e0.cs=0, e0.rflags&VM=VM, e0.rsp=REAL_STACK, e0.frame=INNER_STACK-40, cpl=0, rax=0x77
bits 16
vm86:
  attempt cli
  mov ax, 0x77
  int3
.after:

; mode: long64
; expect: rax=0x44, cs=CODE64, rsp=KERNEL_STACK, cpl=0, efer=EFER_LMA|EFER_LME|EFER_NXE|EFER_SCE
bits 64
long64:
  mov al, 0x44
  done

; mode: long64
; events: #UD@.bad, #GP(0), int(0x80)@.after, #BP@.last
; expect: e0.rsp=KERNEL_STACK, e0.ss=FLAT, e0.cs=CODE64, rcx=0x5678, e0.rflags&RF=RF, e2.rflags&RF=0
events64:
  resume_at .next
.bad:
  ud2
.next:
  mov ecx, 0x5678
  mov rdx, 1 << 63
  attempt mov [rdx], al
  go_on
  int 0x80
.after:
  stop_at_next
  int3
.last:

; mode: long64 user
; events: #GP(0), int(0x80)@.after
; expect: e0.cs=USER_CODE64, e0.ss=USER_DATA, e0.rsp=USER_STACK, e1.handler_ss=0, e1.frame=INNER_STACK-40, cpl=0
user64:
  attempt cli
  int 0x80
.after:

; A second processor comes through the same start.
; mode: long64
; cpus: 2
; budget: 20000000000
; expect: dword[DATA]=2, rax=2
two_processors:
  start_processor 1, .other
.wait:
  pause
  mov eax, [DATA]
  cmp eax, 2
  jb .wait
  done
.other:
  lock add dword [DATA], 2
.sleep:
  hlt
  jmp .sleep
