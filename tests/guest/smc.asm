; Code that changes: by the processor itself, through another mapping, by a device. Intel SDM vol. 3 §9.1.3, §12.6 (edition 085).
; Changes by another processor are in smp.asm.
; mode: long64
%include "guest.inc"
bits 64

CODE_PAGE equ TEST_PAGES

; A function that was executed is changed and called again.
; expect: rbx=1, rcx=2
same_page:
  mov dword [CODE_PAGE], RETURNS(1)
  mov esi, CODE_PAGE
  call rsi
  movzx ebx, al
  mov byte [CODE_PAGE + 1], 2
  call rsi
  movzx ecx, al
  done

; The very next instruction, and one a little further on.
; expect: rbx=0x99, rcx=0x88
next_instruction:
  xor ecx, ecx
  mov byte [.next + 1], 0x99
.next:
  mov bl, 1
  mov byte [.later + 1], 0x88
  nop
  nop
.later:
  mov cl, 1
  movzx ebx, bl
  done

; A loop that changes its own body each time around.
; expect: rbx=36, rcx=0
loop_changes_itself:
  mov ecx, 8
  mov dl, 1
.loop:
  mov byte [.add + 2], dl
  inc dl
.add:
  add ebx, 0
  dec ecx
  jnz .loop
  done

; An instruction that overwrites itself does what it was; the next time it is what it became.
; expect: rbx=2, rcx=0x77
overwrites_itself:
  xor ebx, ebx
  mov edx, 0x9090
.again:
  inc ebx
.store:
  mov [rel .store], dx                          ; its own first two bytes
  jmp .after
.after:
  cmp ebx, 2
  jne .again
  mov ecx, 0x77
  done

; Data beside code, on one line: each store is to code, none changes it.
; expect: rbx=1000, dword[.counter]=1000
code_and_data_on_one_line:
  mov ecx, 1000
  jmp .loop
align 64
.loop:
  inc dword [.counter]
  inc ebx
  dec ecx
  jnz .loop
  done
.counter:
  dd 0

; Every kind of store: the code that was warm is what the store made of it. AL must come back as each N.
; expect: qword[DATA]=0x0807060504030201, qword[DATA+8]=0x100f0e0d0c0b0a09, qword[DATA+16]=0x0000001615141312
all_kinds_of_stores:
  mov esi, CODE_PAGE
  mov edi, DATA
  mov dword [CODE_PAGE], RETURNS(0)
  %assign n 0
  %macro patched_by 1+
    %assign n n + 1
    call rsi                                    ; warm
    %1
    call rsi
    mov [DATA + n - 1], al
  %endmacro
  patched_by mov byte [rsi + 1], 1
  patched_by mov dword [rsi], RETURNS(2)
  mov rbx, RETURNS(3)
  patched_by mov [rsi], rbx
  patched_by inc byte [rsi + 1]
  patched_by lock inc byte [rsi + 1]
  mov bl, 6
  patched_by xchg [rsi + 1], bl
  mov bl, 1
  patched_by lock xadd [rsi + 1], bl
  %macro by_cmpxchg 0
    mov al, 7
    mov bl, 8
    lock cmpxchg [rsi + 1], bl
  %endmacro
  patched_by by_cmpxchg
  patched_by xor byte [rsi + 1], 1
  %macro by_bit_test 0
    btc dword [rsi + 1], 0
    btc dword [rsi + 1], 1
  %endmacro
  patched_by by_bit_test
  %macro by_stos 0
    push rdi
    lea rdi, [rsi + 1]
    mov al, 11
    stosb
    pop rdi
  %endmacro
  patched_by by_stos
  %macro by_rep_stos 0
    push rdi
    lea rdi, [rsi + 1]
    mov al, 12
    mov ecx, 1
    rep stosb
    pop rdi
  %endmacro
  patched_by by_rep_stos
  %macro by_rep_movs 0
    push rsi
    push rdi
    lea rdi, [rsi]
    mov rsi, .thirteen
    mov ecx, 4
    rep movsb
    pop rdi
    pop rsi
  %endmacro
  patched_by by_rep_movs
  %macro by_push 0
    mov rbx, rsp
    lea rsp, [rsi + 8]
    mov rax, 0x9090909000000000 | RETURNS(14)
    push rax
    mov rsp, rbx
  %endmacro
  patched_by by_push
  %macro by_movd 0
    mov eax, RETURNS(15)
    movd xmm0, eax
    movd [rsi], xmm0
  %endmacro
  patched_by by_movd
  %macro by_movups 0
    mov eax, RETURNS(16)
    movd xmm0, eax
    movups [rsi], xmm0
  %endmacro
  patched_by by_movups
  ; (n = 17 is the byte at DATA + 16)
  %macro by_movnti 0
    mov eax, RETURNS(0x12)
    movnti [rsi], eax
  %endmacro
  patched_by by_movnti
  %macro by_fistp 0
    mov dword [DATA + 0x80], RETURNS(0x13)
    mov dword [DATA + 0x84], 0
    fninit
    fild qword [DATA + 0x80]
    fistp qword [rsi]
  %endmacro
  patched_by by_fistp
  %macro by_setcc 0
    mov byte [rsi + 1], 0x15
    xor eax, eax
    call rsi
    shl byte [rsi + 1], 1                       ; 2AH
    sub byte [rsi + 1], 0x16
  %endmacro
  patched_by by_setcc
  %macro by_cmpxchg8b 0
    mov eax, [rsi]
    mov edx, [rsi + 4]
    mov ebx, RETURNS(0x15)
    mov ecx, edx
    lock cmpxchg8b [rsi]
  %endmacro
  patched_by by_cmpxchg8b
  %macro by_ins 0
    push rdi
    lea rdi, [rsi + 1]
    mov dx, LAB_REGISTERS
    mov al, 0x16
    out dx, al
    insb
    pop rdi
  %endmacro
  patched_by by_ins
  done
