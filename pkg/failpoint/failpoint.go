// Package failpoint names the places of production code at which a process may die. A place costs nothing
// while nobody listens. The simulator crashes processes there; so can a real process, told by its settings.
package failpoint

// Points is told of every named place as it is passed; nil, the value in production, is told of none. It may
// end the process or never return. Names are "<package>.<what was just done>", such as "stage.appended".
type Points func(name string)

// At passes the place with that name.
func (p Points) At(name string) {
	if p != nil {
		p(name)
	}
}
