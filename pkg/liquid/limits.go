package liquid

import "fmt"

// Limits caps one rendering. A field that is 0 has the value of DefaultLimits.
type Limits struct {
	// Steps is how many tags, outputs, filters and passes of loops may run. Work on long texts and
	// lists counts as several.
	Steps int
	// Output is how many bytes the result may have.
	Output int
	// Memory is how many bytes all intermediate values of the rendering may take together.
	Memory int
}

// DefaultLimits is enough for a long mail, and over in a fraction of a second.
func DefaultLimits() Limits { return Limits{Steps: 200_000, Output: 256 << 10, Memory: 8 << 20} }

// workPerStep is how many bytes of a text, or elements of a list, are looked at for one step.
const workPerStep = 64

// element is what a list's element is charged.
const element = 16

// budget is what is left of the limits.
type budget struct{ limits, left Limits }

func newBudget(l Limits) *budget {
	d := DefaultLimits()
	if l.Steps == 0 {
		l.Steps = d.Steps
	}
	if l.Output == 0 {
		l.Output = d.Output
	}
	if l.Memory == 0 {
		l.Memory = d.Memory
	}
	return &budget{limits: l, left: l}
}

// step charges n steps.
func (b *budget) step(n int) error {
	if n < 0 || n > b.left.Steps {
		b.left.Steps = 0
		return over("%d steps", b.limits.Steps)
	}
	b.left.Steps -= n
	return nil
}

// work charges the steps for looking at n bytes or elements.
func (b *budget) work(n int) error { return b.step(n/workPerStep + 1) }

// alloc charges n bytes, and the work of filling them.
func (b *budget) alloc(n int) error {
	if n < 0 || n > b.left.Memory {
		b.left.Memory = 0
		return over("%d bytes of memory", b.limits.Memory)
	}
	b.left.Memory -= n
	return b.work(n)
}

// elements charges a list of n elements.
func (b *budget) elements(n int) error {
	if n > b.limits.Memory/element {
		return over("%d bytes of memory", b.limits.Memory)
	}
	return b.alloc(n * element)
}

func over(format string, args ...any) error {
	return &problem{kind: ErrLimit, text: "the template needs more than " + fmt.Sprintf(format, args...)}
}