.thirteen:
  dd RETURNS(13)

; ---- across pages ----

; An instruction that spans two pages, changed in the one and in the other.
; expect: rbx=0x44332211, rcx=0x44332299, rdx=0x55332299
across_pages:
  mov byte [CODE_PAGE + 0xffd], 0xb8            ; mov eax, imm32
  mov dword [CODE_PAGE + 0xffe], 0x44332211
  mov byte [CODE_PAGE + 0x1002], 0xc3
  mov esi, CODE_PAGE + 0xffd
  call rsi
  mov ebx, eax
  mov byte [CODE_PAGE + 0xffe], 0x99
  call rsi
  mov ecx, eax
  mov byte [CODE_PAGE + 0x1001], 0x55
  call rsi
  mov edx, eax
  done

; The second of its pages is mapped elsewhere.
; expect: rbx=0x44332211, rcx=0x66552211
second_page_remapped:
  mov byte [CODE_PAGE + 0xffd], 0xb8
  mov dword [CODE_PAGE + 0xffe], 0x44332211
  mov byte [CODE_PAGE + 0x1002], 0xc3
  mov dword [CODE_PAGE + 0x2000], 0xc36655
  mov esi, CODE_PAGE + 0xffd
  call rsi
  mov ebx, eax
  mov dword [PTE(CODE_PAGE + 0x1000)], CODE_PAGE + 0x2000 | P | W | U
  invlpg [CODE_PAGE + 0x1000]
  call rsi
  mov ecx, eax
  done

; Where an instruction spanned two pages there is a short one now, and no second page.
; expect: rbx=0x44332211, rcx=7
across_pages_no_more:
  mov byte [CODE_PAGE + 0xffd], 0xb8
  mov dword [CODE_PAGE + 0xffe], 0x44332211
  mov byte [CODE_PAGE + 0x1002], 0xc3
  mov esi, CODE_PAGE + 0xffd
  call rsi
  mov ebx, eax
  mov word [CODE_PAGE + 0xffd], 0x07b0          ; mov al, 7
  mov byte [CODE_PAGE + 0xfff], 0xc3
  mov qword [PTE(CODE_PAGE + 0x1000)], 0
  invlpg [CODE_PAGE + 0x1000]
  xor eax, eax
  call rsi
  mov ecx, eax
  done

; One store across two pages of code.
; expect: rbx=1, rcx=2, rdx=3, rsi=4
store_across_pages_of_code:
  mov word [CODE_PAGE + 0xffd], 0x01b0
  mov byte [CODE_PAGE + 0xfff], 0xc3
  mov dword [CODE_PAGE + 0x1000], RETURNS(3)
  mov edi, CODE_PAGE + 0xffd
  call rdi
  movzx ebx, al
  mov edi, CODE_PAGE + 0x1000
  call rdi
  movzx edx, al
  mov rax, 0x9090c304b0c302b0
  mov [CODE_PAGE + 0xffd], rax
  mov edi, CODE_PAGE + 0xffd
  call rdi
  movzx ecx, al
  mov edi, CODE_PAGE + 0x1000
  call rdi
  movzx esi, al
  done

