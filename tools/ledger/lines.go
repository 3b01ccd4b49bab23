package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Line is what the check reads of a message that a channel got.
type Line struct {
	Proposal, Action, Channel, Customer string
	At                                  time.Time
}

// ReadLines reads what a file channel really got; a file that is not there yet got nothing.
func ReadLines(path string) ([]Line, error) {
	f, err := os.Open(path) //nolint:gosec // the caller's own file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the channel got: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	var out []Line
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, len(out)+1, err)
		}
		out = append(out, l)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return out, nil
}
