//go:build !linux

package crash

import "syscall"

// childAttributes: only Linux ends a child with its parent; elsewhere the test's clean-up has to do.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
