package channel

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
)

// file appends one line of JSON per message and can be asked whether a proposal is in it. A line is there
// when its newline is: a torn one is cut off before the next write. Writers of several processes exclude
// each other by a lock on the file. With a maildir each message is also written as a mail that one can open.
type file struct {
	path    string
	sync    bool
	maildir string
	from    *netmail.Address

	mu      sync.Mutex
	handle  *os.File
	scanned int64
	seen    map[string]string // proposal to provider id, of what was scanned; nil until the first look-up
}

func newFile(config map[string]string, dataDir string) (*file, error) {
	if config["path"] == "" {
		return nil, errors.New("path: want a file for the lines")
	}
	path, err := within(dataDir, config["path"])
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	f := &file{path: path, sync: config["sync"] == "true"}
	if f.from, err = mailbox(cmp.Or(config["from"], "refrain@localhost")); err != nil {
		return nil, errors.New("from: want an address")
	}
	if config["maildir"] != "" {
		if f.maildir, err = within(dataDir, config["maildir"]); err != nil {
			return nil, fmt.Errorf("maildir: %w", err)
		}
	}
	return f, nil
}

// within places a path of a definition in the data directory; absolute ones stand for themselves.
func within(dataDir, path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	if !filepath.IsLocal(path) {
		return "", errors.New("leads out of the data directory")
	}
	return filepath.Join(dataDir, path), nil
}

// Close implements Adapter.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handle == nil {
		return nil
	}
	err := f.handle.Close()
	f.handle = nil
	if err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

// Send implements Adapter.
func (f *file) Send(ctx context.Context, m Message) delivery.Result {
	mailPath, failure := f.writeMail(m)
	if failure != nil {
		return *failure
	}
	line, err := encode(payloadOf(m))
	if err != nil {
		return unsent(reasonv1.Code_CODE_RENDER_FAILED, "the payload cannot be encoded")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end, unlock, err := f.lock()
	if err != nil {
		return unavailable("the file cannot be opened")
	}
	defer unlock()
	if over(ctx) {
		return unavailable("the time of the call was over before the file was free")
	}
	if _, err := f.handle.WriteAt(append(line, '\n'), end); err != nil {
		if f.handle.Truncate(end) != nil {
			return unknown()
		}
		return unavailable("the line cannot be written")
	}
	if f.sync && f.handle.Sync() != nil {
		return unknown()
	}
	return accepted(mailPath)
}

// over says whether the time of a call has passed. The deadline is looked at too: in a process that stood still
// the context may not have noticed yet. Whoever looks a proposal up needs the lock, so what is written under it
// before the deadline is found.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// lock opens the file, excludes other writers, cuts a torn last line off and says where to write.
func (f *file) lock() (end int64, unlock func(), err error) {
	if f.handle == nil {
		if err := f.open(); err != nil {
			return 0, nil, err
		}
	}
	fd := int(f.handle.Fd()) //nolint:gosec // a file descriptor is small
	if err := syscall.Flock(fd, syscall.LOCK_EX); err != nil {
		return 0, nil, fmt.Errorf("lock %s: %w", f.path, err)
	}
	unlock = func() { _ = syscall.Flock(fd, syscall.LOCK_UN) }
	if end, err = repair(f.handle); err != nil {
		unlock()
		return 0, nil, err
	}
	return end, unlock, nil
}

func (f *file) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	handle, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o640) //nolint:gosec // who reads the file is in the group
	if err != nil {
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	f.handle = handle
	return nil
}

// repair cuts the file off after its last newline and says where that is.
func repair(handle *os.File) (int64, error) {
	size, err := handle.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("find end of file: %w", err)
	}
	end := size
	for block := make([]byte, 4096); end > 0; {
		n := min(end, int64(len(block)))
		if _, err := handle.ReadAt(block[:n], end-n); err != nil {
			return 0, fmt.Errorf("read end of file: %w", err)
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			end = end - n + int64(i) + 1
			break
		}
		end -= n
	}
	if end < size {
		if err := handle.Truncate(end); err != nil {
			return 0, fmt.Errorf("cut torn line off: %w", err)
		}
	}
	return end, nil
}

// LookUp implements Looker: the file says for certain.
func (f *file) LookUp(_ context.Context, proposal string) (delivery.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end, unlock, err := f.lock()
	if err != nil {
		return delivery.Result{}, err
	}
	defer unlock()
	if err := f.scan(end); err != nil {
		return delivery.Result{}, err
	}
	if id, ok := f.seen[proposal]; ok {
		return accepted(id), nil
	}
	return delivery.Result{Status: dispatchv1.Status_STATUS_UNSENT, Transient: true}, nil
}

// scan reads what was appended since the last look-up.
func (f *file) scan(end int64) error {
	if f.seen == nil || f.scanned > end {
		f.seen, f.scanned = map[string]string{}, 0
	}
	lines := bufio.NewReader(io.NewSectionReader(f.handle, f.scanned, end-f.scanned))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			f.scanned = end
			return nil
		}
		if err != nil {
			return fmt.Errorf("scan %s: %w", f.path, err)
		}
		var entry struct {
			Proposal string `json:"proposal"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Proposal != "" {
			f.seen[entry.Proposal] = f.mailPath(entry.Proposal)
		}
	}
}

// mailPath is where a proposal's mail is; empty without a maildir.
func (f *file) mailPath(proposal string) string {
	if f.maildir == "" || proposal != filepath.Base(proposal) {
		return ""
	}
	return filepath.Join(f.maildir, proposal+".eml")
}

// writeMail writes the mail if there is a maildir; writing it twice leaves one.
func (f *file) writeMail(m Message) (string, *delivery.Result) {
	path := f.mailPath(m.Proposal)
	if path == "" {
		return "", nil
	}
	text, err := f.mail(m)
	if err != nil {
		code := reasonv1.Code_CODE_INVALID_ENDPOINT
		if errors.Is(err, errHeader) {
			code = reasonv1.Code_CODE_RENDER_FAILED
		}
		r := unsent(code)
		return "", &r
	}
	if err := replaceFile(path, text); err != nil {
		r := unavailable("the mail cannot be written")
		return "", &r
	}
	return path, nil
}

func (f *file) mail(m Message) ([]byte, error) {
	to, err := mailbox(m.Address)
	if err != nil {
		return nil, err
	}
	return mailOf(m, envelope{from: f.from, to: to, host: "localhost"})
}

func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("make maildir: %w", err)
	}
	if err := os.WriteFile(path+".tmp", text, 0o640); err != nil { //nolint:gosec // group may read, as with the lines
		return fmt.Errorf("write mail: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("place mail: %w", err)
	}
	return nil
}
