package log

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A server that has just become its stream's leader may not have stored yet what was acknowledged: that messages
// are missing is believed when the stream goes on saying so. One that has no replicas is believed at once.
func TestMissingMessagesAreDoubtedFirst(t *testing.T) {
	lost, gone := fmt.Errorf("%w: the stream ends at 149", ErrLogLostData), fmt.Errorf("%w: there is no message", ErrGone)
	for name, test := range map[string]struct {
		copies  int
		answers []error // the last one again and again
		want    error
		after   time.Duration
	}{
		"a new leader":            {copies: 3, answers: []error{lost, gone, nil}, after: 3 * firstPause},
		"lost":                    {copies: 3, answers: []error{lost}, want: ErrLogLostData, after: doubtFor},
		"gone":                    {copies: 3, answers: []error{gone}, want: ErrGone, after: doubtFor},
		"no replicas":             {copies: 1, answers: []error{lost, nil}, want: ErrLogLostData},
		"an answer that is wrong": {copies: 3, answers: []error{ErrNotFound, nil}, want: ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, left := time.Now(), test.answers
				err := (&jsFeed{copies: test.copies}).settled(t.Context(), func() error {
					err := left[0]
					if len(left) > 1 {
						left = left[1:]
					}
					return err
				})
				if !errors.Is(err, test.want) {
					t.Errorf("it says %v, want %v", err, test.want)
				}
				if took := time.Since(began); took < test.after || took > test.after+lastPause {
					t.Errorf("it takes %s, want %s", took, test.after)
				}
			})
		})
	}
}
