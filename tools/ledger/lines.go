package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// ReadSent reads a client's log. Of several lines about one event the one that says most counts: a client
// may write a line when it sends and another when the acknowledgement comes.
func ReadSent(path string) ([]Sent, error) {
	all := []Sent{}
	err := eachLine(path, func(line []byte) error {
		var s Sent
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		if s.ID == "" {
			return errors.New("a line without the id of an event")
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

// ReadReceived reads a provider's log. The lines that a channel with the file adapter writes are understood
// too: each is a request that was accepted, at the time that it names.
func ReadReceived(path string) ([]Request, error) {
	all := []Request{}
	err := eachLine(path, func(line []byte) error {
		var r struct {
			Request

			At time.Time `json:"at"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if r.Proposal == "" {
			return errors.New("a line without a proposal")
		}
		if r.Started.IsZero() {
			r.Started, r.Accepted = r.At, true
		}
		if r.Started.IsZero() {
			return errors.New("a line without a time")
		}
		all = append(all, r.Request)
		return nil
	})
	return all, err
}

// eachLine goes through the lines of a file. A last line without its end was torn off by the death of its
// writer, and is left out.
func eachLine(path string, take func([]byte) error) error {
	f, err := os.Open(path) //nolint:gosec // the caller's own file
	if err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := take(line); err != nil {
			return fmt.Errorf("%s line %d: %w", path, n, err)
		}
	}
}

// ReadFileChannel reads what a channel with the file adapter got; a file that is not there yet got nothing.
func ReadFileChannel(path string) ([]Request, error) {
	all, err := ReadReceived(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []Request{}, nil
	}
	return all, err
}

// Recorder writes a client's or a provider's log: a line for each event or request, appended in one write,
// so that what was recorded survives the death of the process. It is safe for concurrent use, also by
// several processes on one file.
type Recorder struct {
	mu  sync.Mutex
	out io.WriteCloser
}

// OpenRecorder appends to a file, which is made if it is not there.
func OpenRecorder(path string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	return &Recorder{out: f}, nil
}

// Sent records an event: before it is sent without the time of its acknowledgement, and again with it.
func (r *Recorder) Sent(s Sent) error { return r.write(s) }

// Received records a request, before it is answered.
func (r *Recorder) Received(q Request) error { return r.write(q) }

func (r *Recorder) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line of the record: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// Close closes the file.
func (r *Recorder) Close() error {
	if err := r.out.Close(); err != nil {
		return fmt.Errorf("close the record: %w", err)
	}
	return nil
}
