package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// begin skips a byte order mark and blank space, and refuses text that is not UTF-8 by its mark.
func begin(in io.Reader) (*bufio.Reader, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	first, _ := r.Peek(len(mark))
	switch {
	case string(first) == mark:
		if _, err := r.Discard(len(mark)); err != nil {
			return nil, fmt.Errorf("read the events: %w", err)
		}
	case bytes.HasPrefix(first, []byte{0xFF, 0xFE}), bytes.HasPrefix(first, []byte{0xFE, 0xFF}):
		return nil, usage("the events are UTF-16: save them as UTF-8")
	}
	return r, nil
}

// isArray reports whether the first sign that is not blank begins an array with room for objects. A line that is an
// array of numbers, say, is a line that will be refused.
func isArray(r *bufio.Reader) bool {
	for n := 1; ; {
		_, err := r.Peek(n) // no more than there is: it may be typed
		data, _ := r.Peek(r.Buffered())
		n = len(data) + 1
		text := bytes.TrimLeft(data, " \t\r\n")
		inner := bytes.TrimLeft(bytes.TrimPrefix(text, []byte("[")), " \t\r\n")
		switch {
		case len(text) > 0 && text[0] != '[':
			return false
		case len(text) > 0 && len(inner) > 0:
			return inner[0] == '{' || inner[0] == ']'
		case err != nil:
			return false
		}
	}
}

// mark is the byte order mark of UTF-8.
const mark = "\uFEFF"

// unmarked is a line without byte order marks before and behind it: files that were put together have them in their middle.
func unmarked(line []byte) []byte { return bytes.Trim(line, mark) }

// eachLine hands the lines that are not blank to take, with their numbers.
func eachLine(r io.Reader, take func(number int, text []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), 1<<20)
	number := 0
	for lines.Scan() {
		number++
		line := unmarked(lines.Bytes())
		if len(trimmed(line)) == 0 {
			continue
		}
		if err := take(number, line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d: %w", number+1, err)
	}
	return nil
}

// eachElement hands the elements of a JSON array to take, with their numbers from 1. What stands before a place where
// the array is broken is handed over.
func eachElement(r io.Reader, take func(number int, text []byte) error) error {
	dec := json.NewDecoder(r)
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("read the array: %w", err)
	}
	number := 0
	for dec.More() {
		number++
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return fmt.Errorf("read event %d of the array, byte %d: %w (the events before it were published)", number, dec.InputOffset(), err)
		}
		if err := take(number, element); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("the array has no end after %s: %w (its events were published)", count(number, "event"), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("there is more behind the array, byte %d; it was not published", dec.InputOffset())
	}
	return nil
}
