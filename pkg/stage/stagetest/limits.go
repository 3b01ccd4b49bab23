package stagetest

import (
	"fmt"
	"time"

	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

// Limits decides inputs on rows as the runtime does: what cannot be written is given up, and the fold is asked for the
// mark. It is for one test.
type Limits struct {
	Fold stage.Fold
	Env  stage.Env
	// Rows of the stage, by key.
	Rows map[string][]byte
	// Others are rows of other stages.
	Others map[state.Row][]byte

	// Why is what the last input that was given up was given up for.
	Why error

	letters int
}

// Own implements stage.Rows.
func (l *Limits) Own(key string) []byte { return l.Rows[key] }

// Has implements stage.Rows: nothing was seen before.
func (*Limits) Has(string, string) bool { return false }

// Foreign implements stage.Rows.
func (l *Limits) Foreign(name, key string) ([]byte, bool) {
	return l.Others[state.Row{Stage: name, Key: key}], true
}

// Do decides one input. It says whether it was given up for its size, and returns the mark that it left then. An error is
// a fault of the fold: an error of its own, or a mark that does not fit.
func (l *Limits) Do(in stage.Input) (out stage.Outcome, givenUp bool, err error) {
	if _, err = l.Fold.Needs(in, l.Env.Now); err != nil {
		return out, false, fmt.Errorf("needs: %w", err)
	}
	if out, err = l.Fold.Decide(in, l, l.Env); err != nil {
		return out, false, fmt.Errorf("decide: %w", err)
	}
	if l.Why = stage.Fits(out, l.Own); l.Why == nil {
		l.take(out)
		return out, false, nil
	}
	l.letters++
	mark := l.Fold.Gap(in, l, l.Env, fmt.Sprintf("%032x", l.letters))
	if err := stage.FitsMark(mark, l.Own); err != nil {
		return out, true, fmt.Errorf("the mark of %s: %w", in.Name, err)
	}
	l.take(mark)
	return mark, true, nil
}

func (l *Limits) take(out stage.Outcome) {
	for _, c := range out.Cells {
		if c.State != nil {
			l.Rows[c.Key] = c.State
		}
		if c.Deleted {
			delete(l.Rows, c.Key)
		}
	}
	l.Env.Now = l.Env.Now.Add(time.Second)
}

var _ stage.Rows = (*Limits)(nil)
