package embed

import "syscall"

// childAttributes make the kernel end the server when this process ends in whatever way, and keep the
// terminal's interrupt from it: it is stopped after those that use it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
