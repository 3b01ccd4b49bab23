package stage

import (
	"errors"
	"fmt"
)

// errLost says that another owner took the partition over.
var errLost = errors.New("another owner has the partition")

// HaltError says that a partition must not go on: the log lost or changed data that was acknowledged.
// Nobody but an operator can resolve it.
type HaltError struct {
	// Subject of the chain, or of the input that cannot be read on.
	Subject string
	// Why it must not go on.
	Why string
}

// Error implements error.
func (e *HaltError) Error() string {
	return fmt.Sprintf("halt: %s: %s; compare the streams with a backup before anything is started again", e.Subject, e.Why)
}