; ---- through another mapping ----

; The frame is mapped twice; code is executed at one address and written at the other.
; expect: rbx=1, rcx=2
alias:
  mov qword [PTE(CODE_PAGE + 0x1000)], CODE_PAGE | P | W | U
  invlpg [CODE_PAGE + 0x1000]
  mov dword [CODE_PAGE], RETURNS(1)
  mov esi, CODE_PAGE
  call rsi
  movzx ebx, al
  mov byte [CODE_PAGE + 0x1001], 2
  serialize
  call rsi
  movzx ecx, al
  done

; Executed at both; written through a large page.
; expect: rbx=1, rcx=2, rdx=2
alias_2m:
  store8 PDE(UNMAPPED), P | W | U | PS
  mov dword [CODE_PAGE], RETURNS(1)
  mov esi, CODE_PAGE
  mov edi, UNMAPPED + CODE_PAGE
  call rsi
  movzx ebx, al
  call rdi
  mov byte [UNMAPPED + CODE_PAGE + 1], 2
  serialize
  call rsi
  movzx ecx, al
  call rdi
  movzx edx, al
  done

; User code writes what the kernel executes.
; events: int(0x80)
; expect: rbx=1, rcx=2
written_by_user:
  mov dword [CODE_PAGE], RETURNS(1)
  mov esi, CODE_PAGE
  call rsi
  movzx ebx, al
  mov word [IDT + 0x90 * 16], .kernel
  enter_user .user
.user:
  mov byte [CODE_PAGE + 1], 2
  int 0x90
.kernel:
  call rsi
  movzx ecx, al
  int 0x80

; ---- by a device ----

; expect: rbx=1, rcx=2
dma:
  mov dword [CODE_PAGE], RETURNS(1)
  mov esi, CODE_PAGE
  call rsi
  movzx ebx, al
  mov dx, LAB_DMA_ADDRESS
  mov eax, CODE_PAGE
  out dx, eax
  mov dx, LAB_DMA_DATA
  mov eax, RETURNS(2)
  out dx, eax
  serialize
  call rsi
  movzx ecx, al
  done

; The instruction behind the OUT that starts it.
; expect: rbx=2
dma_next_instruction:
  mov dx, LAB_DMA_ADDRESS
  mov eax, .next
  out dx, eax
  mov dx, LAB_DMA_DATA
  mov eax, 0x909002b3
  out dx, eax
.next:
  mov bl, 1
  nop
  nop
  done

; ---- other meanings of the same bytes ----

; 48H 40H...: INC EAX twice in 32-bit code, a REX prefix in 64-bit code. The same bytes in both modes.
; expect: rbx=2, rcx=1
other_mode:
  mov dword [CODE_PAGE], 0xcb40c0ff             ; inc eax; [REX or inc eax] retf
  mov byte [CODE_PAGE + 3], 0xcb
  mov dword [DATA + 0x100], CODE_PAGE
  mov word [DATA + 0x104], CODE32
  xor eax, eax
  call far dword [DATA + 0x100]
  mov ebx, eax
  mov word [DATA + 0x104], CODE64
  xor eax, eax
  call far dword [DATA + 0x100]
  mov ecx, eax
  done

; A page of code is replaced by a string move, while it is warm, many times.
; expect: rbx=0x1f0
replaced_again_and_again:
  xor ebx, ebx
  mov edx, 31
.next:
  mov eax, edx
  shl eax, 8
  or eax, RETURNS(0)
  mov [DATA], eax
  mov esi, DATA
  mov edi, CODE_PAGE
  mov ecx, 1
  rep movsd
  mov edi, CODE_PAGE
  xor eax, eax
  call rdi
  movzx eax, al
  add ebx, eax
  dec edx
  jnz .next
  done

; Self-modifying code while single-stepping sees each store.
; events: #DB x4
; expect: rbx=0x99
while_stepping:
  mov dword [RESUME], 1
  push TF | 2
  popfq
  mov byte [.next + 1], 0x99
.next:
  mov bl, 1
  movzx ebx, bl
  mov dword [RESUME], 0
