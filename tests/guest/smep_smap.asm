; Supervisor-mode execution and access prevention. Intel SDM vol. 3 §4.6 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

KERNEL equ TEST_PAGES           ; all pages but the next are the supervisor's
USER equ TEST_PAGES + 0x1000
USER_STACK_PAGE equ USER_STACK - 0x1000
; What user code needs: its own code, here, and the recorder's page 0.
%macro setup 1
  mov dword [USER], 0xc3
  make_supervisor
  mov byte [PTE(USER)], P | W | U
  invlpg [USER]
  set_cr cr4, %1
%endmacro
%macro fetch 1
  resume_at %%behind
  mov esi, %1
  %if __?BITS?__ == 64
    call rsi
  %else
    call esi
  %endif
%%behind:
  stop_at_next
%endmacro

; events: #PF(0x11)@USER
; expect: dword[USER]=0xc4, rbx=0xc3
smep:
  setup CR4_SMEP
  fetch USER
  mov ebx, [USER]                               ; data is another matter
  inc dword [USER]
  done

; A user page is one where every level says U.
; expect: rbx=0x77
smep_upper_level:
  mov dword [SECOND_2M], 0xc377b3               ; mov bl, 0x77; ret
  setup CR4_SMEP
  mov byte [PDE(SECOND_2M)], P | W
  invlpg [SECOND_2M]
  mov eax, SECOND_2M
  call rax
  done

; User code itself is not concerned.
; events: #UD@USER
; expect: e0.cs=USER_CODE64
smep_user:
  mov dword [USER], 0x0b0f
  make_supervisor
  mov byte [PTE(USER)], P | W | U
  invlpg [USER]
  set_cr cr4, CR4_SMEP | CR4_SMAP
  enter_user USER

; events: #PF(1), #PF(3), #PF(3)
; expect: dword[USER]=0xc3, e0.cr2=USER+1, e2.cr2=USER+4
smap:
  setup CR4_SMAP
  attempt mov al, [USER + 1]
  attempt mov [USER], eax
  attempt lock inc dword [USER + 4]
  done

; RFLAGS.AC suspends it; STAC and CLAC set it; POPF, too.
; events: #PF(1), #PF(1)
; expect: rbx=0xc3, dword[USER+8]=0x55, rdx=0xc3
smap_access_flag:
  setup CR4_SMAP
  stac
  mov ebx, [USER]
  mov dword [USER + 8], 0x55
  clac
  attempt mov ecx, [USER]
  push AC | 2
  popfq
  mov edx, [USER]
  push 2
  popfq
  attempt mov ecx, [USER]
  done

; Fetches are not data accesses.
; expect: rax=USER
smap_fetch:
  setup CR4_SMAP
  mov eax, USER
  call rax
  done

; What the processor reads by itself is checked whatever AC says. The GDT lies across the two pages, FREE in the user's.
; events: #PF(1)
; expect: e0.cr2=USER+FREE-0x58, fs=FLAT, e0.rflags&AC=AC, rbx=0xffff
smap_implicit_access:
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, RIGHTS_DATA | BIG | GRANULAR)
  make_supervisor
  mov byte [PTE(USER)], P | W | U
  invlpg [USER]
  mov esi, gdt
  mov edi, USER - 0x58
  mov ecx, GDT_LIMIT + 1
  rep movsb
  lgdt [.pointer]
  set_cr cr4, CR4_SMAP
  stac
  movzx ebx, word [USER + FREE - 0x58]          ; an ordinary read is allowed
  mov ax, FREE
  attempt mov fs, ax
  done
.pointer:
  dw GDT_LIMIT
  dq USER - 0x58

; mode: long64 user
; events: #UD, #UD, int(0x80)
stac_user:
  attempt stac
  attempt clac
  int 0x80

; RFLAGS.AC of user code makes no difference to its own accesses (alignment checks are off).
; events: #BP@USER+0x18
; expect: rbx=0xcc001010
smap_user_data:
  mov rbx, [.code]
  setup CR4_SMAP
  stac
  mov [USER + 0x10], rbx
  clac
  enter_user USER + 0x10, AC | 2
.code:
  mov ebx, [USER + 0x14]
  int3

; ---- 32-bit paging and PAE ----

; mode: pae32
; events: #PF(1), #PF(3), #PF(0x11)@USER
; expect: ebx=0xc3
smap_pae:
bits 32
  mov dword [USER], 0xc3
  make_supervisor
  mov byte [PTE(USER)], P | W | U
  invlpg [USER]
  set_cr cr4, CR4_SMAP | CR4_SMEP
  attempt mov eax, [USER]
  attempt mov [USER], eax
  stac
  mov ebx, [USER]
  clac
  fetch USER
  done

; mode: paged32
; events: #PF(1), #PF(3)
; expect: ebx=0xc3
smap_32:
  mov dword [USER], 0xc3
  mov edi, PDPT
.entry:
  and byte [edi], ~U & 0xff
  add edi, 4
  cmp edi, PDPT + 0x1000
  jb .entry
  mov byte [PTE32(USER)], P | W | U
  mov eax, cr3
  mov cr3, eax
  set_cr cr4, CR4_SMAP
  attempt mov eax, [USER]
  attempt mov [USER], eax
  stac
  mov ebx, [USER]
  done
