//go:build !linux

package embed

import "syscall"

// childAttributes: only Linux ends a child with its parent; elsewhere Stop has to be called.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
