package definition

import "fmt"

// Problem is something wrong in one resource, at a path inside it. Whoever compiles a resource returns
// all of them; the compiler of the whole directory turns them into file:line:col.
type Problem struct {
	// Path in the document, such as spec.steps[2].branch[0].when.
	Path string
	// Line and Col are the place in the text at Path, from 1, if that text has lines of its own such as a
	// template; 0 if Path is the place.
	Line, Col int
	// What is wrong.
	What string
	// Why it is wrong, or how to mend it; may be empty.
	Why string
}

// String is the problem without its place.
func (p Problem) String() string {
	if p.Why == "" {
		return fmt.Sprintf("%s: %s", p.Path, p.What)
	}
	return fmt.Sprintf("%s: %s (%s)", p.Path, p.What, p.Why)
}
