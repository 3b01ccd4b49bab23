package profilesvc

import (
	"fmt"
	"testing"
)

// One tracked event of a known person: needs, decision, encoding.
func BenchmarkFold(b *testing.B) {
	m := newMesh(b, 8)
	n := 0
	for b.Loop() {
		n++
		e := track(fmt.Sprint("e", n), n%60, user("u"), anon("d"))
		m.publish(e)
		clear(m.facts)
	}
}
