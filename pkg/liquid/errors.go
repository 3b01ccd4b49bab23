package liquid

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrSyntax is wrapped by every error of Parse.
	ErrSyntax = errors.New("not valid Liquid")
	// ErrRender is wrapped by an error that only the data brings about, such as a division by zero.
	ErrRender = errors.New("cannot be rendered")
	// ErrAbort is wrapped by the error that the tag abort ends a rendering with.
	ErrAbort = errors.New("the template asked to abort")
	// ErrLimit is wrapped by the error of a rendering that needs more than its Limits.
	ErrLimit = errors.New("the template needs more than it may use")
)

// Error says what is wrong and where. Its text never quotes data, only what stands in the template.
type Error struct {
	// Line and Column count from 1; Column counts characters.
	Line, Column int
	// Message is the cause in plain words.
	Message string
	kind    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("line %d:%d: %s", e.Line, e.Column, e.Message) }

// Unwrap returns ErrSyntax, ErrRender, ErrAbort or ErrLimit.
func (e *Error) Unwrap() error { return e.kind }

// problem is an error that does not know its place yet.
type problem struct {
	kind error
	text string
}

func (p *problem) Error() string { return p.text }

func (p *problem) Unwrap() error { return p.kind }

func failed(format string, args ...any) error {
	return &problem{kind: ErrRender, text: fmt.Sprintf(format, args...)}
}

// place finds line and column of an offset in source.
func place(source string, offset int) (line, column int) {
	offset = min(offset, len(source))
	before := source[:offset]
	line = 1 + strings.Count(before, "\n")
	column = 1 + len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
	return line, column
}

// at gives err the place of offset unless it has one.
func at(source string, offset int, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	kind := ErrRender
	if p, ok := errors.AsType[*problem](err); ok {
		kind = p.kind
	}
	line, column := place(source, offset)
	return &Error{Line: line, Column: column, Message: err.Error(), kind: kind}
}
