# The pod's pause for x86-64: holds the namespaces, reaps orphans, ends on SIGTERM and SIGINT. See doc.go.
	.intel_syntax noprefix
	.globl	_start
	.text
_start:
	push	0x14002			# SIGINT (2), SIGTERM (15), SIGCHLD (17): bit n-1 for signal n
	mov	edi, 2			# SIG_SETMASK
	mov	rsi, rsp
	xor	edx, edx
	mov	r10d, 8			# sizeof(sigset_t)
	mov	eax, 14			# rt_sigprocmask
	syscall
reap:					# wait4(-1, NULL, WNOHANG, NULL) until nobody is left to reap
	or	rdi, -1
	xor	esi, esi
	mov	edx, 1
	xor	r10d, r10d
	mov	eax, 61			# wait4
	syscall
	test	rax, rax
	jg	reap
	mov	rdi, rsp		# rt_sigtimedwait(&set, NULL, NULL, 8): blocks until one of the three comes
	xor	esi, esi
	xor	edx, edx
	mov	r10d, 8
	mov	eax, 128		# rt_sigtimedwait
	syscall
	cmp	eax, 2
	je	end
	cmp	eax, 15
	jne	reap			# SIGCHLD, or EINTR after a stop and continue
end:
	xor	edi, edi
	mov	eax, 231		# exit_group
	syscall
	.section .note.GNU-stack,"",@progbits
